"""Options are stated once, and everything else is made from that."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Required

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from typing_extensions import TypedDict, Unpack

from imgvec.errors import OptionError
from imgvec.exchange import NoEncoder, unbound_binding
from imgvec.opening import CreateOptions
from imgvec.options import Option, altered, documented, json_model, python_only, settled, stated, taken


class Reading(TypedDict, total=False):
    root: Annotated[str | Path | None, Option(json=False, help="Paths are relative to this folder.")]
    exclude: Annotated[Sequence[str], Option((), help="Leave out what matches.")]


class Work(Reading, total=False):
    limit: Annotated[int, Option(10, at_least=1, at_most=99, help="How many.")]
    share: Annotated[float | None, Option(above=0, below=1, help="What share.")]
    weight: Annotated[float | None, python_only()]
    strict: Annotated[bool, Option(False, help="Stop at the first.")]
    engine: Annotated[Literal["local", "ray"], Option("local", help="Where.")]
    mapping: Annotated[Mapping[str, str] | None, Option(help="Column to field.")]
    part: Annotated[tuple[int, int] | None, Option(help="Which of how many.")]
    where: Annotated[object, Option(json_type=str | None, shell=False, help="Only these.")]
    on_progress: Annotated[Callable[[int], None] | None, python_only(help="Gets the count.")]
    source: Annotated[Iterable[str] | None, python_only()]


def work(**options: Unpack[Work]) -> Work:
    return settled(Work, options)


def test_what_is_not_given_has_its_default() -> None:
    assert work() == {
        "root": None, "exclude": (), "limit": 10, "share": None, "weight": None, "strict": False, "engine": "local",
        "mapping": None, "part": None, "where": None, "on_progress": None, "source": None,
    }  # fmt: skip
    assert work(limit=3)["limit"] == 3


def test_options_of_another_typed_dict_are_inherited() -> None:
    assert list(stated(Work))[:2] == ["root", "exclude"]
    assert work(root="x")["root"] == "x"
    assert work(root=Path("x"))["root"] == Path("x")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("limit", 0, "limit must be a whole number, at least 1 and at most 99, not 0$"),
        ("limit", 100, "at most 99"),
        ("limit", "3", "limit must be a whole number, .* not '3'$"),
        ("limit", True, "limit must be .*, not True$"),
        ("limit", None, "limit must be .*, not None$"),
        ("limit", 1.5, "limit must be .*, not 1.5$"),
        ("share", 0, "share must be a number or None, more than 0 and less than 1, not 0$"),
        ("share", 1.0, "less than 1"),
        ("share", float("nan"), "share must be .*, not nan$"),
        ("strict", 1, "strict must be True or False, not 1$"),
        ("engine", "spark", "engine must be 'local' or 'ray'"),
        ("limit", 10**400, "limit must be a whole number, at least 1 and at most 99, not 1000"),
        ("share", float("-inf"), "share must be .*, not -inf$"),
        ("weight", float("inf"), "weight must be a number or None, not inf$"),
        ("engine", np.zeros((2, 2)), "engine must be 'local' or 'ray', not array"),
        ("mapping", ["a"], "mapping must be a mapping of strings to strings or None"),
        ("mapping", {1: "a"}, "mapping must be a mapping of strings to strings or None, not {1: 'a'}$"),
        ("mapping", {"a": None}, "mapping must be a mapping of strings"),
        ("part", (1, 2, 3), r"part must be \(a whole number, a whole number\) or None, not \(1, 2, 3\)$"),
        ("part", ("a", "b"), "part must be "),
        ("part", (0.5, 2), "part must be "),
        ("part", (True, 2), "part must be "),
        ("part", b"ab", "part must be "),
        ("exclude", [1], r"exclude must be a sequence of strings, not \[1\]$"),
        ("exclude", ["a", None], "exclude must be a sequence of strings, not"),
        ("exclude", b"ab", "exclude must be a sequence of strings, not b'ab'$"),
        ("root", 3, "root must be a string or a Path or None, not 3$"),
        ("exclude", 3, "exclude must be a sequence.*, not 3$"),
        ("on_progress", 3, "on_progress must be .*, not 3$"),
        ("exclude", {1: "x" * 200}, r"exclude must be .*, not .*\.\.\.$"),
    ],
)
def test_values_that_an_option_cannot_have(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(OptionError, match=wanted) as raised:
        settled(Work, {name: value})
    assert raised.value.name == name
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.name, str(again)) == (name, str(raised.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", np.int64(3)), ("share", np.float32(0.5)), ("share", None), ("mapping", {"a": "b"}), ("part", (0, 2)),
        ("part", None), ("where", object()), ("on_progress", print), ("source", None), ("limit", 1), ("limit", 99),
    ],
)  # fmt: skip
def test_values_that_it_can_have(name: str, value: Any) -> None:
    assert settled(Work, {name: value})[name] == value  # type: ignore[literal-required]


def test_a_number_too_long_to_show() -> None:
    with pytest.raises(OptionError, match=r"limit must be .*, not a number of thousands of digits$"):
        work(limit=10**5000)


def test_numbers_are_kept_as_python_has_them() -> None:
    """JSON and Milvus refuse NumPy's, which is what a count or a row of a data frame is."""
    given = {"limit": np.int64(3), "share": np.float32(0.5), "weight": Fraction(1, 4), "part": (np.int8(0), np.int8(2))}
    options: Any = settled(Work, given)
    assert json.loads(json.dumps(dict(options))) == {**options, "exclude": [], "part": [0, 2]}
    assert [type(options[name]) for name in given] == [int, float, float, tuple]

    class Free(TypedDict, total=False):
        params: Annotated[Mapping[str, Any] | None, Option()]

    assert type(settled(Free, {"params": {"ef": np.int64(64)}})["params"]["ef"]) is int  # type: ignore[index]
    assert [type(one) for one in settled(Measured, {"label": "x", "k": [np.int64(1), 2]})["k"]] == [int, int]


