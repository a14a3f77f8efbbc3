"""The faults that tests/mutation plants: which they are, and that each is one change."""

from __future__ import annotations

import ast
import difflib

import pytest
from mutation.faults import faults_in, lines_of_code


def changes(text: str) -> set[str]:
    return {fault.after for fault in faults_in("m.py", text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <= b", {"a < b"}),
        ("a in b == c", {"a not in b == c", "a in b != c"}),
        ("x = a and b", {"x = a or b", "x = b", "x = a"}),
        ("x = not a", {"x = a"}),
        ("if a: b()", {"if not a:", "pass"}),
        ("if a < 2: pass", {"if a <= 2:", "if a < 3:"}),
        ("x += y", {"x -= y", "pass"}),
        ("x = 'text'", {"x = ''"}),
        ("x = f'{a} of {b + 1}'", {"x = ''", "x = f'{a} of {b - 1}'", "x = f'{a} of {b + 2}'"}),
        ("x = f(a, b, k=True)", {"x = f(a, b)", "x = f(a, k=True)", "x = f(a, b, k=False)"}),
        ("x = sorted(a.lower())", {"x = a.lower()", "x = sorted(a)"}),
        ("x = min(a, b)", {"x = max(a, b)", "x = min(a)"}),
        ("isinstance(x, str | bytes)", {"pass", "isinstance(x)", "isinstance(x, str)", "isinstance(x, bytes)"}),
        ("try: a()\nexcept (A, B): raise", {"pass", "(B,)", "(A,)"}),
        ("for x in y:\n if x: break", {"if not x:", "continue"}),
        ("def f(a=1) -> 'A': return a", {"def f(a=2) -> 'A':", "return None"}),
        ("x = lambda: y", {"x = lambda: None"}),
        ("match x:\n case A() if y > 1: pass", {"y >= 1", "y > 2"}),
    ],
)
def test_what_can_be_planted(text: str, expected: set[str]) -> None:
    assert changes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"""A docstring."""',
        "x: Literal['a']",
        "@cache('a')\ndef f(x: 'A') -> 'B': ...",
        "if TYPE_CHECKING:\n x = 1",
        "class A(Protocol):\n def f(self) -> int:\n  return 1",
        "__all__ = ['x']",
        "Query = str | bytes | None",
        "return_ = None",
    ],
)
def test_what_only_describes_is_left_alone(text: str) -> None:
    assert changes(text) == set()


SOURCE = '''
"""A module."""

LIMIT = 10


class Box:
    size: int = 3

    def holds(self, items, *, strict=False):
        try:
            for item in items:
                if not item or item > LIMIT and strict:
                    raise ValueError(f"{item} is too large")
        except (TypeError, KeyError):
            return max(1, self.size)
        return self.size > 2 and self.size > 2
'''


def test_each_fault_is_one_change_that_can_be_compiled() -> None:
    sound = ast.unparse(ast.parse(SOURCE)).splitlines()
    faults = faults_in("box.py", SOURCE)
    assert len({fault.key for fault in faults}) == len(faults) > 25
    for fault in faults:
        text = fault.source()
        compile(text, "box.py", "exec")
        changed = [line for line in difflib.ndiff(sound, text.splitlines()) if line[0] in "+-"]
        assert {line[0] for line in changed} == {"+", "-"}
        assert len(changed) == 2, fault.key


def test_where_a_fault_is() -> None:
    found = {fault.after: fault for fault in faults_in("box.py", SOURCE)}
    limit, size = found["LIMIT = 11"], found["size: int = 4"]
    assert (limit.function, limit.runs_at_import, limit.binds) == ("<module>", True, "LIMIT")
    assert (size.function, size.runs_at_import, size.binds) == ("Box", True, "Box")
    inside = found["return max(2, self.size)"]
    assert (inside.function, inside.runs_at_import, list(inside.lines)) == ("Box.holds", False, [16])
    twice = [fault.nth for fault in faults_in("box.py", SOURCE) if fault.after == "return self.size > 2"]
    assert twice == [0, 1]
    assert lines_of_code(SOURCE) == 11
