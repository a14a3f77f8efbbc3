"""What became of the inputs of one target: the figures that a fuzz run prints."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from imgvec.errors import ImgvecError, UnreadableImage

Fuzz = Callable[..., None]
"""`fuzz(check, strategy, day=50, night=5000)`, as the fixture of that name."""


@dataclass
class Tally:
    inputs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By the reason of an `UnreadableImage`, else by the class of the error."""

    @contextlib.contextmanager
    def expecting(self, *errors: type[ImgvecError]) -> Iterator[None]:
        """Count one input; one of `errors` in a sentence is a refusal, and any other exception goes its way."""
        self.inputs += 1
        try:
            yield
        except errors as exc:
            if not str(exc).strip():
                raise AssertionError(f"{type(exc).__name__} without a word") from exc
            self.refused[exc.reason if isinstance(exc, UnreadableImage) else type(exc).__name__] += 1
        else:
            self.accepted += 1

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in self.refused.most_common())
        return (
            f"{self.inputs:,} inputs, {self.accepted:,} accepted, {self.refused.total():,} refused ({reasons or '-'})"
        )
