"""What `imgvec search`, `pages` and `recommend` ask with: words of the command line to forms."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imgvec.home import at_home
from imgvec.rows import VECTOR
from imgvec.search.fusion import FUSIONS, Fusion

if TYPE_CHECKING:
    from imgvec.search.forms import Form
    from imgvec.search.hybrid import Hybrid

F = TypeVar("F", bound=Callable[..., Any])

_WEIGHTED = re.compile(r"(.+):([+-]?(?:\d+\.?\d*|\.\d+))", re.DOTALL)
_NAMED = re.compile(r"([^:=]+)(?::([^:=]*))?")
_SIDES = 4


def mix_options(command: F) -> F:
    """`--like` and `--unlike`, as texts; see `weighted`."""
    like = click.option(
        "--like",
        multiple=True,
        metavar="WHAT[:WEIGHT]",
        help="Similar to this, too: a path, id:HEX or text; the weight is 1 unless given; repeatable.",
    )
    unlike = click.option(
        "--unlike",
        multiple=True,
        metavar="WHAT[:WEIGHT]",
        help="Unlike this; repeatable.",
    )
    return like(unlike(command))


def hybrid_options(command: F) -> F:
    """`--by`, `--words` and `--fusion`; see `hybrid`."""
    by = click.option(
        "--by",
        multiple=True,
        metavar="VECTOR[:WEIGHT]",
        help="Search by each of these vectors, and fuse what they find; repeatable.",
    )
    words = click.option(
        "--words",
        multiple=True,
        metavar="FIELD[:WEIGHT]=WORDS",
        help="Search by these words too, in a field declared with bm25; fused likewise; repeatable.",
    )
    fusion = click.option(
        "--fusion",
        type=click.Choice(FUSIONS),
        help="How several rankings become one: by ranks (rrf, the default), by scores (weights), or by scores that are "
        "first brought to one scale (calibrated).",
    )
    return by(words(fusion(command)))


def hybrid(
    form: Form | None, by: Sequence[str], words: Sequence[str], fusion: Fusion | None, vector: str = VECTOR
) -> Form | Hybrid:
    """The question by each vector of `--by`, and by the words of `--words`; itself where there is neither.

    A form beside words alone is by `vector`. Raises `click.UsageError`, `QueryError`.
    """
    from imgvec.search.hybrid import Hybrid, Part, Words

    if form is not None and not by and not words:
        if fusion is not None:
            raise click.UsageError("--fusion is about several rankings: name their vectors with --by.")
        return form
    parts: list[Part | Words] = []
    if form is not None:
        parts += [Part(form, *_named(each, "--by")) for each in by or (vector,)]
    for each in words:
        name, sign, said = each.partition("=")
        if not sign:
            raise click.UsageError(f"--words {each!r} is not FIELD=WORDS, like caption='red dress'.")
        field, weight = _named(name, "--words")
        parts.append(Words(said, field, weight))
    return Hybrid(parts, fusion or ("rrf" if len(parts) > 1 else "weights"))


def _named(text: str, flag: str) -> tuple[str, float]:
    """A name, and the number behind its colon; 1 without."""
    found = _NAMED.fullmatch(text)
    try:
        if found is not None:
            return found[1], 1.0 if found[2] is None else float(found[2])
    except ValueError:
        pass
    raise click.UsageError(f"{flag} {text!r} is not NAME or NAME:WEIGHT, like texture:0.5.")


def weighted(text: str) -> tuple[Form, float]:
    """What `PATH`, `id:HEX` or words mean as a form, and its weight: the number behind the last colon, else 1.

    A file of that whole name is meant as it is, whatever it ends in; write `:1` behind words and ids that end so.
    """
    from imgvec.search.forms import STORED
    from imgvec.search.guessing import guessed

    found = _WEIGHTED.fullmatch(text)
    if found is None or found[1] + ":" == STORED or os.path.lexists(at_home(text)):
        return guessed(text), 1.0
    return guessed(found[1]), float(found[2])


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks with, as typed."""

    query: str | None
    images: tuple[str, ...]
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    like: tuple[str, ...]
    unlike: tuple[str, ...]
    crop: tuple[int, int, int, int] | None

    def __bool__(self) -> bool:
        return any(each not in (None, ()) for each in (getattr(self, part.name) for part in fields(self)))

    def form(self) -> Form:
        """One form of all that was given: a mix where there are several. Raises `click.UsageError`, `QueryError`."""
        from imgvec.search.forms import Crop, ImageFile, Like, StoredId, Text
        from imgvec.search.guessing import guessed

        forms: list[Form] = [] if self.query is None else [guessed(self.query)]
        forms += [*map(ImageFile, self.images), *map(Text, self.texts), *map(StoredId, self.ids)]
        if self.crop is not None:
            places = [i for i, form in enumerate(forms) if isinstance(form, ImageFile | StoredId)]
            if len(places) != 1:
                raise click.UsageError("--crop takes exactly one picture: QUERY, --image or --id.")
            form, (x, y, width, height) = forms[places[0]], self.crop
            forms[places[0]] = Crop(form, (x, y, x + width, y + height))  # type: ignore[arg-type]  # as was asked above
        parts = [(form, 1.0) for form in forms] + [weighted(each) for each in self.like]
        parts += [(form, -weight) for form, weight in map(weighted, self.unlike)]
        if not parts:
            raise click.UsageError("Give QUERY, --image, --text, --id or --like.")
        return forms[0] if forms and len(parts) == 1 else Like(parts)


def question_options(command: F) -> F:
    """QUERY, `--image`, `--text`, `--id`, `--like`, `--unlike` and `--crop`: the command gets them as one `asked`."""

    @functools.wraps(command)
    def with_asked(*args: Any, **options: Any) -> Any:
        return command(*args, asked=Asked(**{part.name: options.pop(part.name) for part in fields(Asked)}), **options)

    found: Any = with_asked
    for option in (
        click.option(
            "--crop",
            callback=box,
            metavar="X,Y,W,H",
            help="Search by this part of the picture: pixels from its top left.",
        ),
        mix_options,
        click.option("--id", "ids", multiple=True, metavar="ID", help="Search by this stored row; repeatable."),
        click.option(
            "--text",
            "texts",
            multiple=True,
            metavar="WORDS",
            help="Search by these words, even if a file has that name.",
        ),
        click.option("--image", "images", multiple=True, metavar="FILE", help="Search by this image file; repeatable."),
        click.argument("query", required=False),
    ):
        found = option(found)
    made: F = found
    return made


def box(_ctx: click.Context, parameter: click.Parameter, given: str | None) -> tuple[int, ...] | None:
    """`X,Y,W,H` as four numbers: a Click callback."""
    if given is None:
        return None
    try:
        sides = tuple(int(part) for part in given.split(","))
    except ValueError:
        sides = ()
    if len(sides) != _SIDES or min(sides) < 0 or min(sides[2:]) < 1:
        raise click.BadParameter(f"{given!r} is not X,Y,W,H in whole pixels, like 120,40,260,260", param=parameter)
    return sides
