"""The list of errors that `make mutants` tries still applies, and its stored summary is of this list."""

import importlib.util
import json
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("mutants", Path(__file__).parent.parent / "tools" / "mutants.py")
mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutants)

TESTS, LIST = mutants.load()


def test_the_list():
    names = [one["name"] for one in LIST]
    assert len(names) == len(set(names)) >= 40
    assert {one["module"] for one in LIST} == set(TESTS) == {"kernels", "gram", "finite", "dynamics"}
    for tests in TESTS.values():
        for node in (*tests["first"], *tests["then"]):
            path, _, name = node.partition("::")
            assert not name or f"def {name}(" in (mutants.ROOT / path).read_text(), node


@pytest.mark.parametrize("mutant", LIST, ids=lambda one: one["name"])
def test_applies(mutant):
    mutants.mutated(mutant)


@pytest.mark.parametrize(
    ("original", "message"),
    [("no such code", "occurs 0 times"), ("import", r"occurs \d+ times"), ("The layer recursion", "changes nothing")],
)
def test_refuses_what_does_not_apply(original, message):
    mutant = {"name": "bad", "file": "jacntk_lib/kernels.py", "original": original, "mutated": original}
    with pytest.raises(ValueError, match=message):
        mutants.mutated(mutant)


def test_stored_summary_is_of_this_list():
    summary = json.loads(mutants.SUMMARY.read_text())
    assert [one["name"] for one in summary["mutants"]] == [one["name"] for one in LIST]
    survivors = {one["name"] for one in summary["mutants"] if not one["caught"]}
    assert summary["caught"] == len(LIST) - len(survivors) >= 38
    assert survivors == {one["name"] for one in LIST if "survives" in one}, "every survivor says why, and only those"
