"""The result store: what goes in comes out, and nothing else does. More refusals are in ``refusals/data.py``."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from jacntk_book import results
from jacntk_book.cli import report
from jacntk_book.results import atomic, cells, provenance, store
from jacntk_lib.errors import CorruptResultError

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


@pytest.mark.parametrize("again", [copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))])
def test_a_copy_is_equal_and_read_only(again):
    result = again(toy())
    np.testing.assert_array_equal(result["errors"], ARRAYS["errors"])
    assert result.config == toy().config
    with pytest.raises(ValueError, match="read-only"):
        result["errors"][0, 0] = 1


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
    assert results.folder() == provenance.LIBRARY.parent / "book" / "results"


# Faults


def test_missing(stored):
    with pytest.raises(FileNotFoundError, match=r"no result 'other' in .*there: toy.*JACNTK_RESULTS_DIR"):
        results.load("other", stored)
    with pytest.raises(FileNotFoundError, match="there: nothing"):
        results.load("other", stored / "nowhere")


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("share", [0, 0.1, 0.9, 0.99])
def test_truncated(stored, ending, share):
    path = stored / f"toy.{ending}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CorruptResultError, match=f"toy.{ending} is (truncated|damaged)"):
        results.load("toy", stored)


@pytest.mark.parametrize(
    "change",
    [{"extra": np.zeros(1)}, {"mask": None}, {"mask": np.zeros(3, bool)}, {"mask": np.zeros(2)}],
)
def test_arrays_of_another_form(stored, change):
    arrays = dict(results.load("toy", stored).arrays) | change
    np.savez(stored / "toy.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(CorruptResultError, match=r"are not those that toy.json lists"):
        results.load("toy", stored)


MALFORMED = {
    "nested": lambda record: "[" * 200000,
    "infinite": lambda record: record | {"wall_time_s": float("inf")},
    "too large": lambda record: json.dumps(record).replace("1.5", "1e999"),
    "a long integer": lambda record: record | {"wall_time_s": 10**400},
    "no name": lambda record: {key: record[key] for key in record if key != "name"},
    "no fields": lambda record: {"format": record["format"], "schema": record["schema"]},
    "no dirty": lambda record: record | {"source": {}},
    "source is a list": lambda record: record | {"source": []},
    "dirty is a number": lambda record: record | {"source": record["source"] | {"dirty": 2}},
    "versions is text": lambda record: record | {"versions": "3.11"},
    "a version is null": lambda record: record | {"versions": {"numpy": None}},
    "missing is a number": lambda record: record | {"missing": 3},
    "seeds are text": lambda record: record | {"seeds": ["0"]},
    "seeds are boolean": lambda record: record | {"seeds": [True]},
    "arrays is a list": lambda record: record | {"arrays": []},
    "no shape": lambda record: record | {"arrays": {"errors": {"dtype": "<f8"}}},
    "half a character": lambda record: json.dumps(record | {"command": "\ud800"}),
    "a terminal's command": lambda record: record | {"versions": {"\x1b[2J": "1"}},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_record_is_refused_and_the_others_are_still_described(stored, monkeypatch, name):
    path = stored / "toy.json"
    changed = MALFORMED[name](json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(CorruptResultError, match="restore both files"):
        results.load("toy", stored)
    results.save(toy("whole"), stored)
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(stored))
    shown = "\n".join(report.report("0", None))
    assert "toy: unusable. " in shown
    assert "whole: jacntk toy" in shown


def test_a_save_that_dies_between_its_two_files_leaves_no_mixture(stored, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        replace = iter([atomic.os.replace, killed])
        patch.setattr(atomic.os, "replace", lambda *paths: next(replace)(*paths))
        with pytest.raises(KeyboardInterrupt):
            results.save(toy(arrays={key: value * 0 for key, value in ARRAYS.items() if key == "errors"}), stored)
    with pytest.raises(CorruptResultError, match=r"toy.json is missing though toy.npz is there"):
        results.load("toy", stored)


def test_pickle_is_never_read(stored):
    trap = stored / "trap.npy"
    np.save(trap, np.array([print], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(stored / "toy.npz", "w") as archive:
        archive.write(trap, "errors.npy")
    with pytest.raises(CorruptResultError, match="Object arrays cannot be loaded"):
        results.load("toy", stored)


def test_full_disk_leaves_the_old_result(stored, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*toy.npz'"):
            results.save(toy(arrays={"errors": np.zeros(2)}), stored)
    np.testing.assert_array_equal(results.load("toy", stored)["errors"], ARRAYS["errors"])
    assert len(list(stored.iterdir())) == 2


# The library's hash


def test_another_library_is_reported_and_not_refused(stored, monkeypatch):
    assert not results.load("toy", stored).library_changed
    monkeypatch.setattr(store, "library_hash", lambda: "0" * 64)
    result = results.load("toy", stored)
    assert result.library_changed
    assert "another than the installed one" in result.describe()


CODE = "x = 1\n\n\ndef f():\n    return x\n"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (CODE.replace("\n", "\r\n"), True),
        ('"""A module."""\n' + CODE.replace("():\n", '():\n    """A function."""\n') + '"""A text."""\n', True),
        (CODE.replace("= 1", "= (\n    1  # one\n)"), True),
        (CODE.replace("= 1", "= 2"), False),
        (CODE.replace("= 1", "= 1.0"), False),
        (CODE.replace("= 1", "= True"), False),
        (CODE.replace("return x", 'return "x"'), False),
        (CODE.replace("return x", "return None"), False),
    ],
)
def test_library_hash_sees_code_and_no_words_about_it(tmp_path, monkeypatch, text, same):
    monkeypatch.setattr(provenance, "SOURCES", (tmp_path / "lib", tmp_path / "one.py"))
    of_now = provenance.library_hash.__wrapped__
    (tmp_path / "lib").mkdir()
    files = tmp_path / "lib" / "a.py", tmp_path / "one.py"
    for changed in files:
        for file in files:
            file.write_text(CODE)
        before = of_now()
        changed.write_bytes(text.encode())
        assert (of_now() == before) is same


def test_library_hash_sees_names_of_files_and_not_the_command(tmp_path, monkeypatch):
    covered = {path.relative_to(provenance.LIBRARY.parent).as_posix() for path in provenance.SOURCES}
    wing = {f"book/jacntk_book/{name}" for name in ("experiments", "datasets", "bootstrap.py")}
    assert covered == {"jacntk_lib"} | wing
    monkeypatch.setattr(provenance, "SOURCES", (tmp_path,))
    (tmp_path / "a.py").write_text(CODE)
    before = provenance.library_hash.__wrapped__()
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert provenance.library_hash.__wrapped__() != before


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
    monkeypatch.setattr(provenance, "WING", module.parent)
    monkeypatch.setattr(provenance, "SOURCES", (module.parent,))
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
    kept, other = (results.Cells(tmp_path, "toy", {"a": a}) for a in (1, 2))
    assert kept.load("one") is None
    kept.store("one", {"x": np.arange(3)}, 0.25)
    other.store("one", {}, 0.0)
    arrays, seconds = results.Cells(tmp_path, "toy", {"a": 1}).load("one")
    np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
    assert (set(arrays), seconds) == ({"x"}, 0.25)
    kept.clear()
    assert kept.load("one") is None
    assert other.load("one") is not None
    other.clear()
    assert list(tmp_path.iterdir()) == []


def test_other_configurations_libraries_and_devices_do_not_share_cells(tmp_path, monkeypatch):
    paths = {
        results.Cells(tmp_path, "toy", {"a": 1}).path,
        results.Cells(tmp_path, "toy", {"a": 2}).path,
        results.Cells(tmp_path, "toy", {"a": 1}, device="cuda").path,
    }
    monkeypatch.setattr(cells, "library_hash", lambda: "0" * 64)
    paths.add(results.Cells(tmp_path, "toy", {"a": 1}).path)
    assert len(paths) == 4


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-200], lambda whole: b"", lambda whole: b"to be, or not to be"]
)
def test_a_damaged_cell_is_reported_and_counts_as_not_there(tmp_path, damage):
    kept = results.Cells(tmp_path, "toy", {})
    kept.store("one", {"x": np.zeros(100)}, 1.0)
    path = kept.path / "one.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"one.npz is not used, and computed again \(\w+: "):
        assert kept.load("one") is None
    kept.store("one", {"x": np.ones(100)}, 1.0)
    np.testing.assert_array_equal(kept.load("one")[0]["x"], 1.0)


# Benchmarks


def test_benchmarks_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert results.benchmark("kernels")["machine"]["cores"] >= 1
    with pytest.raises(FileNotFoundError, match=r"no benchmark 'nothing' is stored \(there are: .*kernels"):
        results.benchmark("nothing")
