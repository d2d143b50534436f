"""What goes wrong outside the program: disks, folders, files of data. Simulated, since as root no folder is read-only.

Beside these: damaged and edited results, kills and two writers in ``test_results.py``, kills and two runs of one
computation in ``test_experiments.py``, interrupted training in ``test_training.py``, edited tables in
``test_datasets.py``.
"""

import builtins
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jacntk_lib import datasets, results
from jacntk_lib.cli import command as cli
from jacntk_lib.datasets import _uci
from jacntk_lib.experiments import figure2, figure3
from jacntk_lib.results import atomic

TINY = figure2.Config(activations=("erf",), depths=(1, 2), widths=(8, 16), seeds=2, points=5, input_dim=2)


@pytest.fixture
def tiny(monkeypatch):
    """The demo preset of figure 2: four cells that take no time. Returns the list of those computed."""
    monkeypatch.setitem(figure2.PRESETS, "demo", TINY)
    computed, run_cell = [], figure2.run_cell

    def counted(config, cell, *arguments, **options):
        computed.append(cell)
        return run_cell(config, cell, *arguments, **options)

    monkeypatch.setattr(figure2, "run_cell", counted)
    return computed


def figure(out):
    return cli.main(["figure", "2", "--out", str(out)])


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def failing(number, after=0):
    """A function that does what the system's does ``after`` times and then fails with ``number``."""

    def wrap(function):
        left = [after]

        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                # the system's own errors name a file that was given by its name, and no handle
                named = [str(path) for path in arguments[:1] if isinstance(path, str | Path)]
                raise OSError(number, os.strerror(number), *named)
            return function(*arguments, **options)

        return call

    return wrap


def refuse(monkeypatch, step, *paths, number=errno.EACCES):
    """From now on the method ``step`` of these paths fails; as root no permission would see to that."""
    system = getattr(Path, step)

    def call(path, *arguments, **options):
        if path in paths:
            raise OSError(number, os.strerror(number), str(path))
        return system(path, *arguments, **options)

    monkeypatch.setattr(Path, step, call)


# The disk


def test_full_disk_in_the_middle_of_a_run(tiny, tmp_path, monkeypatch, capsys):
    """Three of four cells fit. The next run computes the fourth alone."""
    with monkeypatch.context() as full:
        full.setattr(atomic.os, "fsync", failing(errno.ENOSPC, after=3)(os.fsync))
        assert figure(tmp_path) == cli.FAILED
    said = f"no room left in {tmp_path} (No space left on device): free some, then repeat the command, finished parts"
    assert said in capsys.readouterr().err
    assert len(files(tmp_path)) == 3
    assert results.stored(tmp_path) == []
    before = len(tiny)
    assert figure(tmp_path) == cli.OK
    assert len(tiny) - before == 1
    assert results.load("figure-2-demo", tmp_path)["frobenius"].shape == (1, 2, 2, 2)
    assert len(files(tmp_path)) == 3  # npz, json, png: no cell, no temporary file


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_whatever_fails_in_writing_leaves_the_old_file(step, number, tmp_path, monkeypatch):
    path = tmp_path / "kept"
    atomic.write(path, lambda file: file.write(b"old"))
    with monkeypatch.context() as broken:
        if step == "open":
            broken.setattr(atomic, "open", failing(number)(builtins.open), raising=False)
        else:
            broken.setattr(atomic.os, step, failing(number)(getattr(os, step)))
        with pytest.raises(OSError, match=os.strerror(number)):
            atomic.write(path, lambda file: file.write(b"new"))
    assert files(tmp_path) == [path]
    assert path.read_bytes() == b"old"


