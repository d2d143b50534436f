"""Points on the sphere, the tables, their repairs, and every way in which a download can go wrong."""

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jacntk_lib import _uci, datasets
from jacntk_lib.errors import DataUnavailableError

UCI = ("algerian_forest_fires", "banknote_authentication", "sonar")
needs_raw_files = pytest.mark.skipif(
    "JACNTK_DATA_DIR" not in os.environ, reason="set JACNTK_DATA_DIR to a folder with the raw UCI files"
)


# The sphere


def test_sphere_net_is_spread_out():
    X = datasets.sphere_net(256, 4, seed=0)
    assert X.shape == (256, 4)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=0, atol=1e-15)
    spread = datasets.separation(X)
    assert spread.smallest_distance > 0.43
    assert spread.smallest_antipodal_distance > 0.2


@pytest.mark.parametrize(("n", "d"), [(2, 2), (4, 2), (6, 3), (24, 3), (7, 100)])
def test_sphere_net_avoids_the_antipodal_optima(n, d):
    """The square and the octahedron spread best, and are antipodal: the net must settle for less."""
    spread = datasets.separation(datasets.sphere_net(n, d, seed=1))
    assert spread.smallest_antipodal_distance > 0.4 * min(spread.smallest_distance, 1)


def test_plain_repulsion_is_there_for_comparison():
    """It spreads hardly better, and leaves pairs that are nearly antipodal; the square, its optimum, exactly so."""
    plain = datasets.separation(datasets.sphere_net(256, 4, antipodal_range=0))
    assert plain.smallest_distance < 0.46
    assert plain.smallest_antipodal_distance < 0.05
    assert datasets.separation(datasets.sphere_net(4, 2, antipodal_range=0)).smallest_antipodal_distance < 1e-3


def test_sphere_net_does_not_depend_on_the_machine(monkeypatch):
    """Rounding errors a hundred times the machine's, injected at every step, leave not one bit changed."""
    reference = datasets.sphere_net(64, 4, seed=3)
    noise = np.random.default_rng(0)
    exact = datasets._on_grid
    monkeypatch.setattr(datasets, "_on_grid", lambda X: exact(X + 2e-14 * noise.standard_normal(X.shape)))
    np.testing.assert_array_equal(datasets.sphere_net(64, 4, seed=3), reference)


def test_sphere_net_depends_on_its_seed_alone():
    X = datasets.sphere_net(12, 3, seed=5)
    np.testing.assert_array_equal(X, datasets.sphere_net(12, 3, seed=5))
    assert np.abs(X - datasets.sphere_net(12, 3, seed=6)).max() > 0.1


def test_sphere_net_of_one_point():
    assert datasets.sphere_net(1, 1).shape == (1, 1)
    assert np.linalg.norm(datasets.sphere_net(1, 5)) == pytest.approx(1, abs=1e-15)


def test_separation_counts_every_pair():
    X = np.random.default_rng(0).standard_normal((9, 3))
    pairs = [(X[i], X[j]) for i in range(9) for j in range(i)]
    spread = datasets.separation(X)
    assert spread.smallest_distance == min(np.linalg.norm(x - z) for x, z in pairs)
    assert spread.smallest_antipodal_distance == min(np.linalg.norm(x + z) for x, z in pairs)
    assert datasets.separation(X[:1]) == (np.inf, np.inf)


# The tables


def test_every_table_has_its_shape_on_record():
    assert tuple(sorted(datasets.SHAPES)) == datasets.NAMES


