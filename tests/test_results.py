"""The result store: what goes in comes out, and nothing else does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import numpy as np
import pytest

from jacntk_lib.errors import CorruptResultError
from jacntk_lib.results import atomic, provenance
from jacntk_lib.results import store as results

ARRAYS = {
    "errors": np.random.default_rng(0).standard_normal((3, 4)),
    "widths": np.array([64, 128, 256]),
    "activations": np.array(["erf", "gelu"]),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 2)),
    "mask": np.array([True, False]),
}


def toy(name="toy", arrays=ARRAYS, **changes):
    given = {
        "config": {"widths": [64, 128], "kappa": 0.1},
        "command": "jacntk toy",
        "seeds": range(2),
        "wall_time": 1.5,
    }
    return results.make(name, arrays, **(given | changes))


@pytest.fixture
def stored(tmp_path):
    results.save(toy(), tmp_path)
    return tmp_path


# Round trip


def test_round_trip(stored):
    result = results.load("toy", stored)
    assert set(result.arrays) == set(ARRAYS)
    for key, value in ARRAYS.items():
        np.testing.assert_array_equal(result[key], value)
        assert result[key].dtype == np.asarray(value).dtype
        assert result[key].shape == np.asarray(value).shape
    assert result.config == {"widths": [64, 128], "kappa": 0.1}
    assert sorted(path.name for path in stored.iterdir()) == ["toy.json", "toy.npz"]
    assert results.stored(stored) == ["toy"]
    with pytest.raises(ValueError, match="read-only"):
        result["errors"][0, 0] = 1
    with pytest.raises(KeyError, match="no array 'error'; it has errors, widths"):
        result["error"]


def test_record_says_where_it_comes_from(stored):
    record = results.load("toy", stored).record
    assert record["seeds"] == [0, 1]
    assert record["command"] == "jacntk toy"
    assert record["wall_time_s"] == 1.5
    assert record["source"]["library_sha256"] == results.library_hash()
    assert record["versions"]["numpy"] == np.__version__
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["hardware"]["cpu"]
    assert record["hardware"]["cores"] >= 1
    assert str(stored) not in json.dumps(record)
    text = results.load("toy", stored).describe()
    assert text.startswith("toy: jacntk toy\nfinished 20")
    assert "the installed one" in text


def test_saving_again_replaces(stored):
    results.save(toy(arrays={"errors": np.zeros(2)}), stored)
    assert list(results.load("toy", stored).arrays) == ["errors"]


def test_byte_order_and_layout_do_not_matter(tmp_path):
    plain = np.arange(6.0).reshape(2, 3)
    swapped = np.asfortranarray(plain).astype(">f8")
    assert toy(arrays={"a": plain}).record["arrays"] == toy(arrays={"a": swapped}).record["arrays"]
    results.save(toy(arrays={"a": swapped}), tmp_path)
    np.testing.assert_array_equal(results.load("toy", tmp_path)["a"], plain)


def test_folder_comes_from_the_environment_or_the_source(stored, monkeypatch):
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(stored))
    assert results.load("toy").name == "toy"
    monkeypatch.delenv("JACNTK_RESULTS_DIR")
    assert results.folder() == provenance.PACKAGE.parent / "book" / "results"


# Faults


def test_missing(stored):
    with pytest.raises(FileNotFoundError, match=r"no result 'other' in .*there: toy.*JACNTK_RESULTS_DIR"):
        results.load("other", stored)
    with pytest.raises(FileNotFoundError, match="there: nothing"):
        results.load("other", stored / "nowhere")


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_half_of_the_pair(stored, ending):
    (stored / f"toy.{ending}").unlink()
    with pytest.raises(CorruptResultError, match=f"toy.{ending} is missing though"):
        results.load("toy", stored)


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_truncated_anywhere(stored, ending):
    path = stored / f"toy.{ending}"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptResultError, match=r"truncated|damaged"):
            results.load("toy", stored)
    path.write_bytes(whole)
    assert results.load("toy", stored).name == "toy"


def test_flipped_bytes(stored):
    """No single damaged byte of the arrays goes through unseen (bytes that zip itself ignores may be)."""
    path = stored / "toy.npz"
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            result = results.load("toy", stored)
        except CorruptResultError:
            refused += 1
        else:
            for key, value in ARRAYS.items():
                np.testing.assert_array_equal(result[key], value)
    assert refused > 50


def test_edited_array(stored):
    arrays = dict(results.load("toy", stored).arrays)
    arrays["errors"] = arrays["errors"].copy()
    arrays["errors"][1, 2] += 1e-15
    np.savez(stored / "toy.npz", **arrays)
    with pytest.raises(CorruptResultError, match=r"array 'errors' .* edited, or they are from different runs"):
        results.load("toy", stored)


def test_array_added_or_left_out(stored):
    arrays = dict(results.load("toy", stored).arrays)
    np.savez(stored / "toy.npz", extra=np.zeros(1), **arrays)
    with pytest.raises(CorruptResultError, match=r"holds the arrays .*'extra'"):
        results.load("toy", stored)
    del arrays["mask"]
    np.savez(stored / "toy.npz", **arrays)
    with pytest.raises(CorruptResultError, match=r"but its record lists .*'mask'"):
        results.load("toy", stored)


def test_edited_record(stored):
    path = stored / "toy.json"
    path.write_text(path.read_text().replace('"kappa": 0.1', '"kappa": 0.2'))
    with pytest.raises(CorruptResultError, match="was edited: it does not match its own SHA-256"):
        results.load("toy", stored)


def test_record_with_something_left_out(stored):
    path = stored / "toy.json"
    record = json.loads(path.read_text())
    del record["hardware"], record["seeds"]
    record["record_sha256"] = results._record_hash(record)
    path.write_text(json.dumps(record))
    with pytest.raises(CorruptResultError, match="lacks hardware, seeds"):
        results.load("toy", stored)


def test_foreign_files(stored):
    (stored / "toy.json").write_text('{"figure": 2}')
    with pytest.raises(CorruptResultError, match=r"was not written by jacntk"):
        results.load("toy", stored)
    (stored / "toy.json").write_text("[1, 2]")
    with pytest.raises(CorruptResultError, match=r"was not written by jacntk"):
        results.load("toy", stored)


def test_newer_schema_says_what_to_do(stored, monkeypatch):
    monkeypatch.setattr(results, "SCHEMA", 2)
    results.save(toy(), stored)
    monkeypatch.undo()
    with pytest.raises(CorruptResultError, match="schema 2, this jacntk reads up to 1: install a newer"):
        results.load("toy", stored)


def test_renamed_result(stored):
    for ending in ("json", "npz"):
        (stored / f"toy.{ending}").rename(stored / f"other.{ending}")
    with pytest.raises(CorruptResultError, match="is the record of 'toy'"):
        results.load("other", stored)


def test_pickle_is_never_read(stored):
    trap = stored / "trap.npy"
    np.save(trap, np.array([print], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(stored / "toy.npz", "w") as archive:
        archive.write(trap, "errors.npy")
    with pytest.raises(CorruptResultError, match="Object arrays cannot be loaded"):
        results.load("toy", stored)


def test_npy_in_place_of_npz(stored):
    with open(stored / "toy.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CorruptResultError, match="a single array, not an archive"):
        results.load("toy", stored)


def test_full_disk_leaves_the_old_result(stored, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        results.save(toy(arrays={"errors": np.zeros(2)}), stored)
    monkeypatch.undo()
    np.testing.assert_array_equal(results.load("toy", stored)["errors"], ARRAYS["errors"])
    assert len(list(stored.iterdir())) == 2


def test_leftovers_of_a_killed_save_are_swept(stored):
    (stored / ".toy.npz.0123456789ab.jacntk-part").write_bytes(b"half")
    results.save(toy(), stored)
    assert len(list(stored.iterdir())) == 2


# The library's hash


def test_another_library_is_reported_and_not_refused(stored, monkeypatch):
    assert not results.load("toy", stored).library_changed
    monkeypatch.setattr(results, "library_hash", lambda: "0" * 64)
    result = results.load("toy", stored)
    assert result.library_changed
    assert "another than the installed one" in result.describe()


def test_library_hash_sees_every_module_and_no_line_end(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    of_now = provenance.library_hash.__wrapped__
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = 2\n")
    (tmp_path / "sub" / "b.py").write_bytes(b"")
    first = of_now()
    (tmp_path / "a.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    assert of_now() == first
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = 3\n")
    second = of_now()
    (tmp_path / "sub" / "b.py").rename(tmp_path / "sub" / "c.py")
    assert len({first, second, of_now()}) == 3


# The commit


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_commit_and_dirty_flag_from_git(tmp_path, monkeypatch):
    module = tmp_path / "lib" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "lib")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "PACKAGE", module.parent)
    monkeypatch.setattr(provenance, "__file__", str(module))
    source = provenance.source.__wrapped__
    clean = source()
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "notes.txt").write_text("outside the library")
    assert source()["dirty"] is False
    module.write_text("x = 2\n")
    assert source()["dirty"] is True
    # a library that lies in somebody else's repository without being part of it
    monkeypatch.setattr(provenance, "__file__", str(module.parent / "untracked.py"))
    assert source()["commit"] is None


def test_commit_from_the_environment_where_there_is_no_git(monkeypatch):
    monkeypatch.setattr(provenance, "_git", lambda *_: None)
    source = provenance.source.__wrapped__
    monkeypatch.delenv("JACNTK_SOURCE_COMMIT", raising=False)
    monkeypatch.delenv("JACNTK_SOURCE_DIRTY", raising=False)
    assert (source()["commit"], source()["dirty"]) == (None, None)
    monkeypatch.setenv("JACNTK_SOURCE_COMMIT", "abc123")
    monkeypatch.setenv("JACNTK_SOURCE_DIRTY", "1")
    assert (source()["commit"], source()["dirty"]) == ("abc123", True)
    monkeypatch.setenv("JACNTK_SOURCE_DIRTY", "0")
    assert source()["dirty"] is False


# Cells


def test_cells_come_back_and_are_cleared(tmp_path):
    cells = results.Cells(tmp_path, "toy", {"a": 1})
    assert cells.load("one") is None
    arrays, seconds = cells.store("one", {"x": np.arange(3)}, 0.25)
    np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
    assert seconds == 0.25
    again = results.Cells(tmp_path, "toy", {"a": 1})
    np.testing.assert_array_equal(again.load("one")[0]["x"], [0, 1, 2])
    cells.clear()
    assert list(tmp_path.iterdir()) == []


def test_first_writer_of_a_cell_wins(tmp_path):
    cells = results.Cells(tmp_path, "toy", {})
    cells.store("one", {"x": np.zeros(1)}, 1.0)
    arrays, seconds = cells.store("one", {"x": np.ones(1)}, 2.0)
    assert (arrays["x"], seconds) == ([0.0], 1.0)
    assert len(list(cells.path.iterdir())) == 1


def test_cell_is_whole_where_hard_links_are_not_supported(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.os, "link", unsupported)
    cells = results.Cells(tmp_path, "toy", {})
    cells.store("one", {"x": np.zeros(1)}, 1.0)
    assert cells.load("one")[1] == 1.0
    assert len(list(cells.path.iterdir())) == 1


def test_other_configurations_libraries_and_devices_do_not_share_cells(tmp_path, monkeypatch):
    paths = {
        results.Cells(tmp_path, "toy", {"a": 1}).path,
        results.Cells(tmp_path, "toy", {"a": 2}).path,
        results.Cells(tmp_path, "toy", {"a": 1}, device="cuda").path,
    }
    monkeypatch.setattr(results, "library_hash", lambda: "0" * 64)
    paths.add(results.Cells(tmp_path, "toy", {"a": 1}).path)
    assert len(paths) == 4


def rewrite(path, **changes):
    """An archive with some of its arrays exchanged, as whoever edits one would leave it."""
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | changes))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "BadZipFile"),
        (lambda path: path.write_bytes(b""), "EOFError"),
        (lambda path: path.write_text("to be, or not to be"), "ValueError"),
        (lambda path: rewrite(path, x=np.ones(100)), "it was edited: it does not match its own SHA-256"),
        (lambda path: rewrite(path, y=np.ones(100)), "it was edited"),
        (lambda path: rewrite(path, __seconds__=np.array(9.0)), "it was edited"),
        (lambda path: np.savez(path, x=np.zeros(100)), "KeyError: '__cell__'"),
        (lambda path: shutil.copy(path.parent / "two.npz", path), r"it is the cell toy-\w+/two of another computation"),
        (lambda path: shutil.copy(path.parent.parent / "other.npz", path), r"it is the cell toy-\w+/one of another"),
    ],
)
def test_bad_cell_is_refused_with_the_reason_and_computed_again(tmp_path, damage, reason):
    cells = results.Cells(tmp_path, "toy", {})
    path = cells.path / "one.npz"
    other = results.Cells(tmp_path, "toy", {"a": 1})
    other.store("one", {"x": np.zeros(100)}, 1.0)
    shutil.copy(other.path / "one.npz", cells.path.parent / "other.npz")
    for key in ("one", "two"):
        cells.store(key, {"x": np.zeros(100)}, 1.0)
    assert cells.load("one") is not None
    damage(path)
    with pytest.warns(UserWarning, match=f"one.npz is not used, and computed again .*{reason}"):
        assert cells.load("one") is None
    assert not path.exists()
    cells.store("one", {"x": np.full(100, 2.0)}, 3.0)
    arrays, seconds = cells.load("one")
    assert (set(arrays), arrays["x"][0], seconds) == ({"x"}, 2.0, 3.0)


def test_clearing_leaves_other_computations_alone(tmp_path):
    mine, other = (results.Cells(tmp_path, "toy", {"a": a}) for a in (1, 2))
    mine.store("one", {}, 0.0)
    other.store("one", {}, 0.0)
    mine.clear()
    assert mine.load("one") is None
    assert other.load("one") is not None


# Several processes at once, and kills

WORKER = textwrap.dedent(
    """
    import sys, numpy as np
    from jacntk_lib import results
    where, rounds, tag = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for i in range(rounds):
        value = np.full(1000, tag * rounds + i)
        results.save(results.make("shared", {"value": value}, config={"tag": tag, "round": i},
                     command="", seeds=[tag], wall_time=0), where)
        got = results.load("shared", where)
        tag_got, round_got = got.config["tag"], got.config["round"]
        assert (got["value"] == tag_got * rounds + round_got).all()
    """
)


@pytest.mark.skipif(atomic.fcntl is None, reason="this system has no locks between processes")
def test_two_writers_at_once(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "25", str(tag)], stderr=subprocess.PIPE)
        for tag in range(2)
    ]
    for worker in workers:
        assert worker.wait(60) == 0, worker.stderr.read().decode()
        worker.stderr.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared.json", "shared.npz"]


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_killed_saves_leave_the_old_file_or_the_new_one(tmp_path):
    results.save(results.make("shared", {"value": np.full(1000, -1)}, config={"tag": -1, "round": 0},
                              command="", seeds=[], wall_time=0), tmp_path)  # fmt: skip
    draw = np.random.default_rng(0)
    torn = 0
    for kill in range(8):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "100000", str(kill)])
        begun = time.monotonic()
        while json.loads((tmp_path / "shared.json").read_text())["config"]["tag"] != kill:  # its first save
            assert worker.poll() is None
            assert time.monotonic() - begun < 60
            time.sleep(0.002)
        time.sleep(0.1 * draw.random())
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(20) == -signal.SIGKILL  # it was at work until then
        for ending in ("json", "npz"):  # each file is whole, whatever happened
            path = tmp_path / f"shared.{ending}"
            if ending == "json":
                json.loads(path.read_text())
            else:
                with np.load(path, allow_pickle=False) as file:
                    assert len(set(file["value"])) == 1
        try:
            results.load("shared", tmp_path)
        except CorruptResultError as error:  # killed between the two renames: refused, not mixed up
            assert "different runs" in str(error)  # noqa: PT017
            torn += 1
    assert torn < 8


def test_benchmarks_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert results.benchmark("kernels")["machine"]["cores"] >= 1
    with pytest.raises(FileNotFoundError, match=r"no benchmark 'nothing' is stored \(there are: .*kernels"):
        results.benchmark("nothing")
