"""Every fault that can be planted in a source file: small changes that a person could make, one at a time.

The kinds are those of mutmut, cosmic-ray and Stryker:

    comparison   `<` for `<=`, `==` for `!=`, `in` for `not in`, …
    boolean      `and` for `or`; one operand left out; `not` dropped; a plain condition negated
    arithmetic   `+` for `-`, `*` for `/`, …, in augmented assignments too
    constant     a number raised by one, True for False, a text emptied (an f-string as one)
    argument     a keyword left out, or the last of several positional ones
    call         a call that only changes the form of its value left out: `x.lower()`, `sorted(x)`; min for max
    types        one type of several left out of an `except` or `isinstance`
    loop         `break` for `continue`
    return       None for what is returned, or what a lambda gives
    deletion     a statement that stands for its effect, or a `raise`, left out

Left alone is what does not run or only describes: docstrings, annotations, decorators, `if TYPE_CHECKING`, protocols,
`__all__`, type variables, and unions of types outside `isinstance`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip
_FORM_METHODS = frozenset("lower upper casefold strip lstrip rstrip expanduser resolve copy removeprefix".split())
_FORM_FUNCTIONS = frozenset("sorted reversed abs round escape bytes float int".split())
_BUILT_IN_TYPES = frozenset("str bytes bytearray memoryview int float bool list tuple dict set frozenset".split())
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_DESCRIBING = frozenset({"annotation", "returns", "decorator_list", "type_params", "type_comment", "bases"})
_Change = tuple[str, ast.AST]
_Steps = tuple[tuple[str, int | None], ...]
"""From a node to one below it: fields, and positions in lists."""


@dataclass(frozen=True)
class Fault:
    """One change to one place of a file."""

    file: str
    function: str
    """The dotted name of the function or class around it; `<module>` where there is none."""
    kind: str
    before: str
    """The statement as it stands (of a compound one the first line), and `after` as it is with the fault."""
    after: str
    nth: int
    """Which of several equal changes in the function, from 0."""
    lines: range = field(compare=False)
    """Where the statement stands."""
    runs_at_import: bool = field(compare=False)
    binds: str = field(compare=False)
    """The name that the outermost statement binds."""
    source: Callable[[], str] = field(compare=False, repr=False)
    """The whole file with the fault."""

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What names it whatever the line is."""
        return self.file, self.function, self.before, self.after, self.nth


def faults_in(file: str, text: str) -> list[Fault]:
    """Every fault that can be planted in the text of `file`, in the order of the text."""
    tree = ast.parse(text)
    found: list[Fault] = []
    seen: dict[tuple[str, str, str], int] = {}
    for place in _places(tree):
        for kind, changed in _changes(place):
            before, after = place.shown(), place.shown(changed)
            if before == after:
                continue
            nth = seen.get((place.function, before, after), 0)
            seen[place.function, before, after] = nth + 1
            found.append(
                Fault(
                    *(file, place.function, kind, before, after, nth, place.lines, place.at_import, place.binds),
                    source=partial(place.planted, tree, changed),
                )
            )
    return found


def lines_of_code(text: str) -> int:
    """Lines on which a statement that can hold a fault stands."""
    return len({line for place in _places(ast.parse(text)) for line in place.lines})


@dataclass(frozen=True)
class _Place:
    """A node that may be changed, and where it is."""

    node: ast.AST
    parent: ast.AST
    path: _Steps
    """From the statement to the node."""
    statement: ast.stmt
    statement_path: _Steps
    function: str
    at_import: bool
    binds: str

    @property
    def lines(self) -> range:
        return _header_lines(self.statement)

    def shown(self, changed: ast.AST | None = None) -> str:
        statement = copy.deepcopy(self.statement)
        if changed is not None:
            replaced = _replace(statement, self.path, changed)
            statement = replaced  # type: ignore[assignment]
        for name in _BLOCKS:
            if isinstance(getattr(statement, name, None), list):
                setattr(statement, name, [ast.Pass()] if name == "body" else [])
        if isinstance(statement, ast.Try):
            statement.finalbody = [ast.Pass()]
        return ast.unparse(ast.fix_missing_locations(statement)).removesuffix("\n    pass")

    def planted(self, tree: ast.Module, changed: ast.AST) -> str:
        whole = _replace(copy.deepcopy(tree), (*self.statement_path, *self.path), changed)
        return ast.unparse(ast.fix_missing_locations(whole)) + "\n"


