"""The arguments of tools: options as the collection states them, and what an agent is told of wrong ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import anyio
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from pydantic import ConfigDict, Field, ValidationError

from imgvec.adapters.mcp.pictures import MOST_INLINE
from imgvec.errors import BackendError, ImgvecError, UnreadableImage, UnsupportedByBackend
from imgvec.meant import suggestion
from imgvec.options import json_model

F = TypeVar("F", bound=Callable[..., Any])

MOST_HITS = 50
"""Of one call: an agent reads all of them. More come with `offset`."""
LONGEST_FILTER = 10_000
"""Characters."""
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


def told(error: ImgvecError, strangers: bool) -> str:
    """What an agent reads of an error; strangers are not told where things are on this machine."""
    if strangers and isinstance(error, BackendError) and not isinstance(error, UnsupportedByBackend):
        return "the collection did not answer as it should: try again later"
    if strangers and isinstance(error, UnreadableImage):
        name = "the picture" if error.uri == SENT else "a stored picture"
        return f"{name}: {error.reason}"
    return " ".join(str(error).split())


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
        tool.fn_metadata.arg_model = strict
        tool.parameters = strict.model_json_schema(by_alias=True)
        for argument in tool.parameters.get("properties", {}).values():
            argument.pop("title", None)  # the name once more, which every agent would read
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
                said.append(f"{self.name} has no argument {name[:64]!r}{meant} (it has {', '.join(known)})")
            elif each["type"] == "missing":
                said.append(f"{name} must be given: {known.get(name, {}).get('description', '')}".rstrip(": "))
            else:
                said.append(f"{name}: {each['msg']}")
        return "; ".join(dict.fromkeys(said))
