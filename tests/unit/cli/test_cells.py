"""Tables for people."""

from __future__ import annotations

import pytest

from imgvec.cli.output import print_csv, print_table


def test_a_difference_that_rounds_to_nothing_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["difference"], [{"difference": -0.00004}, {"difference": -0.00006}])
    assert capsys.readouterr().out.split()[-2:] == ["0.0000", "-0.0001"]


def test_csv_keeps_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv(["difference"], [{"difference": -0.00004}])
    assert capsys.readouterr().out == "difference\n-4e-05\n"
