"""Which paths of this machine strangers may name: those below a root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from imgvec.errors import SourceError
from imgvec.serving.problems import Problem
from imgvec.sources import registry
from imgvec.sources.named import scheme_of

_KINDS = frozenset({"tar", "zip"})
"""Whose members are pictures of their own; lists and tables name files, wherever these are."""


def below_roots(source: str, roots: Iterable[Path]) -> str:
    """The absolute path of a folder, a picture or an archive below one of the roots, wherever links on the way lead.

    A relative path starts from the roots. Raises `Problem` for anything else, and says of what lies outside only that.
    """
    if "\0" in source or scheme_of(source) is not None:
        raise Problem(422, "source-unusable", "a source is the path of a folder, a picture or an archive")
    try:
        os.fsencode(source)
    except UnicodeEncodeError:
        raise Problem(422, "source-unusable", "the path of the source is not Unicode text") from None
    bases = [os.path.realpath(root) for root in roots]
    if not bases:
        raise Problem(403, "source-outside", "this server ingests nothing by path: it was started without --root")
    # as the source will be taken: `..` first, then links
    paths = [os.path.abspath(os.path.join(root, source)) for root in roots]  # noqa: PTH100, PTH118  Path.resolve follows
    inside = [path for path in paths if _is_below(os.path.realpath(path), bases)]
    if not inside:
        raise Problem(403, "source-outside", "the source is outside the folders that this server ingests from")
    found = next((path for path in inside if os.path.exists(path)), None)  # noqa: PTH110  a string is wanted
    if found is None:
        raise Problem(422, "source-missing", "no such file or folder below the roots")
    _check_kind(found)
    return found


def _check_kind(path: str) -> None:
    try:
        kind = registry.by_folder(path) if os.path.isdir(path) else registry.by_ending(path)  # noqa: PTH112  as above
    except SourceError as exc:
        raise Problem(422, "source-unusable", "the source cannot be looked at") from exc
    if kind is not None and kind.name not in _KINDS:
        raise Problem(
            422,
            "source-kind",
            f"a {kind.name} names files of its own, so it is not taken from others: use `imgvec ingest`",
        )


def _is_below(real: str, bases: Iterable[str]) -> bool:
    return any(real == base or real.startswith(base.rstrip("/") + "/") for base in bases)
