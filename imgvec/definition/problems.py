"""What is wrong with a definition, and at which place in it."""

from __future__ import annotations

from typing import Any


class MisplacedError(ValueError):
    """A problem that belongs to a place deeper than the model whose validator found it."""

    def __init__(self, problem: str, *place: str) -> None:
        self.place = place
        super().__init__(problem)


def describe(error: Any) -> tuple[tuple[str, ...], str]:
    place = tuple(str(part) for part in error["loc"])
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, MisplacedError):
        place += cause.place
    if error["type"] == "extra_forbidden":
        return place, "unknown key"
    return place, str(cause) if isinstance(cause, ValueError) else error["msg"]
