"""The options of `prune`, and its advice where it deletes nothing: how the rows of a missing folder are deleted."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from typing_extensions import TypedDict

from imgvec.filters import FieldType, field, render
from imgvec.options import python_only
from imgvec.plurals import counted
from imgvec.sources.registry import split_member


class PruneOptions(TypedDict, total=False):
    """What `ImageCollection.prune` can be told besides its `Source`."""

    confirm: Annotated[
        Callable[[int, int], bool] | None,
        python_only(help="Called first with the pictures to delete and those checked; False deletes none."),
    ]
    on_notice: Annotated[
        Callable[[str], None] | None,
        python_only(help="Receives a notice about rows that are kept because it is unclear whether they are gone."),
    ]


def rows_below(prefix: str) -> str:
    """The Milvus expression for rows whose uri begins with `prefix`: exact, where LIKE takes % and _ for any text."""
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return render((field("uri") >= prefix) & (field("uri") < after), {"uri": FieldType("VARCHAR")}, dynamic=False)


def delete_command(collection: str, prefix: str) -> str:
    """The shell command that deletes the rows whose uri begins with `prefix`."""
    return f"imgvec collections delete {collection} --where {shlex.quote(rows_below(prefix))}"


def way_out(collection: str, source: str | Path, root: str | Path | None) -> str:
    """What to do about the rows of a source that was moved, or is gone for good."""
    text = str(source)
    if "://" not in text:
        text = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111
        if root is not None:
            text = os.path.relpath(text, os.path.expanduser(root))  # noqa: PTH111
    if text == ".":
        return "to delete its rows, delete the collection"
    command = delete_command(collection, text.rstrip("/") + "/")
    return f"if it was moved or is gone for good, delete its rows with: {command}"


def unsure(collection: str, uris: dict[str, int]) -> str:
    """What to say of rows that may be a file's or an archive's, neither of which is there: their number by archive."""
    number, first = sum(uris.values()), next(iter(uris))
    return (
        f"kept {counted(number, 'row')} whose archive is missing (the first: {first}); if it is gone for good, "
        f"delete them with: {delete_command(collection, first + '!')}"
    )


def archive_of(uri: str) -> str:
    """The archive of an `archive!member` uri."""
    found = split_member(uri)
    return uri if found is None else found[0]
