"""Kinds of sources that others wrote: whatever they raise or give is said in imgvec's words, with whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, get_args

from imgvec.errors import ImgvecError, SourceError
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading, printable
from imgvec.sources.records import Found

T = TypeVar("T")


def translated(kind: Kind, by: str) -> Kind:
    """The same kind, whose calls raise imgvec's errors alone; `by` says who added it."""
    return replace(
        kind,
        read=partial(_read, kind.read, by),
        holds=kind.holds and partial(_asked, kind.holds, bool, by),
        reopen=kind.reopen and partial(_reopened, kind.reopen, by),
        members=kind.members and partial(_asked, kind.members, frozenset, by),
    )


def _read(
    read: Callable[[Place, Reading], Iterator[Found]], by: str, place: Place, reading: Reading
) -> Iterator[Found]:
    try:
        for item in read(place, reading):
            if not isinstance(item, _FOUND):
                raise SourceError(f"{place}: {by} gave a {type(item).__name__} instead of a record; repair it")
            yield item
    except ImgvecError:
        raise
    except Exception as exc:
        raise _failed(by, str(place), exc) from exc


def _reopened(
    reopen: Callable[[Place, str, Guards, Columns], bytes], by: str, place: Place, key: str, *rest: Any
) -> bytes:
    return _called(partial(reopen, place, key, *rest), bytes, by, place)


def _asked(ask: Callable[[Any], T], kind: type[T], by: str, place: Place | str) -> T:
    return _called(partial(ask, place), kind, by, place)


def _called(call: Callable[[], T], kind: type[T], by: str, place: Place | str) -> T:
    where = printable(place) if isinstance(place, str) else str(place)
    try:
        found = call()
    except ImgvecError:
        raise
    except Exception as exc:
        raise _failed(by, where, exc) from exc
    if not isinstance(found, kind):
        raise SourceError(f"{where}: {by} gave a {type(found).__name__} instead of {kind.__name__}; repair it")
    return found


def _failed(by: str, where: str, exc: Exception) -> SourceError:
    return SourceError(f"{where}: {by} failed: {type(exc).__name__}: {exc}; repair or uninstall it")


_FOUND = get_args(Found)
