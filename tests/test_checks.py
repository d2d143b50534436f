"""check: prints what held, fails on what did not."""

import math

import pytest

from jacntk_book.checks import CheckFailed, check


@pytest.mark.parametrize(
    ("arguments", "options", "printed"),
    [
        (("a", 0.123456, 0.2), {}, "CHECK a: 0.123 (<= 0.2) ok\n"),
        (("b", 12345.6, 1), {"at_least": True}, "CHECK b: 1.23e+04 (>= 1) ok\n"),
        (("c", 3.1e-15, 1e-12), {"rounding": True}, "CHECK c: < 1e-12 ok\n"),
        (("equal is enough", 2, 2), {}, "CHECK equal is enough: 2 (<= 2) ok\n"),
        (("infinite", math.inf, 3), {"at_least": True}, "CHECK infinite: inf (>= 3) ok\n"),
    ],
)
def test_what_holds_is_printed(capsys, arguments, options, printed):
    check(*arguments, **options)
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("value", "bound", "options", "message"),
    [
        (0.3, 0.2, {}, r"CHECK claim: 0.3 misses the bound <= 0.2"),
        (0.1, 0.2, {"at_least": True}, r"misses the bound >= 0.2"),
        (math.nan, 0.2, {}, r"nan misses"),
        (math.nan, 0.2, {"at_least": True}, r"nan misses"),
        (1e-3, 1e-12, {"rounding": True}, r"0.001 misses"),
        (0.1, math.nan, {}, r"misses the bound <= nan"),
    ],
)
def test_what_does_not_hold_fails_and_prints_nothing(capsys, value, bound, options, message):
    with pytest.raises(CheckFailed, match=message):
        check("claim", value, bound, **options)
    assert capsys.readouterr().out == ""


def test_rounding_prints_nothing_that_changes_between_machines(capsys):
    for value in (0.0, 2.2e-16, 9e-13):
        check("agreement", value, 1e-12, rounding=True)
    assert len(set(capsys.readouterr().out.splitlines())) == 1
