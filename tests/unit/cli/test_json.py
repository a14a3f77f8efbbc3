"""What is printed as JSON is JSON, whatever others have written into a collection."""

from __future__ import annotations

import json

import pytest

from imgvec.cli.output import json_text, print_json


def test_what_json_has_no_word_for_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"price": float("nan"), "box": (1, float("inf")), "name": "é", "deep": {"n": [-float("inf"), 2.5]}}]
    expected = [{"price": None, "box": [1, None], "name": "é", "deep": {"n": [None, 2.5]}}]
    assert json.loads(json_text(rows)) == expected
    print_json(rows)
    assert json.loads(capsys.readouterr().out) == expected
    assert json_text({"a": 1.5}) == '{"a": 1.5}'
