"""The arguments of tools: options as the collection states them, and what an agent is told of wrong ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import anyio
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from pydantic import ConfigDict, Field, ValidationError

from imgvec.adapters.mcp.pictures import MOST_INLINE
from imgvec.errors import (
    BackendError,
    FilterError,
    ImgvecError,
    MissingExtra,
    QueryError,
    UnreadableImage,
    UnsupportedByBackend,
    UsageError,
)
from imgvec.meant import suggestion
from imgvec.options import json_model

F = TypeVar("F", bound=Callable[..., Any])

MOST_HITS = 50
"""Of one call: an agent reads all of them. More come with `offset`."""
LONGEST_FILTER = 10_000
"""Characters."""
_LONGEST_ERROR = 1000
_BOUNDS = {"limit": Field(le=MOST_HITS), "where": Field(max_length=LONGEST_FILTER)}
"""Of options, besides their own."""

SEARCH = (
    "where", "limit", "offset", "min_score", "only_matches", "group_by", "group_size", "collapse", "diversity",
    "order_by", "facet", "output_fields", "vector",
)  # fmt: skip
"""The options of a search that tools take."""


SENT = "the picture"
"""What errors call a picture that an agent sends."""
PICTURE_BYTES = 10 * 1024 * 1024
"""Of a picture that an agent sends."""
Words = Annotated[str, Field(min_length=1, max_length=2000, description="What the pictures should show, in words.")]
Id = Annotated[str, Field(min_length=1, max_length=64, description="The id of a stored picture, as hits have it.")]
Ids = Annotated[list[Id], Field(min_length=1, max_length=20)]
Picture = Annotated[
    str,
    Field(
        min_length=1,
        description="An image file in base64, or as a data: URL; at most 10 MiB. No path and no other URL: nothing is "
        "opened or fetched.",
    ),
]
Box = Annotated[
    tuple[int, int, int, int] | None,
    Field(description="Search by a part only: [x0, y0, x1, y1] in pixels of the upright picture, from its top left."),
]
Thumbnails = Annotated[
    int, Field(ge=0, le=MOST_INLINE, description="How many hits come with a small picture; the others have links.")
]
Where = Annotated[
    str | None,
    Field(
        max_length=LONGEST_FILTER,
        description='Only rows that match this filter, such as: album == "cats" and width >= 800. describe_collection '
        "lists the fields.",
    ),
]


def takes(kind: type[Any], *names: str) -> Callable[[F], F]:
    """Give a tool these options of `kind` as arguments, with their types, bounds, defaults and help."""

    def decorate(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        known = inspect.signature(function)
        own = [
            one.replace(annotation=hints.get(one.name, one.annotation))
            for one in known.parameters.values()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        fields = json_model(kind).model_fields
        options = []
        for name in names:
            about = fields[name]
            bounds = [*about.metadata, *([_BOUNDS[name]] if name in _BOUNDS else [])]
            kind_of: Any = about.annotation
            annotation: Any = Annotated[(kind_of, *bounds, Field(description=about.description))]
            options.append(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=about.get_default(), annotation=annotation
                )
            )
        # inspect reads the attribute, which typeshed does not know
        function.__signature__ = known.replace(  # type: ignore[attr-defined]
            parameters=[*own, *options], return_annotation=hints["return"]
        )
        return function

    return decorate


_TOLD = (FilterError, MissingExtra, QueryError, UnreadableImage, UnsupportedByBackend, UsageError)
"""What strangers are told as it is said: it is about what they sent, or what cannot be had here."""


def told(error: ImgvecError, strangers: bool) -> str:
    """What an agent reads of an error; strangers are not told where things are on this machine."""
    if strangers and not isinstance(error, _TOLD):
        whose = "the collection" if isinstance(error, BackendError) else "what it needs here"
        return f"{whose} did not answer as it should: try again later"
    if strangers and isinstance(error, UnreadableImage):
        name = "the picture" if error.uri == SENT else "a stored picture"
        return f"{name}: {error.reason}"
    return _short(" ".join(str(error).split()))


def _short(said: str) -> str:
    """An error repeats what was sent, such as a filter of ten thousand characters: an agent has that already."""
    return said if len(said) <= _LONGEST_ERROR else said[:_LONGEST_ERROR] + "…"


class _Arguments(FuncMetadata):
    """Arguments in which a text is a text.

    Agents send lists as JSON within a text, so the SDK reads whatever else is sent as text as JSON first, where an
    argument is not a text alone: a filter `null` would be none, and search everything. Here only a list or an object is
    read, and where the argument can be one.
    """

    kinds: dict[str, Any]
    """The schema of each."""

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = super().pre_parse_json(data)
        return {
            name: value if _may_be(self.kinds.get(name, {}), value) else data[name] for name, value in found.items()
        }


def _may_be(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value that was read from a text may stand in its place."""
    takes = {each.get("type") for each in (schema, *schema.get("anyOf", ()))}
    if "string" not in takes:
        return True
    return "array" in takes if isinstance(value, list) else "object" in takes and isinstance(value, dict)


class StrictTool(Tool):
    """A tool that refuses arguments it does not have, and tells what to do about what imgvec refuses."""

    deadline: float | None = Field(default=None, exclude=True)
    """Seconds that a call may take."""

    strangers: bool = Field(default=False, exclude=True)
    """Whether they ask."""

    @classmethod
    def made(cls, function: Callable[..., Any], deadline: float | None, strangers: bool, **about: Any) -> StrictTool:
        """Of an annotated method; its docstring is what agents read."""
        tool = cls.from_function(function, description=inspect.cleandoc(function.__doc__ or ""), **about)
        assert isinstance(tool, StrictTool)
        tool.deadline, tool.strangers = deadline, strangers
        loose = tool.fn_metadata.arg_model
        strict: Any = type(
            loose.__name__, (loose,), {"model_config": ConfigDict(extra="forbid"), "__module__": __name__}
        )
        tool.parameters = strict.model_json_schema(by_alias=True)
        kinds = tool.parameters.get("properties", {})
        for argument in kinds.values():
            argument.pop("title", None)  # the name once more, which every agent would read
        tool.fn_metadata = _Arguments(**{**dict(tool.fn_metadata), "arg_model": strict, "kinds": kinds})
        return tool

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """As the SDK's, whose messages for wrong arguments are pydantic's own, and for other errors say nothing."""
        try:
            with anyio.fail_after(self.deadline):
                return await super().run(arguments, context, convert_result)
        except TimeoutError:
            raise ToolError(f"it took longer than {self.deadline:g} s: ask for less, or narrow the filter") from None
        except ToolError as exc:
            if isinstance(exc.__cause__, ValidationError):
                raise ToolError(self._wrong(exc.__cause__)) from exc.__cause__
            if isinstance(exc.__cause__, ImgvecError):
                raise ToolError(told(exc.__cause__, self.strangers)) from exc.__cause__
            raise

    def _wrong(self, error: ValidationError) -> str:
        known = self.parameters.get("properties", {})
        said = []
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            name = ".".join(map(str, each["loc"]))
            if each["type"] == "extra_forbidden":
                meant = suggestion(name[:64], known)
                said.append(f"{self.name} has no argument {name[:64]!r}{meant} (it has {', '.join(known) or 'none'})")
            elif each["type"] == "missing":
                said.append(f"{name} must be given: {known.get(name, {}).get('description', '')}".rstrip(": "))
            else:
                said.append(f"{name}: {each['msg']}")
        return _short("; ".join(dict.fromkeys(said)))