LIMITED = """
import resource, sys
import numpy as np
from jacntk_lib import results
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
numbers = np.random.default_rng(0).standard_normal(int(sys.argv[2]))
results.save(results.make("toy", {"a": numbers}, config={}, command="", seeds=[], wall_time=0), sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files by setrlimit")
def test_a_write_that_the_system_cuts_off(tmp_path):
    """A true failure in the middle of a write, in a process of its own: the old result stays, nothing is left over."""

    def run(count):
        command = [sys.executable, "-c", LIMITED, str(tmp_path), str(count)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    small = run(1000)
    assert small.returncode == 0, small.stderr
    assert "File too large" in run(10_000).stderr
    assert [path.name for path in files(tmp_path)] == ["toy.json", "toy.npz"]
    assert results.load("toy", tmp_path)["a"].shape == (1000,)


# Folders


@pytest.mark.parametrize("under", [".", "new/folder"])
def test_a_file_where_a_folder_is_asked_for(tiny, tmp_path, capsys, under):
    path = tmp_path / "taken"
    path.write_text("mine")
    assert figure(path / under) == cli.USAGE
    assert f"results need a folder, but {path} is a file; give another with --out" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert tiny == []


def test_a_grid_of_ones_own_too_small_to_draw(tmp_path, capsys):
    """What was computed is kept, and the mistake is the user's."""
    path = tmp_path / "grid.json"
    path.write_text('{"activations": ["erf"], "depths": [1], "widths": [8, 16], "seeds": 1, "points": 5}')
    assert cli.main(["figure", "2", "--config", str(path), "--out", str(tmp_path)]) == cli.USAGE
    shown = capsys.readouterr().err
    assert "too small for a picture: samples has shape (2, 1): its last axis needs at least two" in shown
    assert results.load("figure-2-custom", tmp_path)["frobenius"].shape == (1, 1, 2, 1)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written(tiny, tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(atomic, "open", failing(number)(builtins.open), raising=False)
    assert figure(tmp_path / "out") == cli.FAILED
    assert f"{tmp_path / 'out'} cannot be read or written ({os.strerror(number)})" in (shown := capsys.readouterr().err)
    assert "change its permissions, then repeat the command" in shown
    assert "or give another folder with --out" in shown
    assert list(tmp_path.iterdir()) == []  # nor an empty folder


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", [0, 1])
def test_a_folder_that_cannot_be_made(tiny, tmp_path, monkeypatch, capsys, number, step):
    """Neither the first folder nor the second, in which the cells are to be; what was made goes again."""
    out = tmp_path / "new" / "out"
    command = ["cells", "2", "--compute", "erf-depth1-width8", "--out", str(out)]
    with monkeypatch.context() as broken:
        refuse(broken, "mkdir", [out, out / ".cells"][step], number=number)
        assert cli.main(command) == cli.FAILED
    shown = capsys.readouterr().err
    assert os.strerror(number) in shown
    assert re.search(
        f"{re.escape(str(out))} .*: (change its permissions|free some|see to the disk), then repeat", shown
    )
    assert list(tmp_path.iterdir()) == []
    assert cli.main(command) == cli.OK


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_cell_that_cannot_be_read_is_not_thrown_away(tiny, tmp_path, monkeypatch, capsys, number):
    assert cli.main(["cells", "2", "--compute", "erf-depth1-width8", "--out", str(tmp_path)]) == cli.OK
    (cell,) = files(tmp_path)
    with monkeypatch.context() as broken:
        refuse(broken, "read_bytes", cell, number=number)
        assert figure(tmp_path) == cli.FAILED
    assert os.strerror(number) in (shown := capsys.readouterr().err)
    assert "then repeat the command, finished parts are kept" in shown
    assert files(tmp_path) == [cell]
    assert figure(tmp_path) == cli.OK
    assert len(tiny) == 4


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_result_that_cannot_be_read_is_not_computed_again(tiny, tmp_path, monkeypatch, capsys, ending):
    assert figure(tmp_path) == cli.OK
    refuse(monkeypatch, "read_bytes", tmp_path / f"figure-2-demo.{ending}")
    with pytest.raises(PermissionError):
        results.load("figure-2-demo", tmp_path)
    assert figure(tmp_path) == cli.FAILED
    assert (
        f"{tmp_path} cannot be read or written (Permission denied): change its permissions" in capsys.readouterr().err
    )
    assert len(tiny) == 4
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(tmp_path))
    assert cli.main(["info"]) == cli.OK
    assert "figure-2-demo: cannot be read (Permission denied); change its permissions" in capsys.readouterr().out


