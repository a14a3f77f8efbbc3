"""What is refused, and what failed, as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from imgvec import errors

PROBLEM_TYPE = "application/problem+json"
_MOST_DETAIL = 1000
"""Characters: messages say what was given, and that may be long."""
RETRY_SECONDS = 1
"""What a client waits at least before it asks again what could not be taken on."""

_STATUS: Mapping[type[Exception], int] = {
    errors.UsageError: 422,
    errors.QueryError: 422,
    errors.FilterError: 422,
    errors.SourceError: 422,
    errors.UnreadableImage: 422,
    errors.NotKept: 404,
    errors.CollectionNotFound: 404,
    errors.CollectionReplaced: 503,
    errors.BackendError: 502,
    errors.BackendUnavailable: 503,
    errors.UnsupportedByBackend: 501,
    errors.MissingExtra: 501,
    errors.EncoderUnavailable: 503,
    errors.EncoderMismatch: 503,
}
"""By class, for its subclasses too where they have no line of their own; 500 for any other."""
_OF_PICTURE = {"too large": 413, "too many pixels": 413, "not an image": 415, "format not allowed": 415}
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Left"}
"""RFC 9110's, which Python has from 3.13 on, and one of nginx's."""
_TOLD = frozenset({501})
"""Of a failure on this side nothing more is told but here: messages may name hosts and files."""


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {
        "description": said,
        "content": {
            PROBLEM_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "request_id"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "request_id": {"type": "string"},
                    },
                },
                "example": {
                    "type": "urn:imgvec:problem:filter-error",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "no field 'widht' at column 1: did you mean 'width'?",
                    "request_id": "84049bc19355453f919668eed223f0cb",
                },
            }
        },
    }
    for status, said in (("4XX", "Refused, as a problem document (RFC 9457)."), ("5XX", "Failed, or not now."))
}
"""For OpenAPI: what every route may answer."""


class Problem(Exception):
    """A refusal with all that is told of it. `kind` is short and stable enough to count by."""

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers, self.more = status, kind, detail, dict(headers or {}), more

    def document(self) -> dict[str, Any]:
        """The problem document, without the id of a request."""
        return {
            "type": f"urn:imgvec:problem:{self.kind}",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail if len(self.detail) <= _MOST_DETAIL else f"{self.detail[:_MOST_DETAIL]}…",
        }

    def response(self, request_id: str) -> JSONResponse:
        body = {**self.document(), "request_id": request_id, **self.more}
        return JSONResponse(body, self.status, self.headers, PROBLEM_TYPE)


def busy(kind: str, detail: str, status: int = 503, seconds: int = RETRY_SECONDS) -> Problem:
    """Something that may be asked again after so many seconds."""
    return Problem(status, kind, detail, headers={"Retry-After": str(seconds)})


def problem_of(exc: Exception) -> Problem:
    """What is told of an exception that a request met."""
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, RequestValidationError):
        # without the input: it may be a picture
        found = [{"at": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in exc.errors()[:20]]
        said = "; ".join(f"{each['at']}: {each['message']}" for each in found[:3])
        return Problem(422, "invalid", said or "the request does not fit", errors=found)
    if isinstance(exc, HTTPException):
        return Problem(exc.status_code, kind_of_status(exc.status_code), str(exc.detail), headers=exc.headers)
    if isinstance(exc, errors.ImgvecError):
        return _of_error(exc)
    if isinstance(exc, ClientDisconnect):
        return Problem(499, "client-left", "the body ended before it was whole")
    return Problem(500, "failed", "the request failed; the log has more under its id")


def kind_of_status(status: int) -> str:
    return _title(status).lower().replace(" ", "-")


def _title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase


def _of_error(exc: errors.ImgvecError) -> Problem:
    status = next(_STATUS[each] for each in type(exc).__mro__ if each in _STATUS) if _known(exc) else 500
    more: dict[str, Any] = {}
    if isinstance(exc, errors.OptionError):
        more["option"] = exc.name
    if isinstance(exc, errors.UnreadableImage):
        more["reason"] = exc.reason
        status = _OF_PICTURE.get(exc.reason, status)
    retry = isinstance(exc, errors.BackendError) and exc.retryable
    status = 503 if retry else status
    detail = str(exc)
    if status >= 500 and status not in _TOLD:
        detail = "Milvus did not answer as it should" if isinstance(exc, errors.BackendError) else "it failed here"
    elif isinstance(exc, errors.CollectionNotFound):  # the library's words may say at which address
        detail = "the collection is not there any more"
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
    return Problem(status, _kind(type(exc)), detail, headers=headers, **more)


def _known(exc: errors.ImgvecError) -> bool:
    return any(each in _STATUS for each in type(exc).__mro__)


def _kind(kind: type[Exception]) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("-")


async def respond(request: Request, exc: Exception) -> JSONResponse:
    """An exception handler for Starlette. What was told is noted, so that it is counted and logged."""
    problem = problem_of(exc)
    request.state.problem = problem.kind
    if problem.status >= 500:
        request.state.failure = exc
    return problem.response(request.state.request_id)
