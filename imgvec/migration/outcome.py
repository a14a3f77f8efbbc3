"""What became of a re-embedding, or of the bridge to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgvec.migration.bridge import Bridge
    from imgvec.migration.worth import Worth
    from imgvec.quality import Comparison


@dataclass(frozen=True, slots=True)
class Lost:
    """A row without one in the new collection, as its picture cannot be read again."""

    id: str
    uri: str
    reason: str
    """One of `UnreadableImage.REASONS`."""
    detail: str = ""


@dataclass(frozen=True)
class Reembedding:
    """The result of `reembed`, and of going back."""

    name: str
    """By which clients find the collection."""
    source: str
    """The collection that its rows come from, by the name that it has at the end."""
    target: str
    model: str
    rows: int = 0
    """Of the new collection, at the end."""
    encoded: int = 0
    copied: int = 0
    """Rows of which only the fields had changed meanwhile: written with the vector that was there."""
    deleted: int = 0
    """Rows deleted from the new collection, as they had been from the other."""
    rounds: int = 0
    """Comparisons of the two."""
    late: int = 0
    """Of `encoded`, `copied` and `deleted`: what was written to the old collection while the name was swapped."""
    lost: tuple[Lost, ...] = field(default=(), repr=False)
    comparison: Comparison | None = field(default=None, repr=False)
    """Of the old collection and the new, by labels, if one was asked for."""
    swapped: bool = False
    interrupted: bool = False
    """Stopped before its end; the same call goes on."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {name: value for name, value in vars(self).items() if name not in ("lost", "comparison")}
        return {
            **told,
            "seconds": round(self.seconds, 3),
            "lost": [asdict(each) for each in self.lost],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
        }


@dataclass(frozen=True)
class Bridged:
    """What came of `bridge_reembedding`."""

    name: str
    """Of the collection in which the old rows answer the new model."""
    target: str
    """Of the one that `reembed` fills."""
    model: str
    rows: int
    encoded: int
    """Pictures that this call encoded."""
    bridge: Bridge
    worth: Worth | None
    """What it is worth; None where the pictures in common are too few to say, or share no label."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "bridge": self.bridge.to_dict(),
            "worth": None if self.worth is None else self.worth.to_dict(),
            "seconds": round(self.seconds, 3),
        }
