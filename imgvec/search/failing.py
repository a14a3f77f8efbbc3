"""Forms that cannot be asked: raised, or where others go on without them, noted."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from imgvec.errors import ImgvecError, QueryError, SourceError, UnreadableImage
from imgvec.search.forms import Form

Failed: TypeAlias = MutableMapping[int, ImgvecError]
"""Why forms cannot be asked, by their number."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """A query that is known to have no answer before it is asked."""

    form: Form
    error: ImgvecError


Wanted: TypeAlias = Form | Unasked


class Noting:
    """`with noting(leaf): …` raises what is wrong with a leaf, or tells `failed` of its form where that is given."""

    def __init__(self, failed: Failed | None, owners: Sequence[int]) -> None:
        """`owners` are the forms of the leaves, by number."""
        self._failed, self._owners = failed, owners

    def __call__(self, leaf: int) -> AbstractContextManager[None]:
        return self.of(self._owners[leaf])

    def of(self, form: int) -> AbstractContextManager[None]:
        """The same for a form as a whole."""
        return nullcontext() if self._failed is None else _noted(self._failed, form)


@contextmanager
def _noted(failed: Failed, form: int) -> Iterator[None]:
    try:
        yield
    except (QueryError, UnreadableImage, SourceError) as exc:
        failed.setdefault(form, exc)
