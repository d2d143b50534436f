"""What goes wrong outside the program: disks, folders, networks. Simulated, since as root no folder is read-only.

Beside these: damaged and edited results, kills and two writers in ``test_results.py``, kills and two runs of one
computation in ``test_experiments.py``, interrupted training in ``test_training.py``, the cache and
``JACNTK_DATA_DIR`` in ``test_datasets.py``.
"""

import builtins
import errno
import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jacntk_lib import _atomic, _uci, cli, datasets, results
from jacntk_lib.errors import DataUnavailableError
from jacntk_lib.experiments import figure2, figure3

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
        full.setattr(_atomic.os, "fsync", failing(errno.ENOSPC, after=3)(os.fsync))
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
    _atomic.write(path, lambda file: file.write(b"old"))
    with monkeypatch.context() as broken:
        if step == "open":
            broken.setattr(_atomic, "open", failing(number)(builtins.open), raising=False)
        else:
            broken.setattr(_atomic.os, step, failing(number)(getattr(os, step)))
        with pytest.raises(OSError, match=os.strerror(number)):
            _atomic.write(path, lambda file: file.write(b"new"))
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
    path.write_text('{"activations": ["erf"], "depths": [1], "widths": [8], "seeds": 2, "points": 5, "input_dim": 2}')
    assert cli.main(["figure", "2", "--config", str(path), "--out", str(tmp_path)]) == cli.USAGE
    shown = capsys.readouterr().err
    assert "too small for a picture: errors has shape (1, 2): at least two widths" in shown
    assert results.load("figure-2-custom", tmp_path)["frobenius"].shape == (1, 1, 1, 2)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written(tiny, tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(_atomic, "open", failing(number)(builtins.open), raising=False)
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
    monkeypatch.setattr(_atomic, "open", failing(errno.EROFS)(builtins.open), raising=False)
    if _atomic.fcntl is not None:  # nor locked, as on some network disks
        monkeypatch.setattr(_atomic.fcntl, "flock", failing(errno.ENOLCK)(None))
    np.testing.assert_array_equal(results.load("toy", tmp_path)["a"], np.arange(3))


# The network and the data

TABLE = b"1.0,2.0,3.0,4.0,0\r\n5.0,6.0,7.0,8.0,1"


def zip_of(table):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("toy.txt", table)
    return packed.getvalue()


def uci(monkeypatch, url):
    """UCI with one toy table at ``url``, and no folder of data; the zip that holds the table is returned."""
    source = _uci.Source(url, "toy.txt", "toy.raw", hashlib.sha256(TABLE).hexdigest(), "", "")
    monkeypatch.setitem(_uci.SOURCES, "banknote_authentication", source)
    monkeypatch.delenv("JACNTK_DATA_DIR", raising=False)
    return zip_of(TABLE)


@pytest.fixture
def network(monkeypatch, tmp_path):
    """UCI with one toy table; ``network.answer`` is what pooch does when asked for it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    content = uci(monkeypatch, "https://uci.example/toy.zip")
    network = types.SimpleNamespace(content=content, cache=tmp_path / "cache")

    def whole(path):
        path.write_bytes(network.content)

    network.answer = whole

    def retrieve(url, known_hash, fname, path):
        network.answer(Path(path) / fname)
        return str(Path(path) / fname)

    monkeypatch.setitem(
        sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve, os_cache=lambda _: network.cache)
    )
    return network


def load():
    return datasets.load("banknote_authentication", standardise=False, unit_length=False)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MemoryError()])
def test_interrupted_download_leaves_nothing_behind(network, tmp_path, stop):
    def half(path):
        path.write_bytes(network.content[: len(network.content) // 2])
        raise stop

    whole, network.answer = network.answer, half
    with pytest.raises(type(stop)):
        load()
    assert files(tmp_path) == []
    network.answer = whole
    assert load().X.shape == (2, 4)
    assert files(tmp_path) == [network.cache / "toy.raw"]


def test_interrupt_while_the_copy_is_written(network, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(_uci.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert files(tmp_path) == []
    assert load().X.shape == (2, 4)


@pytest.mark.parametrize("step", ["read_bytes", "unlink", "mkdir"])
def test_a_damaged_cache_that_cannot_be_read_removed_or_written(network, monkeypatch, step):
    """The data are good and come through, with a warning if the next call will have to fetch them again."""
    network.cache.mkdir()
    (network.cache / "toy.raw").write_bytes(b"damaged")
    refuse(monkeypatch, step, network.cache, network.cache / "toy.raw")
    if step == "mkdir":
        with pytest.warns(UserWarning, match=r"could not be cached in .*Permission denied"):
            assert load().X.shape == (2, 4)
    else:
        assert load().X.shape == (2, 4)
        monkeypatch.undo()
        assert (network.cache / "toy.raw").read_bytes() == TABLE


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A web server of one's own with the toy table; ``server.cut(content)`` is the part of it that gets through."""

    class Server(http.server.HTTPServer):
        says_length, requests = True, 0

        def cut(self, content):
            return content

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests += 1
            self.send_response(200)
            if self.server.says_length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(self.server.cut(content))  # and then the connection is closed

        def log_message(self, *_):
            pass

    with Server(("127.0.0.1", 0), Handler) as running:
        content = uci(monkeypatch, f"http://127.0.0.1:{running.server_port}/toy.zip")
        monkeypatch.setattr(_uci, "cache_folder", lambda: tmp_path / "cache")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_server_that_hangs_up_in_the_middle(server, tmp_path, share, says_length):
    """With the true pooch: what came is not kept, and the next call fetches the whole table."""
    pytest.importorskip("pooch")
    server.says_length = says_length
    server.cut = lambda content: content[: int(share * len(content))]
    with pytest.raises(
        DataUnavailableError, match=r"could not be downloaded \(.*Either connect to the network and try"
    ):
        load()
    assert files(tmp_path) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    del server.cut
    assert load().X.shape == (2, 4)
    assert files(tmp_path) == [tmp_path / "cache" / "toy.raw"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert load().X.shape == (2, 4)
    assert server.requests == 2  # the third call read the copy


def test_a_server_with_another_table(server, tmp_path):
    pytest.importorskip("pooch")
    server.cut = lambda _: zip_of(TABLE.replace(b"8.0", b"9.0"))
    server.says_length = False
    with pytest.raises(DataUnavailableError, match=r"toy\.txt in http.* has SHA-256 .* nothing of it was kept"):
        load()
    assert files(tmp_path) == []


# Processes that share the cache

KEEP = """
import os, sys, time
from pathlib import Path
from jacntk_lib import _atomic, _uci

path, content = Path(sys.argv[1]), b"0123456789" * 100_000

def pause(*_):
    print("now", flush=True)
    time.sleep(60)

def half(file):
    file.write(content[: len(content) // 2])
    file.flush()
    pause()

step = sys.argv[2]
if step == "half":
    write = _atomic.write
    _atomic.write = lambda path, save: write(path, half)
elif step == "after":
    replace = os.replace
    os.replace = lambda *paths: (replace(*paths), pause())
elif step != "often":
    setattr(os, step, pause)
for _ in range(100 if step == "often" else 1):
    _uci._keep(path, content)
    assert path.read_bytes() == content
"""


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
@pytest.mark.parametrize("step", ["half", "fsync", "replace", "after"])
def test_killed_while_the_copy_is_written(network, step):
    """Before it is in place there is no file of the table's name; the next call keeps one, and sweeps what was left."""
    path = network.cache / "toy.raw"
    with subprocess.Popen([sys.executable, "-c", KEEP, str(path), step], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "now\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    (left,) = files(network.cache)
    if step == "after":
        assert left.stat().st_size == 10**6
    else:
        assert left.name.startswith(".toy.raw.")
        assert left.stat().st_size == (5 * 10**5 if step == "half" else 10**6)
    assert load().X.shape == (2, 4)
    assert files(network.cache) == [path]
    assert path.read_bytes() == TABLE


@pytest.mark.skipif(_atomic.fcntl is None, reason="this system has no locks between processes")
def test_two_processes_keep_the_same_copy(tmp_path):
    """Neither sees half a file, and neither sweeps what the other is writing."""
    path = tmp_path / "cache" / "toy.raw"
    command = [sys.executable, "-c", KEEP, str(path), "often"]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert files(tmp_path) == [path]


def test_a_command_with_a_wrong_file_of_data_computes_nothing(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "algerian_forest_fires.raw.csv").write_text("day,month\n")
    monkeypatch.setenv("JACNTK_DATA_DIR", str(folder))
    monkeypatch.setitem(figure3.PRESETS, "demo", replace(figure3.PRESETS["demo"], data="algerian_forest_fires"))
    assert cli.main(["figure", "3", "--out", str(tmp_path / "out")]) == cli.FAILED
    shown = capsys.readouterr().err
    assert "algerian_forest_fires.raw.csv is not UCI's file" in shown
    assert "replace it with" in shown
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("step", ["is_file", "read_bytes"])
def test_data_that_cannot_be_read(tmp_path, monkeypatch, capsys, step):
    """The folder, or the file in it."""
    path = tmp_path / "sonar.raw.csv"
    path.write_text("1,2,R\n")
    monkeypatch.setenv("JACNTK_DATA_DIR", str(tmp_path))
    refuse(monkeypatch, step, path)
    said = f"{path} cannot be read (Permission denied): change its permissions, or unset JACNTK_DATA_DIR"
    with pytest.raises(DataUnavailableError, match=re.escape(said)):
        datasets.load("sonar")
    assert cli.main(["info"]) == cli.OK
    assert f"sonar: unusable. {said}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["file", "nowhere"])
def test_a_folder_of_data_that_is_none(tmp_path, monkeypatch, name):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JACNTK_DATA_DIR", str(tmp_path / name))
    with pytest.raises(DataUnavailableError, match=r"is not a folder\. Put the file into a folder .* or unset it"):
        datasets.load("sonar")
