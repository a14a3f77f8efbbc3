"""The definition of a kind of source; each file of this room, and each plug-in, provides one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imgvec.errors import UsageError
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of source, known by its scheme, by the ending of its name, or by what a folder holds.

    What it reads has uris of the form `PLACE!KEY`, where the place has one of the `endings`, or that begin with one of
    its `schemes`: by that an image's kind is known when it is opened again.
    """

    name: str
    read: Callable[[Place, Reading], Iterator[Found]]
    """The images of one place, in a stable order, as `Reading.image` makes them; lazy and in bounded memory. Raises
    `SourceError` where the place cannot be read, or ends early: after what came before."""
    endings: tuple[str, ...] = ()
    """In lower case, with the dot."""
    schemes: tuple[str, ...] = ()
    """In lower case, without `://`. The place is the whole URL."""
    holds: Callable[[str], bool] | None = None
    """Whether a folder, by its absolute path, is one of this kind; asked of folders that are named as a source, not of
    those below one."""
    reopen: Callable[[Place, str, Guards, Columns], bytes] | None = None
    """The bytes of the image that is called `PLACE!KEY` ("" for a URL). Raises `UnreadableImage` and `SourceError`."""
    members: Callable[[Place], frozenset[str]] | None = None
    """The keys of all that the place holds, whether images or not, for pruning; None if nobody can know. Raises
    `SourceError` where the place cannot be read to its end."""

    def __post_init__(self) -> None:
        """Raises `UsageError` for an ending or a scheme that would stand for other names than are meant."""
        for ending in _several("endings", self.endings):
            if ending != ending.lower() or not ending.startswith(".") or len(ending) < 2:
                raise UsageError(f"an ending is in lower case and begins with a dot, unlike {ending!r}")
        for scheme in _several("schemes", self.schemes):
            if scheme != scheme.lower() or not scheme or ":" in scheme:
                raise UsageError(f"a scheme is in lower case and without ://, unlike {scheme!r}")


def _several(name: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, tuple) or not all(isinstance(one, str) for one in given):
        raise UsageError(f"the {name} of a kind of source are a tuple of strings, not {given!r}")
    return given