@pytest.mark.parametrize(
    ("name", "shape", "task", "classes"),
    [
        ("wine", (178, 13), "several classes", {0: 59, 1: 71, 2: 48}),
        ("breast_cancer", (569, 30), "two classes", {1: 357, -1: 212}),
        ("digits", (1797, 64), "several classes", None),
        ("diabetes", (442, 10), "regression", None),
        pytest.param("algerian_forest_fires", (244, 11), "two classes", {1: 138, -1: 106}, marks=needs_raw_files),
        pytest.param("banknote_authentication", (1372, 4), "two classes", {1: 610, -1: 762}, marks=needs_raw_files),
        pytest.param("sonar", (208, 60), "two classes", {1: 111, -1: 97}, marks=needs_raw_files),
    ],
)
def test_table(name, shape, task, classes):
    raw = datasets.load(name, standardise=False, unit_length=False)
    assert raw.X.shape == shape == datasets.SHAPES[name]
    assert raw.y.shape == shape[:1]
    assert len(raw.names) == shape[1]
    assert (raw.X.dtype, raw.y.dtype) == (np.float64, np.float64)
    assert (raw.task, raw.scaling) == (task, "raw")
    assert "Licence" in raw.note or "BSD" in raw.note
    assert "(19" in raw.note or "(20" in raw.note or "Sejnowski" in raw.note
    if classes is not None:
        assert {int(c): int(np.sum(raw.y == c)) for c in np.unique(raw.y)} == classes
    columns = datasets.load(name, unit_length=False).X
    constant = raw.X.std(axis=0) == 0
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(columns.std(axis=0), np.where(constant, 0, 1), atol=1e-12)
    default = datasets.load(name)
    assert default.scaling == "standardised, unit length"
    np.testing.assert_allclose(np.linalg.norm(default.X, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(default.X * np.linalg.norm(columns, axis=1)[:, None], columns, atol=1e-12)
    np.testing.assert_allclose(
        datasets.load(name, standardise=False).X,
        raw.X / np.linalg.norm(raw.X, axis=1, keepdims=True),
        atol=1e-12,
    )


def test_targets_code_several_classes_by_columns():
    wine = datasets.load("wine")
    assert wine.targets.shape == (178, 3)
    np.testing.assert_array_equal(wine.targets.argmax(axis=1), wine.y)
    np.testing.assert_array_equal(np.sort(wine.targets, axis=1), [[-1, -1, 1]] * 178)
    cancer = datasets.load("breast_cancer")
    assert cancer.targets is cancer.y


@needs_raw_files
def test_algerian_fires_are_repaired_as_described():
    data = datasets.load("algerian_forest_fires", standardise=False, unit_length=False)
    assert data.names[-1] == "region"
    np.testing.assert_array_equal(data.X[:, -1], [-1.0] * 122 + [1.0] * 122)
    assert [int(np.sum(data.y[rows] > 0)) for rows in (slice(122), slice(122, None))] == [59, 79]
    np.testing.assert_array_equal(data.X[165], [37, 37, 18, 0.2, 88.9, 12.9, 14.6, 9, 12.5, 10.4, 1])
    assert data.y[165] == 1
    # the ranges of the file, column by column
    np.testing.assert_array_equal(data.X.min(axis=0)[:10], [22, 21, 6, 0, 28.6, 0.7, 6.9, 0, 1.1, 0])
    np.testing.assert_array_equal(data.X.max(axis=0)[:10], [42, 90, 29, 16.8, 96, 65.9, 220.4, 19, 68, 31.1])
    assert "14/07/2012" in data.note


@needs_raw_files
def test_banknotes_and_sonar_hold_their_known_ranges():
    notes = datasets.load("banknote_authentication", standardise=False, unit_length=False)
    np.testing.assert_array_equal(notes.X.min(axis=0), [-7.0421, -13.7731, -5.2861, -8.5482])
    np.testing.assert_array_equal(notes.X.max(axis=0), [6.8248, 12.9516, 17.9274, 2.4495])
    assert len(np.unique(notes.X, axis=0)) == 1348
    sonar = datasets.load("sonar", standardise=False, unit_length=False)
    np.testing.assert_array_equal(sonar.y, [-1.0] * 97 + [1.0] * 111)
    assert sonar.X.min() == 0
    assert sonar.X.max() == 1


# Splits


def test_split_is_stratified_and_scaled_by_the_training_rows():
    raw = datasets.load("breast_cancer", standardise=False, unit_length=False)
    train, test = datasets.split(raw, test=0.4, seed=2, unit_length=False)
    assert len(train.X) + len(test.X) == 569
    for label in (-1, 1):
        assert np.sum(test.y == label) == round(0.4 * np.sum(raw.y == label))
    np.testing.assert_allclose(train.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train.X.std(axis=0), 1, atol=1e-12)
    assert np.abs(test.X.mean(axis=0)).max() > 1e-3  # the test rows took no part in the scaling
    assert test.scaling == "standardised by the training rows"
    again = datasets.split(raw, test=0.4, seed=2)[1]
    np.testing.assert_array_equal(test.y, again.y)
    assert not np.array_equal(datasets.split(raw, test=0.4, seed=3, unit_length=False)[1].X, test.X)


def test_split_by_number_of_rows():
    raw = datasets.load("diabetes", standardise=False, unit_length=False)
    train, test = datasets.split(raw, test=100, standardise=False, unit_length=False)
    assert (len(train.X), len(test.X)) == (342, 100)
    rows = {tuple(row) for row in np.vstack([train.X, test.X])}
    assert rows == {tuple(row) for row in raw.X}


def test_split_keeps_copies_together():
    X = np.repeat(np.arange(40.0), 3)[:, None]
    y = np.where(X[:, 0] % 2 == 0, 1.0, -1.0)
    y[0] = -1.0  # copies of row 0 disagree about its label, as real tables do
    data = datasets.Dataset(X, y, ("x",), "", "two classes")
    for seed in range(10):
        train, test = datasets.split(data, test=0.25, seed=seed, standardise=False, unit_length=False)
        assert not set(train.X[:, 0]) & set(test.X[:, 0])
        assert 24 <= len(test.X) <= 39


# Where the raw files come from. The stand-in for UCI is a zip on disk; `toy` is its one recorded file.

TOY = b"1.0,2.0,3.0,4.0,0\r\n5.0,6.0,7.0,8.0,1"


@pytest.fixture
def uci(monkeypatch, tmp_path):
    """UCI with one toy table, an empty cache and no folder; ``served`` is what a download yields."""
    monkeypatch.delenv("JACNTK_DATA_DIR", raising=False)
    source = _uci.Source("https://uci.example/toy.zip", "toy.txt", "toy.raw.txt", sha256(TOY), "Toy.", "Nobody.")
    monkeypatch.setitem(_uci.SOURCES, "banknote_authentication", source)

    class Served:
        content, downloads, cache = zip_of("toy.txt", TOY), 0, tmp_path / "cache"

        def retrieve(self, url, known_hash, fname, path):
            assert (url, known_hash) == (source.url, None)
            self.downloads += 1
            if isinstance(self.content, Exception):
                raise self.content
            target = Path(path) / fname
            target.write_bytes(self.content)
            return str(target)

        def os_cache(self, project):
            assert project == "jacntk"
            return self.cache

    served = Served()
    monkeypatch.setitem(sys.modules, "pooch", served)
    return served


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zip_of(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def test_download_is_checked_and_cached(uci):
    data = datasets.load("banknote_authentication", standardise=False, unit_length=False)
    np.testing.assert_array_equal(data.X, [[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(data.y, [-1, 1])
    datasets.load("banknote_authentication")
    assert uci.downloads == 1
    assert [path.name for path in uci.cache.iterdir()] == ["toy.raw.txt"]


def test_damaged_cache_is_fetched_again(uci):
    datasets.load("banknote_authentication")
    (uci.cache / "toy.raw.txt").write_bytes(TOY[:-3])
    data = datasets.load("banknote_authentication", standardise=False, unit_length=False)
    assert data.X[1, 3] == 8
    assert uci.downloads == 2


@pytest.mark.parametrize(
    "served",
    [
        OSError("no route to host"),
        ConnectionError("name resolution failed"),
        b"<html>404</html>",
        zip_of("another.txt", TOY),
        zip_of("toy.txt", TOY)[:60],
    ],
    ids=["no-route", "no-name", "not-a-zip", "wrong-zip", "truncated-zip"],
)
def test_failed_download_names_both_ways_out(uci, served):
    uci.content = served
    with pytest.raises(DataUnavailableError) as failure:
        datasets.load(np.str_("banknote_authentication"))  # as it comes out of a stored result
    message = str(failure.value)
    assert "data set 'banknote_authentication' could not be downloaded" in message
    assert "connect to the network" in message
    assert "set JACNTK_DATA_DIR to that folder" in message
    assert not uci.cache.exists()


def test_wrong_checksum_names_the_file_and_keeps_nothing(uci):
    uci.content = zip_of("toy.txt", TOY.replace(b"8.0", b"9.0"))
    with pytest.raises(DataUnavailableError, match=r"toy\.txt in .* nothing of it was kept"):
        datasets.load("banknote_authentication")
    assert not uci.cache.exists()


def test_without_pooch(uci, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataUnavailableError, match=r"needs the package pooch.*JACNTK_DATA_DIR"):
        datasets.load("banknote_authentication")


def test_full_disk_loses_the_copy_but_not_the_data(uci, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_uci.os, "replace", full)
    with pytest.warns(UserWarning, match="could not be cached .*No space left"):
        data = datasets.load("banknote_authentication")
    assert data.X.shape == (2, 4)
    assert not uci.cache.exists()


@pytest.mark.parametrize("name", ["toy.raw.txt", "toy.txt"])
def test_folder_replaces_the_network(uci, monkeypatch, tmp_path, name):
    (tmp_path / name).write_bytes(TOY)
    monkeypatch.setenv("JACNTK_DATA_DIR", str(tmp_path))
    assert datasets.load("banknote_authentication").X.shape == (2, 4)
    assert uci.downloads == 0


def test_folder_without_the_file(uci, monkeypatch, tmp_path):
    monkeypatch.setenv("JACNTK_DATA_DIR", str(tmp_path))
    with pytest.raises(DataUnavailableError, match=r"holds neither toy\.raw\.txt nor toy\.txt.*or unset"):
        datasets.load("banknote_authentication")
    assert uci.downloads == 0


def test_folder_with_an_edited_file_is_refused_and_left_alone(uci, monkeypatch, tmp_path):
    path = tmp_path / "toy.raw.txt"
    path.write_bytes(TOY.replace(b"\r\n", b"\n"))
    monkeypatch.setenv("JACNTK_DATA_DIR", str(tmp_path))
    with pytest.raises(DataUnavailableError, match=r"toy\.raw\.txt is not UCI's file.*line ends"):
        datasets.load("banknote_authentication")
    assert path.exists()
