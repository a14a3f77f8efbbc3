"""Everything that imgvec raises on purpose.

    ImgvecError                    the root
    ├── SettingsError              a setting (environment, .env) has no usable value
    ├── DefinitionError            a definition file is invalid
    ├── UsageError                 invalid or conflicting arguments; also a ValueError
    │   └── OptionError            an option has an invalid value; carries its name; also a QueryError
    ├── MissingExtra               an optional dependency is missing; carries the extra; also an ImportError
    ├── SourceError                a source of images or vectors, or its metadata, cannot be read or does not fit
    ├── TargetError                a target file or folder cannot be written, or is already something else
    ├── UnreadableImage            one image cannot be decoded; carries uri, reason, detail
    │   └── NotKept                it was ingested from bytes that were not kept
    ├── EncoderError               something about the encoder
    │   ├── EncoderUnavailable     the weights are not available or not usable
    │   └── EncoderMismatch        vectors of two encoders would be mixed in one collection
    ├── SwapRefused                a re-embedded collection is not swapped in; carries the outcome
    ├── EngineFailed               the cluster for an ingest is not available, or lost a worker
    ├── QueryError                 an invalid query
    ├── FilterError                a filter names a missing field, or makes an impossible comparison
    └── BackendError               Milvus failed; carries Milvus's own code
        ├── BackendUnavailable     Milvus is unreachable, or rejects the login
        ├── UnsupportedByBackend   the backend does not support this; nothing was sent to it
        ├── CollectionNotFound     no such collection, or not made by imgvec
        │   └── CollectionReplaced it was dropped and recreated: open it again
        ├── CollectionExists       the name is already taken
        └── WriteFailed            a write was interrupted; carries written and pending

Each message is one readable sentence that says what to do. Foreign exceptions are translated at one boundary each
(`milvus/errors.py`, `encoders/`, `images/decode.py`), always with `raise … from exc`.
"""

from __future__ import annotations

import typing
from typing import Literal, TypeAlias

Reason: TypeAlias = Literal[
    "unusable name",  # not UTF-8, or too long for the uri field
    "missing",  # no such file, or it went away before it was read
    "not a regular file",  # a directory, FIFO, device or socket
    "permission denied",
    "read failed",  # failed in the operating system or the network
    "empty",
    "too large",  # more bytes than the cap
    "too many pixels",
    "not an image",  # no decoder knows these bytes
    "format not allowed",  # an image, but not of a format on the allow-list
    "truncated",
    "broken",  # the decoder gave up
    "given twice",  # an earlier image of the source has its id, or its path with other metadata
    "metadata refused",  # the image's metadata does not fit the definition
    "not encodable",  # the encoder answered with something that is not a vector
]
"""Every reason an image can be refused for."""


class ImgvecError(Exception):
    """Root of everything that imgvec raises on purpose."""


class SettingsError(ImgvecError):
    """A setting has no usable value; the message names the environment variable."""


class DefinitionError(ImgvecError):
    """An invalid definition.

    `where` is the place in the file, as a path of keys (`index.cpu.params.M`), with `line` counted from 1, if known.
    """

    def __init__(self, problem: str, *, where: str = "", source: str = "", line: int | None = None) -> None:
        self.problem, self.where, self.source, self.line = problem, where, source, line
        place = source + (f":{line}" if line is not None else "")
        super().__init__(": ".join(part for part in (place, where, problem) if part))


class UsageError(ImgvecError, ValueError):
    """The call is invalid: arguments out of range or in conflict."""


class QueryError(ImgvecError):
    """An invalid query: wrong shape, not finite, zero length, or of a kind that the encoder does not support."""


class OptionError(UsageError, QueryError):
    """An option has a value of the wrong type or out of bounds; `name` is the option.

    Also a `QueryError`, because imgvec 0.1.0 raised that for an invalid limit, recall or number of queries.
    """

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)

    def __reduce__(self) -> tuple[type[OptionError], tuple[str, str]]:
        return type(self), (self.name, str(self))


