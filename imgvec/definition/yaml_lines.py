"""A definition's YAML with the line of every key, for what is said of mistakes."""

from __future__ import annotations

from typing import Any

import yaml

from imgvec.errors import DefinitionError

_MAX_NODES = 100_000
"""Values in a definition: those shipped have below 100."""


class _Loader(yaml.SafeLoader):
    """Says by a YAMLError, and where, what PyYAML's constructors raise for the thirtieth of February."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as exc:
            problem = f"{str(node.value)[:50]!r} is not a valid YAML value ({exc}); if it is text, quote it"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from exc


def read_yaml(text: str, source: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The data, and the line of every key in it; a key given twice is refused, where PyYAML keeps the last."""
    lines: dict[tuple[str, ...], int] = {}
    seen = 0

    def walk(node: yaml.Node, path: tuple[str, ...]) -> None:
        nonlocal seen
        seen += 1
        if seen > _MAX_NODES:  # ten lines of aliases can stand for a billion
            raise DefinitionError(f"has more than {_MAX_NODES:,} values, with aliases expanded", source=source)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place = (*path, str(key.value))
                line = key.start_mark.line + 1
                if place in lines:
                    raise DefinitionError("given twice", where=".".join(place), source=source, line=line)
                lines[place] = line
                walk(value, place)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                walk(value, (*path, str(position)))

    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is None:
            raise DefinitionError("is empty", source=source)
        walk(tree, ())
        return yaml.load(text, Loader=_Loader), lines  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise DefinitionError("is nested too deeply or refers to itself", source=source) from None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DefinitionError(f"is not YAML: {getattr(exc, 'problem', exc)}", source=source, line=line) from exc
