"""The runner of what is too long for every commit, and the newest versions' report: what they keep and say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_all  # noqa: E402
import jupyterlab  # noqa: E402
import latest  # noqa: E402

MAKEFILE = (ROOT / "Makefile").read_text()
TOY = {
    "good": ([sys.executable, "-c", "print('one'); print('two')"], "prints", 1),
    "bad": ([sys.executable, "-c", "raise SystemExit('broken')"], "fails", 2),
}


def test_every_step_is_recorded_and_a_failure_fails(tmp_path, capsys):
    path = tmp_path / "record.json"
    assert check_all.main([], TOY, path) == 1
    recorded = json.loads(path.read_text())
    assert {step: one["passed"] for step, one in recorded.items()} == {"good": True, "bad": False}
    assert recorded["good"]["last_lines"] == ["one", "two"]
    assert recorded["bad"]["last_lines"] == ["broken"]
    assert len(recorded["good"]["commit"]) == 40
    assert len(list(tmp_path.iterdir())) == 1
    shown = capsys.readouterr().out
    assert "2 steps: about 3 minutes" in shown
    assert "== bad: fails (about 2 min)" in shown
    assert "bad: FAILED" in shown


def test_what_is_kept_does_not_say_where_it_ran():
    lines = [f"make[1]: Leaving directory '{ROOT}'", "\x1b[92mbuilt\x1b[0m", f"see {ROOT}/_build/a.pdf of {ROOT}"]
    assert check_all.worth_keeping(lines) == ["built", "see _build/a.pdf of ."]
    recorded = json.loads(check_all.RECORD.read_text(encoding="utf-8"))
    for one in recorded.values():
        assert check_all.worth_keeping(one["last_lines"]) == one["last_lines"]


def test_a_step_alone_leaves_the_record_of_the_others(tmp_path):
    path = tmp_path / "record.json"
    check_all.main([], TOY, path)
    before = json.loads(path.read_text())
    assert check_all.main(["good"], TOY, path) == 0
    assert json.loads(path.read_text())["bad"] == before["bad"]
    with pytest.raises(SystemExit):
        check_all.main(["better"], TOY, path)


def test_the_record_is_complete():
    """Every step passed when it last ran, on sources that were committed, and is the step that is there now."""
    recorded = json.loads(check_all.RECORD.read_text(encoding="utf-8"))
    assert list(recorded) == list(check_all.STEPS)
    for step, one in recorded.items():
        assert one["passed"], step
        assert not one["edited_since"], step
        assert one["what"] == check_all.STEPS[step][1], step


def test_steps_are_commands_that_exist():
    for command, _, _ in check_all.STEPS.values():
        assert f"\n{command[1]}:" in MAKEFILE if command[0] == "make" else (ROOT / command[1]).is_file(), command


def test_what_a_step_writes_is_no_edit():
    """The record itself lies among the tests: one step must not mark the next as run on edited sources."""
    names = [*check_all.WRITTEN, *check_all.SOURCES]
    written = {str(path.relative_to(ROOT)) for path in (check_all.RECORD, ROOT / "tests" / "mutants" / "summary.json")}
    listed = check_all.git("ls-files", "--", *names).splitlines()
    assert {"jacntk_lib/kernels/gram.py", "tests/test_gram.py", "tools/check_all.py", "book/intro.md"} <= set(listed)
    assert not written & set(listed)


def bench(folder, **scripts):
    """What `make bench` says and returns of such scripts in place of the benchmarks."""
    (folder / "benchmarks").mkdir()
    for name, text in {"report": "print('table')", **scripts}.items():
        (folder / "benchmarks" / f"{name}.py").write_text(text)
    rule = re.search(r"^bench: .*\n(?:\t.*\n)+", MAKEFILE, re.M).group().replace("$(ENVIRONMENT)", "")
    head = "\n".join(re.findall(r"^(?:SHELL|\.SHELLFLAGS|stage) .*$", MAKEFILE, re.M))
    (folder / "Makefile").write_text(f"{head}\nBIN := {Path(sys.executable).parent}\n{rule}")
    done = subprocess.run(["make", "--no-print-directory", "-C", folder, "bench"], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_missed_target_is_reported_and_a_crash_fails(tmp_path):
    miss, crash, good = "raise SystemExit(3)", "raise ValueError('broken')", "print('measured')"
    for name in "abc":
        (tmp_path / name).mkdir()
    code, shown = bench(tmp_path / "a", one=good)
    assert (code, shown.splitlines()[-2:]) == (0, ["targets missed: none", "failed: none"])
    code, shown = bench(tmp_path / "b", one=miss, two=good)
    assert code == 0
    assert shown.index("measured") < shown.index("table")
    assert shown.splitlines()[-2:] == ["targets missed: benchmarks/one.py", "failed: none"]
    code, shown = bench(tmp_path / "c", one=crash, two=miss, three=good)
    assert code != 0
    assert "measured" in shown
    assert "targets missed: benchmarks/two.py\nfailed: benchmarks/one.py (exit status 1)\n" in shown


def test_a_pinned_package_that_jupyterlab_would_change_is_seen():
    report = {"install": [{"metadata": {"name": name, "version": "9"}} for name in ("jupyterlab", "Jinja_2")]}
    assert jupyterlab.outcome(report, ["numpy", "jinja2"], ["numpy"]) == ({"jupyterlab": "9", "jinja-2": "9"}, [])
    assert jupyterlab.outcome(report, ["numpy", "jinja.2"], ["Jinja-2", "numpy"])[1] == ["jinja-2"]
    assert jupyterlab.outcome(report, ["numpy", "jinja.2"], ["numpy"])[1] == [], "pinned for other platforms"
    assert jupyterlab.requirement((ROOT / "README.md").read_text()).startswith("jupyterlab==")
    with pytest.raises(SystemExit, match="no jupyterlab"):
        jupyterlab.requirement("pip install jupyterlab")


def test_which_torch_is_tried():
    offered = ["2.16.0rc1", "2.15.0", "2.14.0+cpu", "2.15.0+cu130", "2.13.0+cpu", "2.13.0"]
    assert latest.newest_torch(offered, "2.13.0+cpu", "torch==2.13.0") == "torch==2.14.0+cpu"
    assert latest.newest_torch(offered, "2.13.0", "torch==2.13.0") == "torch==2.15.0"
    assert latest.newest_torch(["2.15.0"], "2.13.0+cpu", "torch==2.13.0") == "torch==2.13.0"
    assert latest.newest_torch([], "2.13.0", "torch==2.13.0") == "torch==2.13.0"


def test_newest_versions_that_do_not_install_are_no_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latest, "ROOT", tmp_path)
    arguments = ["--venv", str(tmp_path / "venv"), "--torch", "torch", "--report", str(tmp_path / "_build" / "it.json")]
    monkeypatch.setattr(latest, "install", lambda *_: (_ for _ in ()).throw(OSError("no index")))
    monkeypatch.setattr(latest.subprocess, "run", lambda *_, **__: None)
    assert latest.main(arguments) == 1
    assert "do not install together: no index" in json.loads((tmp_path / "_build" / "it.json").read_text())["summary"]
    monkeypatch.setattr(latest, "install", lambda *_: None)
    monkeypatch.setattr(latest, "versions", lambda _: {"numpy": "99.0", "torch": "2.13.0+cpu"})
    for output, code in (("no tests ran in 0.1s", 1), ("FAILED a.py::b\n1 failed, 2 passed in 3.0s", 0)):
        monkeypatch.setattr(latest, "streamed", lambda *_, output=output: (0, output))
        assert latest.main([*arguments, "tests/one.py"]) == code
    report = json.loads((tmp_path / "_build" / "it.json").read_text())
    assert report["broken"] == ["a.py::b"]
    assert report["changed"][0].startswith("numpy ")
    assert len(report["changed"]) == 1


def test_what_pytest_found_with_the_newest_versions():
    output = "..F\nFAILED tests/test_a.py::test_b[1] - AssertionError: it\nERROR tests/test_c.py\n"
    output += "1 failed, 2 passed in 3.0s\n"
    assert latest.verdict(output) == ("1 failed, 2 passed in 3.0s", ["tests/test_a.py::test_b[1]", "tests/test_c.py"])
    assert latest.verdict("") == ("no test ran", [])
    assert latest.newer({"numpy": "99.0", "scipy": "1.0"})[0].startswith("numpy ")