class MissingExtra(ImgvecError, ImportError):
    """An optional dependency is missing: `pip install 'imgvec[extra]'` installs it.

    `what` says who needs what (`photos.parquet: Parquet needs pyarrow`), `otherwise` what to do without it. `package`
    is the distribution with the extra, if it belongs to a plug-in.
    """

    def __init__(self, extra: str, what: str, *, otherwise: str = "", package: str = "imgvec") -> None:
        self.extra, self.package, self._what, self._otherwise = extra, package, what, otherwise
        super().__init__(f"{what}: pip install '{package}[{extra}]'" + (f", or {otherwise}" if otherwise else ""))

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _missing_extra, (self.extra, self._what, self._otherwise, self.package)


def _missing_extra(extra: str, what: str, otherwise: str, package: str) -> MissingExtra:
    """For pickle, which does not support keyword arguments."""
    return MissingExtra(extra, what, otherwise=otherwise, package=package)


class SourceError(ImgvecError):
    """A source of images or vectors, or its metadata, cannot be read or does not fit the definition."""


class TargetError(ImgvecError):
    """A target file or folder cannot be written: it is in use, or something else is already there."""


class UnreadableImage(ImgvecError):
    """One image cannot be decoded.

    `reason` is a `Reason`, stable enough to count by; `detail` is for people.
    """

    #: Every `Reason`.
    REASONS: typing.ClassVar[tuple[Reason, ...]] = typing.get_args(Reason)

    def __init__(self, uri: str, reason: Reason, detail: str = "") -> None:
        if reason not in self.REASONS:
            raise ValueError(f"{reason!r} is not one of UnreadableImage.REASONS")
        self.uri, self.reason, self.detail = uri, reason, detail
        super().__init__(f"{uri}: {reason}" + (f" ({detail})" if detail else ""))

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, Reason, str]]:
        return type(self), (self.uri, self.reason, self.detail)


class NotKept(UnreadableImage):
    """A stored picture cannot be reopened, because it was ingested from bytes without `keep`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "missing", "it was ingested from bytes that were not kept: ingest with keep=DIR")

    # its constructor takes fewer arguments than that of the class above
    def __reduce__(self) -> tuple[type[NotKept], tuple[str]]:  # type: ignore[override]
        return type(self), (self.uri,)


class EncoderError(ImgvecError):
    """Something about the encoder; see the subclasses."""


class EncoderUnavailable(EncoderError):
    """The encoder's weights are not available, or not usable as they are."""


class EncoderMismatch(EncoderError):
    """Vectors of two encoders would be mixed in one collection; the message names both."""


class SwapRefused(ImgvecError):
    """A re-embedded collection would lack rows, or is worse, so it does not take the name; `outcome` tells of it."""

    def __init__(self, message: str, outcome: typing.Any = None) -> None:
        self.outcome = outcome
        super().__init__(message)


class EngineFailed(ImgvecError):
    """Ray cannot be reached, or lost a worker for good."""


class FilterError(ImgvecError):
    """A filter names a missing field or makes an impossible comparison."""


class BackendError(ImgvecError):
    """Milvus refused or failed; `code` is Milvus's own error code, if it gave one.

    `retryable` means that the same call may succeed later: the server is busy, starting or unreachable.
    """

    def __init__(self, message: str, *, code: int | None = None, retryable: bool = False) -> None:
        self.code, self.retryable = code, retryable
        super().__init__(message)


class BackendUnavailable(BackendError):
    """Milvus is unreachable, too slow, or rejects the login."""


class UnsupportedByBackend(BackendError):
    """The backend does not support this; nothing was sent to it."""


class CollectionNotFound(BackendError):
    """No such collection, or it has been dropped."""


class CollectionReplaced(CollectionNotFound):
    """The collection was dropped and recreated since it was opened: open it again.

    If the new one has a different encoder, `EncoderMismatch` is raised instead.
    """


class CollectionExists(BackendError):
    """A collection with this name already exists."""


class WriteFailed(BackendError):
    """A write was interrupted: the first `written` rows were acknowledged, `pending` were not.

    Writes are upserts by id, so sending all rows again is safe.
    """

    def __init__(
        self, message: str, *, written: int, pending: int, code: int | None = None, retryable: bool = False
    ) -> None:
        self.written, self.pending = written, pending
        super().__init__(message, code=code, retryable=retryable)

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _write_failed, (*self.args, self.written, self.pending), vars(self)


def _write_failed(message: str, written: int, pending: int) -> WriteFailed:
    """For pickle, which does not support keyword arguments."""
    return WriteFailed(message, written=written, pending=pending)