def test_an_unknown_option_is_a_type_error_that_says_which_was_meant() -> None:
    with pytest.raises(TypeError, match="there is no option 'limt': did you mean 'limit'"):
        work(limt=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"no option 'zzz' \(there are: root, "):
        work(zzz=3)  # type: ignore[call-arg]


def test_settled_options_do_not_change() -> None:
    given = {"a": "b"}
    options: Any = work(mapping=given, exclude=["x"], part=[0, 2])  # type: ignore[arg-type]
    given["c"] = "d"
    assert options["mapping"] == {"a": "b"}
    assert options["exclude"] == ("x",)
    assert options["part"] == (0, 2)
    for change in (
        lambda: options.update(limit=1), lambda: options.pop("limit"), lambda: options.__setitem__("limit", 1),
        lambda: options.__delitem__("limit"), options.clear, options.popitem, lambda: options.setdefault("a", 1),
        lambda: options.__ior__({"limit": 1}),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert settled(Work, options) is options
    for again in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options), copy.copy(options)):
        assert again == options
        assert settled(Work, again) is again


def test_other_values_for_some() -> None:
    options = work(limit=3, share=0.5)
    again = altered(options, {"limit": 4})
    assert (again["limit"], again["share"], options["limit"]) == (4, 0.5, 3)
    assert settled(Work, again) is again
    with pytest.raises(OptionError, match=r"limit must be a whole number, .*, not 0$"):
        altered(options, {"limit": 0})
    with pytest.raises(TypeError, match="no option 'limt'"):
        altered(options, {"limt": 4})
    with pytest.raises(TypeError, match="only settled options"):
        altered({"limit": 3}, {"limit": 4})


def test_defaults_are_not_shared_with_callers() -> None:
    class Odd(TypedDict, total=False):
        names: Annotated[Sequence[str] | None, Option(["a"], help="Some.")]

    assert settled(Odd, {})["names"] == ("a",)


def test_options_of_another_kind_are_checked_again() -> None:
    with pytest.raises(TypeError, match="no option 'limit'"):
        settled(Reading, work())


def test_one_text_is_not_taken_apart() -> None:
    assert work(exclude="*.png")["exclude"] == ("*.png",)


def test_an_iterator_is_left_alone() -> None:
    source = iter(["a", "b"])
    assert work(source=source)["source"] is source


def test_a_field_without_an_option_is_refused() -> None:
    class Half(TypedDict, total=False):
        limit: int

    with pytest.raises(TypeError, match=r"Half\.limit is not Annotated\[\.\.\., Option"):
        settled(Half, {})


