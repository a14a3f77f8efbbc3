"""Everything that imgvec raises on purpose.

    ImgvecError                    the root
    ├── SettingsError              a setting (environment, .env) has no usable value
    ├── DefinitionError            a definition file says something that cannot be
    ├── UsageError                 arguments that cannot be, or do not go together; also a ValueError
    │   └── OptionError            an option has a value that it cannot have; carries its name; also a QueryError
    ├── MissingExtra               something optional is not installed; carries the extra; also an ImportError
    ├── SourceError                a source of images or vectors, or its metadata, cannot be read or does not fit
    ├── TargetError                a file or folder to write cannot be written, or is something else already
    ├── UnreadableImage            one image cannot be decoded; carries uri, reason, detail
    │   └── NotKept                it came as bytes, and nobody kept them
    ├── EncoderError               something about the encoder
    │   ├── EncoderUnavailable     the weights cannot be had, or cannot be used
    │   └── EncoderMismatch        vectors of two encoders would meet in one collection
    ├── EngineFailed               a cluster that an ingest was to run on cannot be had, or lost a worker
    ├── QueryError                 a query cannot be searched for
    ├── FilterError                a filter names what is not there, or compares what cannot be
    └── BackendError               Milvus said no; carries Milvus's own code
        ├── BackendUnavailable     Milvus cannot be reached, or refuses the login
        ├── UnsupportedByBackend   this backend cannot do that, and nothing was sent to it
        ├── CollectionNotFound     there is none of that name, or imgvec did not make it
        │   └── CollectionReplaced it was dropped and another has its name: open it again
        ├── CollectionExists       there is one of that name already
        └── WriteFailed            a write ended half way; carries written and pending

Each message is one sentence for a person and says what to do. Foreign exceptions become one of these at one
boundary each (`milvus/errors.py`, `encoders/`, `images/decode.py`), always `raise … from exc`.
"""

from __future__ import annotations

import typing
from typing import Literal, TypeAlias

Reason: TypeAlias = Literal[
    "unusable name",  # not UTF-8, or too long for the uri field
    "missing",  # no such file, or it went away before it was read
    "not a regular file",  # a directory, FIFO, device or socket
    "permission denied",
    "read failed",  # the operating system or the network broke off
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
    """A definition says something that cannot be.

    `where` is the place in the file, as a path of keys (`index.cpu.params.M`), with `line` counted from 1 where
    it is known.
    """

    def __init__(self, problem: str, *, where: str = "", source: str = "", line: int | None = None) -> None:
        self.problem, self.where, self.source, self.line = problem, where, source, line
        place = source + (f":{line}" if line is not None else "")
        super().__init__(": ".join(part for part in (place, where, problem) if part))


class UsageError(ImgvecError, ValueError):
    """The call itself cannot be: arguments out of range, or that do not go together."""


class QueryError(ImgvecError):
    """A query cannot be searched for: wrong shape, not finite, zero length, or a kind the encoder lacks."""


class OptionError(UsageError, QueryError):
    """An option has a value of another type, or that cannot be: out of bounds, too little; `name` is the option.

    It is a `QueryError` too, which imgvec 0.1.0 raised for a limit, a recall or a number of queries that cannot be.
    """

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)

    def __reduce__(self) -> tuple[type[OptionError], tuple[str, str]]:
        return type(self), (self.name, str(self))


class MissingExtra(ImgvecError, ImportError):
    """Something optional is not installed: `pip install 'imgvec[extra]'` brings it.

    `what` says who needs what (`photos.parquet: Parquet needs pyarrow`), `otherwise` what to do without it. `package`
    is the distribution that has the extra, where that is a plug-in's.
    """

    def __init__(self, extra: str, what: str, *, otherwise: str = "", package: str = "imgvec") -> None:
        self.extra, self.package, self._what, self._otherwise = extra, package, what, otherwise
        super().__init__(f"{what}: pip install '{package}[{extra}]'" + (f", or {otherwise}" if otherwise else ""))

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _missing_extra, (self.extra, self._what, self._otherwise, self.package)


def _missing_extra(extra: str, what: str, otherwise: str, package: str) -> MissingExtra:
    """For pickle, which knows no keyword arguments."""
    return MissingExtra(extra, what, otherwise=otherwise, package=package)


class SourceError(ImgvecError):
    """A source of images or vectors, or its metadata, cannot be read or does not fit the definition."""


class TargetError(ImgvecError):
    """A file or folder to write cannot be written: it is in use, or something else is there already."""


class UnreadableImage(ImgvecError):
    """One image cannot be decoded.

    `reason` is a `Reason`, stable enough to count by; `detail` says more for a person.
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
    """A stored picture cannot be opened again: it came as bytes, and was brought in without `keep`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "missing", "it was ingested from bytes that were not kept: ingest with keep=DIR")

    # its constructor takes fewer arguments than that of the class above
    def __reduce__(self) -> tuple[type[NotKept], tuple[str]]:  # type: ignore[override]
        return type(self), (self.uri,)


class EncoderError(ImgvecError):
    """Something about the encoder; see the subclasses."""


class EncoderUnavailable(EncoderError):
    """The encoder's weights cannot be had, or cannot be used as they are."""


class EncoderMismatch(EncoderError):
    """Two encoders would meet in one collection; the message says both."""


class EngineFailed(ImgvecError):
    """Ray cannot be reached, or lost a worker for good."""


class FilterError(ImgvecError):
    """A filter names what is not there, or compares what cannot be compared."""


class BackendError(ImgvecError):
    """Milvus refused or failed; `code` is Milvus's own error code where it gave one.

    `retryable` says that the same call may succeed later: the server is busy, starting, or out of reach.
    """

    def __init__(self, message: str, *, code: int | None = None, retryable: bool = False) -> None:
        self.code, self.retryable = code, retryable
        super().__init__(message)


class BackendUnavailable(BackendError):
    """Milvus cannot be reached, answers too late, or refuses the login."""


class UnsupportedByBackend(BackendError):
    """This backend cannot do what was asked; nothing was sent to it."""


class CollectionNotFound(BackendError):
    """There is no collection of that name, or it was dropped meanwhile."""


class CollectionReplaced(CollectionNotFound):
    """The collection was dropped since it was opened, and another one made under its name: open it again.

    Where the other one has another encoder it is `EncoderMismatch`.
    """


class CollectionExists(BackendError):
    """There is a collection of that name already."""


class WriteFailed(BackendError):
    """A write ended half way: the first `written` rows were acknowledged, `pending` were not.

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
    """For pickle, which knows no keyword arguments."""
    return WriteFailed(message, written=written, pending=pending)