def test_results_are_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    made = results.make("toy", {"a": np.arange(3)}, config={}, command="", seeds=[], wall_time=0)
    results.save(made, tmp_path)
    monkeypatch.setattr(atomic, "open", failing(errno.EROFS)(builtins.open), raising=False)
    if atomic.fcntl is not None:  # nor locked, as on some network disks
        monkeypatch.setattr(atomic.fcntl, "flock", failing(errno.ENOLCK)(None))
    np.testing.assert_array_equal(results.load("toy", tmp_path)["a"], np.arange(3))


# The data


def test_a_command_with_an_edited_file_of_data_computes_nothing(tmp_path, monkeypatch, capsys):
    shutil.copytree(_uci.FOLDER, tmp_path / "uci")
    monkeypatch.setattr(_uci, "FOLDER", tmp_path / "uci")
    path = tmp_path / "uci" / "algerian_forest_fires.raw.csv"
    path.unlink()  # it may be read-only
    path.write_text("day,month\n")
    monkeypatch.setitem(figure3.PRESETS, "demo", replace(figure3.PRESETS["demo"], data="algerian_forest_fires"))
    assert cli.main(["figure", "3", "--out", str(tmp_path / "out")]) == cli.FAILED
    shown = capsys.readouterr().err
    assert f"{path} is not UCI's file" in shown
    assert "restore it with `git checkout`, or install jacntk again" in shown
    assert list(tmp_path.iterdir()) == [tmp_path / "uci"]


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error"), (errno.ENOENT, "No such file")],
)
def test_data_that_cannot_be_read(tmp_path, monkeypatch, capsys, number, why):
    """The system's own words name the file, and a command shows them without a traceback."""
    path = _uci.FOLDER / "algerian_forest_fires.raw.csv"
    refuse(monkeypatch, "read_bytes", path, number=number)
    with pytest.raises(OSError, match=re.escape(str(path))) as failure:
        datasets.load("algerian_forest_fires")
    assert failure.value.errno == number
    monkeypatch.setitem(figure3.PRESETS, "demo", replace(figure3.PRESETS["demo"], data="algerian_forest_fires"))
    assert cli.main(["figure", "3", "--out", str(tmp_path / "out")]) == cli.FAILED
    shown = capsys.readouterr().err
    assert why in shown
    assert str(path) in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


# Processes that write the same file

KEEP = """
import os, sys, time
from pathlib import Path
from jacntk_lib.results import atomic

path, content = Path(sys.argv[1]), b"0123456789" * 100_000

def pause(*_):
    print("now", flush=True)
    time.sleep(60)

def whole(file):
    file.write(content)

def half(file):
    file.write(content[: len(content) // 2])
    file.flush()
    pause()

step = sys.argv[2]
if step == "after":
    replace = os.replace
    os.replace = lambda *paths: (replace(*paths), pause())
elif step in ("fsync", "replace"):
    setattr(os, step, pause)
for _ in range(100 if step == "often" else 1):
    atomic.write(path, half if step == "half" else whole)
    assert path.read_bytes() == content
"""


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
@pytest.mark.parametrize("step", ["half", "fsync", "replace", "after"])
def test_killed_while_a_file_is_written(tmp_path, step):
    """Before it is in place there is no file of its name; a sweep removes what was left, and nothing else."""
    path = tmp_path / "kept"
    with subprocess.Popen([sys.executable, "-c", KEEP, str(path), step], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "now\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    (left,) = files(tmp_path)
    if step == "after":
        assert left.stat().st_size == 10**6
    else:
        assert left.name.startswith(".kept.")
        assert left.stat().st_size == (5 * 10**5 if step == "half" else 10**6)
    atomic.sweep(tmp_path)
    assert files(tmp_path) == ([path] if step == "after" else [])


@pytest.mark.skipif(atomic.fcntl is None, reason="this system has no locks between processes")
def test_two_processes_write_the_same_file(tmp_path):
    """Neither ever sees half of it, and nothing else is left."""
    path = tmp_path / "kept"
    command = [sys.executable, "-c", KEEP, str(path), "often"]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert files(tmp_path) == [path]