def test_json_has_what_may_come_from_another_machine() -> None:
    model = json_model(Work)
    schema = model.model_json_schema()
    assert list(schema["properties"]) == [
        "exclude", "limit", "share", "strict", "engine", "mapping", "part", "where"
    ]  # fmt: skip
    assert schema["additionalProperties"] is False
    assert schema["properties"]["limit"] == {
        "default": 10, "description": "How many.", "maximum": 99, "minimum": 1, "title": "Limit", "type": "integer",
    }  # fmt: skip
    body = model.model_validate_json('{"limit": 3, "where": "a > 1"}')
    assert settled(Work, body.model_dump(exclude_unset=True))["where"] == "a > 1"
    for bad in ('{"limit": 0}', '{"root": "/etc"}', '{"share": 1}', '{"where": 3}', '{"on_progress": 1}'):
        with pytest.raises(ValidationError):
            model.model_validate_json(bad)


def test_help_and_notebooks_see_the_options() -> None:
    @documented(Work)
    def run(path: str, **options: Unpack[Work]) -> None:
        """Run it."""

    assert list(inspect.signature(run).parameters) == ["path", *stated(Work)]
    assert inspect.signature(run).parameters["limit"].default == 10
    assert "Run it.\n\nOptions:\n" in (run.__doc__ or "")
    assert "    limit: How many." in (run.__doc__ or "")


def test_options_of_one_kind_are_taken_from_those_of_several() -> None:
    class One(TypedDict, total=False):
        a: Annotated[int, Option(1)]

    class Other(TypedDict, total=False):
        b: Annotated[int, Option(2)]

    given = {"a": 5, "b": 6}
    assert (taken(One, given), taken(Other, given)) == ({"a": 5}, {"b": 6})
    assert taken(One, {"b": 6}) == {}


class Measured(TypedDict, total=False):
    label: Required[Annotated[str, Option(help="Of what.")]]
    k: Annotated[Sequence[int], Option((1, 5), at_least=1, help="How many.")]
    shares: Annotated[Sequence[float] | None, Option(below=1)]
    rows: Annotated[NDArray[np.float32] | int, Option(10, json_type=int)]


def test_an_option_without_a_default_has_to_be_given() -> None:
    assert settled(Measured, {"label": "x"}) == {"label": "x", "k": (1, 5), "shares": None, "rows": 10}
    with pytest.raises(TypeError, match="the option 'label' must be given"):
        settled(Measured, {"k": [3]})
    with pytest.raises(OptionError, match="label must be a string, not None"):
        settled(Measured, {"label": None})

    @documented(Measured)
    def run(**options: Unpack[Measured]) -> None: ...

    assert inspect.signature(run).parameters["label"].default is inspect.Parameter.empty
    assert json_model(Measured).model_json_schema()["required"] == ["label"]


def test_bounds_are_those_of_each_number_of_a_sequence() -> None:
    assert settled(Measured, {"label": "x", "k": [3, np.int64(1)]})["k"] == (3, 1)
    for wrong in ([0], [1, -1], [1.5], ["1"], "1", 3):
        with pytest.raises(OptionError, match="k must be a sequence of whole numbers, each at least 1, not"):
            settled(Measured, {"label": "x", "k": wrong})
    with pytest.raises(OptionError, match="shares must be a sequence of numbers or None, each less than 1, not"):
        settled(Measured, {"label": "x", "shares": [0.5, 1]})
    model = json_model(Measured)
    assert model.model_validate_json('{"label": "x", "k": [2], "shares": null}').model_dump()["k"] == [2]
    for bad in ('{"label": "x", "k": [0]}', '{"label": "x", "shares": [1]}', '{"label": "x", "k": null}'):
        with pytest.raises(ValidationError):
            model.model_validate_json(bad)


def test_an_array_is_one_value() -> None:
    rows = np.zeros((2, 3), np.float32)
    assert settled(Measured, {"label": "x", "rows": rows})["rows"] is rows
    with pytest.raises(OptionError, match="rows must be an array or a whole number, not"):
        settled(Measured, {"label": "x", "rows": [[1.0]]})


def test_what_stands_in_an_encoders_place_is_one() -> None:
    """Its properties refuse, and Python 3.11 reads them to see whether it has them."""
    stand_in = NoEncoder(unbound_binding(8))
    assert settled(CreateOptions, {"encoder": stand_in})["encoder"] is stand_in