def _replace(root: ast.AST, path: _Steps, changed: ast.AST) -> ast.AST:
    if not path:
        return copy.deepcopy(changed)
    node = root
    for name, position in path[:-1]:
        value = getattr(node, name)
        node = value if position is None else value[position]
    name, position = path[-1]
    if position is None:
        setattr(node, name, copy.deepcopy(changed))
    else:
        getattr(node, name)[position] = copy.deepcopy(changed)
    return root


def _header_lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    if isinstance(body, list) and body:
        last = max(statement.lineno, body[0].lineno - 1)
    elif isinstance(statement, ast.Match):
        last = statement.subject.end_lineno or statement.lineno
    return range(statement.lineno, last + 1)


def _places(tree: ast.Module) -> Iterator[_Place]:
    yield from _in_blocks(tree, (), "", at_import=True, binds="")


def _in_blocks(owner: ast.AST, path: _Steps, function: str, *, at_import: bool, binds: str) -> Iterator[_Place]:
    for name in _BLOCKS:
        block = getattr(owner, name, None)
        for position, statement in enumerate(block if isinstance(block, list) else ()):
            here = (*path, (name, position))
            if isinstance(statement, ast.ExceptHandler | ast.match_case):
                yield from _of_clause(statement, here, function, at_import=at_import, binds=binds)
                yield from _in_blocks(statement, here, function, at_import=at_import, binds=binds)
            elif not _only_describes(statement):
                bound = binds or _bound(statement)
                yield from _of_statement(owner, statement, here, function, at_import=at_import, binds=bound)


def _of_clause(
    clause: ast.ExceptHandler | ast.match_case, path: _Steps, function: str, *, at_import: bool, binds: str
) -> Iterator[_Place]:
    """The types of an `except`, the guard of a `case`; shown alone, as the statement around them is too long."""
    name, node = ("type", clause.type) if isinstance(clause, ast.ExceptHandler) else ("guard", clause.guard)
    if node is None:
        return
    holder = ast.Expr(node, lineno=node.lineno, end_lineno=node.end_lineno, col_offset=0, end_col_offset=0)
    for child, parent, where in _expressions(node, clause, (("value", None),)):
        rest = (function or "<module>", at_import, binds)
        yield _ClausePlace(child, parent, where, holder, path, *rest, clause_field=name)


@dataclass(frozen=True)
class _ClausePlace(_Place):
    """A place in an `except` or a `case`."""

    clause_field: str = ""

    def planted(self, tree: ast.Module, changed: ast.AST) -> str:
        path = (*self.statement_path, (self.clause_field, None), *self.path[1:])
        return ast.unparse(ast.fix_missing_locations(_replace(copy.deepcopy(tree), path, changed))) + "\n"


def _of_statement(
    owner: ast.AST, statement: ast.stmt, path: _Steps, function: str, *, at_import: bool, binds: str
) -> Iterator[_Place]:
    inner = function
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inner = f"{function}.{statement.name}" if function else statement.name
    for child, parent, where in _expressions(statement, owner, ()):
        yield _Place(child, parent, where, statement, path, inner or "<module>", at_import, binds)
    runs = at_import and not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    yield from _in_blocks(statement, path, inner, at_import=runs, binds=binds)


def _expressions(node: ast.AST, parent: ast.AST, path: _Steps) -> Iterator[tuple[ast.AST, ast.AST, _Steps]]:
    """The node and what it holds, without the blocks below it and what only describes."""
    yield node, parent, path
    if isinstance(node, ast.JoinedStr):
        # the texts of an f-string are changed as one; its values are expressions like others
        for position, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue):
                yield from _expressions(part.value, part, (*path, ("values", position), ("value", None)))
        return
    for name, value in ast.iter_fields(node):
        if name in _DESCRIBING or (isinstance(node, ast.ClassDef) and name == "keywords"):
            continue
        if isinstance(value, list) and name not in _BLOCKS:
            for position, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _expressions(item, node, (*path, (name, position)))
        elif isinstance(value, ast.AST):
            yield from _expressions(value, node, (*path, (name, None)))


