"""The list of errors that `make mutants` tries still applies, and its stored summary is of this list."""

import importlib.util
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
    mutant = {"name": "bad", "file": "jacntk_lib/kernels/recursion.py", "original": original, "mutated": original}
    with pytest.raises(ValueError, match=message):
        mutants.mutated(mutant)


@pytest.mark.parametrize(
    ("line", "test"),
    [
        (
            "FAILED tests/test_a.py::test_b[{'depth': 2} x] - AssertionError: a - b",
            "tests/test_a.py::test_b[{'depth': 2} x]",
        ),
        ("FAILED tests/test_a.py::test_b", "tests/test_a.py::test_b"),
        ("ERROR tests/test_a.py::test_c - ValueError", "tests/test_a.py::test_c"),
        ("1 passed in 0.1s", ""),
    ],
)
def test_the_first_failure_is_named_whole(line, test):
    assert mutants.first_failure(f"F\n== short test summary info ==\n{line}\n1 failed in 0.2s\n") == test


def test_a_summary_tells_what_has_changed_since(monkeypatch, tmp_path):
    for name in ("one.py", "test_one.py"):
        (tmp_path / name).write_text("x = 1 + 2\n")
    error = {"name": "sign", "file": "one.py", "original": "+", "mutated": "-"}
    tests = {"one": {"first": ["test_one.py::test_x"], "then": ["test_one.py"]}}
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "load", lambda: (tests, [error]))
    summary = {"mutants": [{"name": "sign", "hash": mutants.fingerprint(error)}]}
    summary["files"] = mutants.file_hashes(tests, [error])
    assert mutants.changes(summary) == ([], [])
    (tmp_path / "one.py").write_text("x = 2 + 2\n")
    assert mutants.changes(summary) == ([], ["one.py"])
    error["mutated"] = "*"
    assert mutants.changes(summary) == (["sign"], ["one.py"])
    monkeypatch.setattr(mutants, "load", lambda: (tests, [error | {"name": "factor"}]))
    assert mutants.changes(summary)[0] == ["factor", "sign"]
