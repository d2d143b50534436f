"""The runner of what is too long for every commit, and the newest versions' report: what they keep and say."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_all  # noqa: E402
import latest  # noqa: E402

TOY = {
    "good": ([sys.executable, "-c", "print('one'); print('two')"], "prints"),
    "bad": ([sys.executable, "-c", "raise SystemExit('broken')"], "fails"),
}


def test_every_step_is_recorded_and_a_failure_fails(tmp_path, capsys):
    path = tmp_path / "record.json"
    assert check_all.main([], TOY, path) == 1
    recorded = json.loads(path.read_text())
    assert {step: one["passed"] for step, one in recorded.items()} == {"good": True, "bad": False}
    assert recorded["good"]["last_lines"] == ["one", "two"]
    assert recorded["bad"]["last_lines"] == ["broken"]
    assert len(recorded["good"]["commit"]) == 40
    assert "bad: FAILED" in capsys.readouterr().out


def test_a_step_alone_leaves_the_record_of_the_others(tmp_path):
    path = tmp_path / "record.json"
    check_all.main([], TOY, path)
    before = json.loads(path.read_text())
    assert check_all.main(["good"], TOY, path) == 0
    assert json.loads(path.read_text())["bad"] == before["bad"]
    with pytest.raises(SystemExit):
        check_all.main(["better"], TOY, path)


def test_steps_are_commands_that_exist():
    targets = (ROOT / "Makefile").read_text()
    for command, _ in check_all.STEPS.values():
        assert f"\n{command[1]}:" in targets if command[0] == "make" else (ROOT / command[1]).is_file(), command


def test_what_pytest_found_with_the_newest_versions():
    output = "..F\nFAILED tests/test_a.py::test_b[1] - AssertionError: it\nERROR tests/test_c.py\n"
    output += "1 failed, 2 passed in 3.0s\n"
    assert latest.verdict(output) == ("1 failed, 2 passed in 3.0s", ["tests/test_a.py::test_b[1]", "tests/test_c.py"])
    assert latest.verdict("") == ("no test ran", [])
    assert latest.newer({"numpy": "99.0", "scipy": "1.0"})[0].startswith("numpy: ")