def _only_describes(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()):  # a docstring, or ...
            return True
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Global() | ast.Nonlocal():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.ClassDef(bases=bases) if any(isinstance(b, ast.Name) and b.id == "Protocol" for b in bases):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return True
    return False


def _bound(statement: ast.stmt) -> str:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name), *_]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def _changes(place: _Place) -> Iterator[_Change]:
    node, parent = place.node, place.parent
    match node:
        case ast.Compare(ops=ops):
            for position, operator in enumerate(ops):
                changed = copy.deepcopy(node)
                changed.ops[position] = _COMPARISONS[type(operator)]()
                yield "comparison", changed
        case ast.BoolOp(op=operator, values=values):
            yield "boolean", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for position in range(len(values)):
                rest = [value for i, value in enumerate(values) if i != position]
                yield "boolean", rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "boolean", operand
        case ast.BinOp(op=ast.BitOr(), left=left, right=right) if _names_types(node):
            if _tells_types(parent, node) or (isinstance(parent, ast.BinOp) and not place.at_import):
                yield "types", left
                yield "types", right
        case ast.BinOp(op=operator, left=left, right=right):
            yield "arithmetic", ast.BinOp(left, _ARITHMETIC[type(operator)](), right)
        case ast.AugAssign(op=operator):
            changed = copy.deepcopy(node)
            changed.op = _ARITHMETIC[type(operator)]()
            yield "arithmetic", changed
            yield "deletion", ast.Pass()
        case ast.Constant(value=value):
            yield from _constants(value)
        case ast.JoinedStr():
            yield "constant", ast.Constant("")
        case ast.Tuple(elts=elements) if isinstance(parent, ast.ExceptHandler):
            for position in range(len(elements)):
                yield "types", ast.Tuple([e for i, e in enumerate(elements) if i != position], ast.Load())
        case ast.Call():
            yield from _calls(node)
        case ast.Break():
            yield "loop", ast.Continue()
        case ast.Continue():
            yield "loop", ast.Break()
        case ast.Return(value=value) if value is not None and not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            yield "return", ast.Return(ast.Constant(None))
        case ast.Lambda(args=arguments, body=body) if not isinstance(body, ast.Constant):
            yield "return", ast.Lambda(arguments, ast.Constant(None))
        case ast.Raise() | ast.Delete() | ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield "deletion", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "deletion", ast.Pass()
    if isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript) and _is_condition(parent, node):
        yield "boolean", ast.UnaryOp(ast.Not(), node)


def _constants(value: object) -> Iterator[_Change]:
    match value:
        case bool():
            yield "constant", ast.Constant(not value)
        case int() | float():
            yield "constant", ast.Constant(value + 1)
        case str():
            yield "constant", ast.Constant("" if value else "mutated")
        case bytes():
            yield "constant", ast.Constant(b"" if value else b"mutated")


def _calls(node: ast.Call) -> Iterator[_Change]:
    for position, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            changed = copy.deepcopy(node)
            del changed.keywords[position]
            yield "argument", changed
    if len(node.args) > 1 and not isinstance(node.args[-1], ast.Starred):
        changed = copy.deepcopy(node)
        del changed.args[-1]
        yield "argument", changed
    match node.func:
        case ast.Attribute(value=value, attr=attr) if attr in _FORM_METHODS:
            yield "call", value
        case ast.Name(id="min" | "max" as name):
            changed = copy.deepcopy(node)
            changed.func = ast.Name("max" if name == "min" else "min", ast.Load())
            yield "call", changed
        case ast.Name(id=name) if name in _FORM_FUNCTIONS and node.args and not isinstance(node.args[0], ast.Starred):
            yield "call", node.args[0]


def _names_types(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _names_types(left) and _names_types(right)
        case ast.Name(id=name):
            return name in _BUILT_IN_TYPES or (name[:1].isupper() and not name.isupper())
        case ast.Attribute(attr=attr):
            return attr[:1].isupper() and not attr.isupper()
        case ast.Subscript(value=value):
            return _names_types(value)
        case ast.Constant(value=None):
            return True
    return False


def _tells_types(parent: ast.AST, node: ast.AST) -> bool:
    match parent:
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, second]):
            return second is node
    return False


def _is_condition(parent: ast.AST, node: ast.AST) -> bool:
    match parent:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            return test is node
        case ast.comprehension(ifs=ifs):
            return any(test is node for test in ifs)
    return False
