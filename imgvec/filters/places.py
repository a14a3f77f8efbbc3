"""Places to compare: a declared field, a key of the dynamic field, what lies in their JSON or list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from imgvec.errors import FilterError
from imgvec.filters.comparable import ListLength, Modulo
from imgvec.filters.expressions import (
    All,
    Compare,
    CompareFields,
    Contains,
    Filter,
    HasPhrase,
    HasWords,
    Infix,
    Member,
    Null,
    Operator,
    Path,
    Prefix,
    Scalar,
    Step,
)
from imgvec.filters.spatial import Shape


class Field(Shape):
    """A place to compare; make one with `field` or `dynamic`. Comparing it gives a `Filter`.

    Values are str, bool, int or finite float (NumPy's scalars of these kinds too), and for fields of dates `date`,
    `datetime` or ISO text; or another field of the collection. Their type is checked against the collection's when the
    filter is rendered. An ARRAY field equals a list.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return str(self._path)

    def __getitem__(self, key: str | int) -> Field:
        """The value under a key of a JSON object, or at a position (from 0) of a JSON list or an ARRAY field."""
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise FilterError(f"{self}[{key!r}]: keys are strings and positions are integers")
        if (key < 0) if isinstance(key, int) else (not key or "\0" in key):
            raise FilterError(f"{self}[{key!r}]: positions count from 0, and keys must not be empty or contain NUL")
        return Field(replace(self._path, keys=(*self._path.keys, key)))

    def __mod__(self, modulus: object) -> Modulo:
        """The remainder of whole numbers by a positive one."""
        if (whole := self._whole(modulus, "a modulus")) < 1:
            raise FilterError(f"{self} % {modulus!r}: a modulus is positive")
        return Modulo(self._path, whole)

    def in_(self, values: Iterable[object]) -> Filter:
        """The value is one of `values`; none is where `values` is empty."""
        return Member(self._path, self._scalars(values))

    def has_prefix(self, text: str) -> Filter:
        """The text begins with `text`, taken literally: `%` and `_` are not wildcards."""
        if not isinstance(text, str):
            raise FilterError(f"{self}.has_prefix takes text, not {text!r}")
        return Prefix(self._path, text)

    def has_suffix(self, text: str) -> Filter:
        """The text ends with `text`, taken literally; not on Milvus 2.3, and nowhere with `%`, `_` or a backslash."""
        return self._infix(text, at_end=True)

    def has_infix(self, text: str) -> Filter:
        """The text has `text` in it, taken literally; where `has_suffix` works."""
        return self._infix(text, at_end=False)

    def has_any_word(self, text: str) -> Filter:
        """The text has one of the words of `text`, as Milvus's analyzer cuts them; of a field with `match: true`.

        On Milvus Lite and servers from 2.5. Words are compared without regard to case.
        """
        return HasWords(self._path, self._words(text, "has_any_word"), every=False)

    def has_all_words(self, text: str) -> Filter:
        """The text has each of the words of `text`, of `T-shirt` both; where `has_any_word` works."""
        return HasWords(self._path, self._words(text, "has_all_words"), every=True)

    def has_phrase(self, text: str, *, slop: int = 0) -> Filter:
        """The text has the words of `text` one after the other; of a field with `match: true`, from Milvus 2.5.17.

        `slop` is how many places the words may be moved by in all: 1 lets one other word stand between two, 2 lets
        them change places.
        """
        if isinstance(slop, bool) or not isinstance(slop, int) or not 0 <= slop < 2**32:
            raise FilterError(f"{self}.has_phrase: slop is a number of places from 0, not {slop!r}")
        return HasPhrase(self._path, self._words(text, "has_phrase"), slop)

    def is_null(self) -> Filter:
        """There is no value: null, or no such key in the JSON or the dynamic field."""
        return Null(self._path)

    def is_not_null(self) -> Filter:
        """`~is_null()`."""
        return ~self.is_null()

    def contains(self, value: object) -> Filter:
        """The list has `value` among its elements."""
        return Contains(self._path, (self._scalar(value),), every=False)

    def contains_all(self, values: Iterable[object]) -> Filter:
        """The list has each of `values` among its elements."""
        return Contains(self._path, self._scalars(values), every=True)

    def contains_any(self, values: Iterable[object]) -> Filter:
        """The list has at least one of `values` among its elements."""
        return Contains(self._path, self._scalars(values), every=False)

    def length(self) -> ListLength:
        """The number of the list's elements; 0 where there is no list."""
        return ListLength(self._path)

    def _steps(self) -> tuple[Path, tuple[Step, ...]]:
        return self._path, ()

    def _compare(self, operator: Operator, value: object) -> Filter:
        if isinstance(value, Field):
            return CompareFields(self._path, operator, value._path)
        if isinstance(value, list | tuple) and operator in ("==", "!="):
            same = self._equals(value)
            return same if operator == "==" else ~same
        return Compare(self._path, operator, self._scalar(value))

    def _equals(self, values: list[object] | tuple[object, ...]) -> Filter:
        return All((self.length() == len(values), *(self[at] == self._scalar(each) for at, each in enumerate(values))))

    def _infix(self, text: str, *, at_end: bool) -> Filter:
        if not isinstance(text, str):
            raise FilterError(f"{self}.has_{'suffix' if at_end else 'infix'} takes text, not {text!r}")
        return Infix(self._path, text, at_end)

    def _words(self, text: str, method: str) -> str:
        if not isinstance(text, str) or not any(map(str.isalnum, text)):
            raise FilterError(f"{self}.{method} takes words, not {text!r}")
        return text

    def _scalars(self, values: Iterable[object]) -> tuple[Scalar, ...]:
        return tuple(self._scalar(value) for value in self._listed(values))


def field(name: str) -> Field:
    """A field that the collection declares."""
    return Field(Path(name))


def dynamic(name: str) -> Field:
    """A key of the dynamic field: metadata that the collection does not declare."""
    return Field(Path(name, dynamic=True))
