"""Docstrings, as the reference shows them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
import jacntk_docstrings


def test_bars_of_a_docstring_are_escaped_in_running_text_only():
    literal = ["", ".. math::", "", "    |a|", "", ">>> 1 | 2", "|3|", ""]
    lines = ["A = |x|^2 and ``|y|`` and :math:`|z|`, \\| already.", *literal, "|b|"]
    jacntk_docstrings.escape_bars(None, "function", "f", None, None, lines)
    assert lines == ["A = \\|x\\|^2 and ``|y|`` and :math:`|z|`, \\| already.", *literal, "\\|b\\|"]


def test_no_line_of_running_text_ends_after_a_minus_sign():
    lines = ["above 1e-6, f(-x) = -f(x), 0 to K-1, a well-known case, ``1e-6``"]
    jacntk_docstrings.escape_bars(None, "function", "f", None, None, lines)
    assert lines == ["above 1e-\u20606, f(-\u2060x) = -\u2060f(x), 0 to K-\u20601, a well-known case, ``1e-6``"]


def test_entries_of_a_docstring_are_descriptions_not_types():
    lines = ["Ratio : a word.", "", "Parameters", "----------", "x, y : numbers >= 0", "    of any size.", ""]
    lines += ["Returns", "-------", "An array.", "", "Notes", "-----", "Here : there."]
    jacntk_docstrings.describe_entries(None, "function", "f", None, None, lines)
    assert lines[:7] == [
        "Ratio : a word.",
        "",
        "Parameters",
        "----------",
        "x, y",
        "    numbers >= 0",
        "    of any size.",
    ]
    assert lines[8:12] == ["Returns", "-------", ":", "    An array."]
    assert lines[-1] == "Here : there."
