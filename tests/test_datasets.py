"""The tables, their files and repairs, scaling, splits; and that none of it needs a network."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jacntk_book import datasets

ROOT = Path(__file__).resolve().parent.parent
FIRES = datasets.FIRES
UCI = {FIRES: "algerian_forest_fires.raw.csv", "banknote_authentication": "banknote_authentication.raw.txt"}
UCI |= {"sonar": "sonar.raw.csv"}


def table(name, **options):
    """The raw table, unless the options say otherwise."""
    return datasets.load(name, **{"scale": None, "unit_length": False} | options)


# The tables


@pytest.mark.parametrize(
    ("name", "shape", "task", "classes"),
    [
        ("wine", (178, 13), "several classes", {0: 59, 1: 71, 2: 48}),
        ("breast_cancer", (569, 30), "two classes", {1: 357, -1: 212}),
        ("digits", (1797, 64), "several classes", None),
        ("diabetes", (442, 10), "regression", None),
        ("algerian_forest_fires", (244, 11), "two classes", {1: 138, -1: 106}),
        ("banknote_authentication", (1372, 4), "two classes", {1: 610, -1: 762}),
        ("sonar", (208, 60), "two classes", {1: 111, -1: 97}),
    ],
)
def test_table(name, shape, task, classes):
    raw = table(name)
    assert raw.X.shape == shape
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
    assert default.scaling == "standard, unit length"
    np.testing.assert_allclose(np.linalg.norm(default.X, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(default.X * np.linalg.norm(columns, axis=1)[:, None], columns, atol=1e-12)
    np.testing.assert_allclose(
        datasets.load(name, scale=None).X,
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


def test_algerian_fires_are_repaired_as_described():
    data = table(FIRES)
    assert data.names[-1] == "region"
    np.testing.assert_array_equal(data.X[:, -1], [-1.0] * 122 + [1.0] * 122)
    assert [int(np.sum(data.y[rows] > 0)) for rows in (slice(122), slice(122, None))] == [59, 79]
    np.testing.assert_array_equal(data.X[165], [37, 37, 18, 0.2, 88.9, 12.9, 14.6, 9, 12.5, 10.4, 1])
    assert data.y[165] == 1
    # the ranges of the file, column by column
    np.testing.assert_array_equal(data.X.min(axis=0)[:10], [22, 21, 6, 0, 28.6, 0.7, 6.9, 0, 1.1, 0])
    np.testing.assert_array_equal(data.X.max(axis=0)[:10], [42, 90, 29, 16.8, 96, 65.9, 220.4, 19, 68, 31.1])
    assert "14/07/2012" in data.note


def test_banknotes_and_sonar_hold_their_known_ranges():
    notes = table("banknote_authentication")
    np.testing.assert_array_equal(notes.X.min(axis=0), [-7.0421, -13.7731, -5.2861, -8.5482])
    np.testing.assert_array_equal(notes.X.max(axis=0), [6.8248, 12.9516, 17.9274, 2.4495])
    assert len(np.unique(notes.X, axis=0)) == 1348
    sonar = table("sonar")
    np.testing.assert_array_equal(sonar.y, [-1.0] * 97 + [1.0] * 111)
    assert sonar.X.min() == 0
    assert sonar.X.max() == 1


# Files


@pytest.mark.parametrize("name", UCI)
@pytest.mark.parametrize("edit", [lambda b: b[:-1], lambda b: b + b"\n", lambda b: b.replace(b",0", b",1", 1)])
def test_an_edited_file_is_refused(name, edit, monkeypatch):
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: edit(read(path)))
    with pytest.raises(OSError, match=r"not UCI's file: its SHA-256 is .*restore it with `git checkout`, or install"):
        datasets.load(name)


def test_the_files_come_with_what_their_licence_asks_for():
    """Attribution, licence and hash, beside the files and in the notes, and in the licence of the repository."""
    folder = Path(datasets.__file__).parent / "uci"
    beside, licence = (folder / "README.md").read_text(), (ROOT / "LICENSE").read_text()
    for name, file in UCI.items():
        (doi,) = re.findall(r"https://doi.org/10.24432/\w+", datasets.note(name))
        for text in (beside, datasets.note(name), licence):
            assert doi in text
            assert "creativecommons.org/licenses/by/4.0" in text
        assert f"`{file}`" in beside
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() in beside
        assert file in licence
    for name in datasets.FIRES_VARIANTS:
        assert datasets.note(name).startswith(datasets.note(FIRES))


# Scaling


@pytest.mark.parametrize("name", datasets.NAMES)
def test_minmax_fills_the_cube_and_unit_length_follows(name):
    raw, cube = table(name), table(name, scale="minmax")
    assert cube.scaling == "minmax"
    constant = np.ptp(raw.X, axis=0) == 0
    np.testing.assert_allclose(cube.X.min(axis=0), np.where(constant, 0, -1), atol=1e-14)
    np.testing.assert_allclose(cube.X.max(axis=0), np.where(constant, 0, 1), atol=1e-14)
    slope = np.ptp(raw.X, axis=0) / 2
    np.testing.assert_allclose(cube.X * slope + (raw.X.min(axis=0) + slope) * ~constant, raw.X * ~constant, atol=1e-9)
    unit = datasets.load(name, scale="minmax")
    assert unit.scaling == "minmax, unit length"
    np.testing.assert_allclose(unit.X * np.linalg.norm(cube.X, axis=1, keepdims=True), cube.X, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(unit.X, axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("variant", datasets.FIRES_VARIANTS)
def test_forest_fires_with_another_eleventh_column(variant):
    raw, fires = table(variant), table(FIRES)
    column = datasets.FIRES_VARIANTS[variant]
    assert raw.names == (*fires.names[:10], column)
    np.testing.assert_array_equal(raw.X[:, :10], fires.X[:, :10])
    np.testing.assert_array_equal(raw.y, fires.y)
    # each region has the 122 days from 1 June to 30 September 2012
    days = {"day": [*range(1, 31), *range(1, 32), *range(1, 32), *range(1, 31)], "day_of_year": range(153, 275)}
    days["month"] = [6] * 30 + [7] * 31 + [8] * 31 + [9] * 30
    np.testing.assert_array_equal(raw.X[:, 10], [*days[column], *days[column]])


@pytest.mark.parametrize(("cosine", "left"), [(0.99, 186), (0.995, 320)])
def test_banknotes_without_parallel_rows_are_as_many_as_the_paper_has(cosine, left):
    """Appendix A of Kim and Yang: 186 points for GELU, 320 for erf. Every row that went is parallel to one that stayed
    and comes before it; no two that stayed are."""
    notes, kept = (
        datasets.load("banknote_authentication", scale="minmax", drop_parallel=limit) for limit in (None, cosine)
    )
    assert kept.X.shape == (left, 4)
    places = [int(np.flatnonzero((row == notes.X).all(axis=1))[0]) for row in kept.X]
    assert places == sorted(set(places))
    np.testing.assert_array_equal(notes.y[places], kept.y)
    cosines = np.abs(kept.X @ kept.X.T)
    assert cosines[~np.eye(left, dtype=bool)].max() <= cosine
    for i in set(range(len(notes.X))) - set(places):
        before = [k for k in places if k < i]
        assert np.abs(notes.X[before] @ notes.X[i]).max() > cosine


@pytest.mark.parametrize("unit_length", [False, True])
def test_a_row_is_compared_with_rows_that_stayed_only(unit_length):
    """Angles 0, 8, 16 and 176 degrees at a limit of 10: 8 goes because of 0, 16 stays although 8 is near, and 176 is
    nearly antipodal to 0. Lengths play no part, and a row of zeros is parallel to none."""
    angle = np.radians([0, 8, 16, 176])
    X = np.array([1, 5, 0.2, 3])[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    data = datasets.Dataset(np.vstack([X, [[0.0, 0.0]]]), np.arange(5.0), ("a", "b"), "", "regression")
    options = {"scale": None, "unit_length": unit_length, "drop_parallel": np.cos(np.radians(10))}
    train, test = datasets.split(data, test=1, **options)
    assert sorted([*train.y, *test.y]) == [0, 2, 4]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "zscore"}, ValueError, "scale must be 'standard', 'minmax' or None, got 'zscore'"),
        ({"scale": True}, ValueError, "scale must be 'standard', 'minmax' or None, got True"),
        ({"unit_length": None}, TypeError, "unit_length must be True or False, got None"),
        ({"drop_parallel": 1.0}, ValueError, r"drop_parallel must be a cosine in \(0, 1\), got 1.0"),
        ({"drop_parallel": 0}, ValueError, "drop_parallel must be positive, got 0"),
        ({"drop_parallel": -0.5}, ValueError, "drop_parallel must be positive, got -0.5"),
        ({"drop_parallel": np.nan}, ValueError, "drop_parallel must be"),
        ({"drop_parallel": "0.99"}, TypeError, "drop_parallel must be a real number, got '0.99'"),
    ],
)
def test_bad_choices_are_refused_on_loading_and_on_splitting(options, error, message):
    with pytest.raises(error, match=message):
        datasets.load("wine", **options)
    with pytest.raises(error, match=message):
        datasets.split(table("wine"), **options)


# Splits


def test_split_is_stratified_and_scaled_by_the_training_rows():
    raw = table("breast_cancer")
    train, test = datasets.split(raw, test=0.4, seed=2, unit_length=False)
    assert len(train.X) + len(test.X) == 569
    for label in (-1, 1):
        assert np.sum(test.y == label) == round(0.4 * np.sum(raw.y == label))
    np.testing.assert_allclose(train.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train.X.std(axis=0), 1, atol=1e-12)
    assert np.abs(test.X.mean(axis=0)).max() > 1e-3  # the test rows took no part in the scaling
    assert test.scaling == "standard by the training rows"
    again = datasets.split(raw, test=0.4, seed=2)[1]
    np.testing.assert_array_equal(test.y, again.y)
    assert not np.array_equal(datasets.split(raw, test=0.4, seed=3, unit_length=False)[1].X, test.X)


def test_split_by_number_of_rows():
    raw = table("diabetes")
    train, test = datasets.split(raw, test=100, scale=None, unit_length=False)
    assert (len(train.X), len(test.X)) == (342, 100)
    rows = {tuple(row) for row in np.vstack([train.X, test.X])}
    assert rows == {tuple(row) for row in raw.X}


def test_split_keeps_copies_together():
    X = np.repeat(np.arange(40.0), 3)[:, None]
    y = np.where(X[:, 0] % 2 == 0, 1.0, -1.0)
    y[0] = -1.0  # copies of row 0 disagree about its label, as real tables do
    data = datasets.Dataset(X, y, ("x",), "", "two classes")
    for seed in range(10):
        train, test = datasets.split(data, test=0.25, seed=seed, scale=None, unit_length=False)
        assert not set(train.X[:, 0]) & set(test.X[:, 0])
        assert 24 <= len(test.X) <= 39


def test_split_scales_by_the_extremes_of_the_training_rows():
    options = {"test": 0.5, "seed": 4, "unit_length": False}
    before, after = (datasets.split(table("sonar"), scale=scale, **options) for scale in (None, "minmax"))
    assert {part.scaling for part in after} == {"minmax by the training rows"}
    low, high = before[0].X.min(axis=0), before[0].X.max(axis=0)
    for scaled, unscaled in zip(after, before, strict=True):
        np.testing.assert_allclose(scaled.X, 2 * (unscaled.X - low) / (high - low) - 1, atol=1e-12)


def test_every_split_is_of_the_same_rows_that_are_not_parallel():
    raw = table("banknote_authentication")
    scaled = datasets.load("banknote_authentication", scale="minmax").X
    kept = datasets.load("banknote_authentication", scale="minmax", drop_parallel=0.99).X
    chosen = raw.rows([np.flatnonzero((scaled == row).all(axis=1))[0] for row in kept])
    for seed in range(3):
        parts = datasets.split(raw, seed=seed, test=0.2, scale="minmax", drop_parallel=0.99)
        assert [len(part.X) for part in parts] == [149, 37]
        for part, expected in zip(parts, datasets.split(chosen, seed=seed, test=0.2, scale="minmax"), strict=True):
            np.testing.assert_array_equal(part.X, expected.X)
            np.testing.assert_array_equal(part.y, expected.y)


# No network

OFFLINE = """
import sys
import jupytext, matplotlib, urllib.request

matplotlib.use("agg")

def refuse(event, _):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise OSError("refused: no connection may be opened")

sys.addaudithook(refuse)
try:
    urllib.request.urlopen("http://127.0.0.1:9/")
except OSError as error:
    print(error.reason)

from jacntk_book import datasets
print(*(name for name in (*datasets.NAMES, *datasets.FIRES_VARIANTS) if len(datasets.load(name).X)))

page = {"__name__": "__main__"}
for cell in jupytext.read(sys.argv[1]).cells:
    if cell.cell_type == "code":
        exec(compile(cell.source, sys.argv[1], "exec"), page)
"""


def test_tables_and_a_chapter_open_no_connection():
    chapter = Path(__file__).parent.parent / "book" / "01-setup.md"
    command = [sys.executable, "-c", OFFLINE, str(chapter)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    refused, loaded, *page = done.stdout.splitlines()
    assert refused == "refused: no connection may be opened"  # so that a connection would have been refused
    assert loaded.split() == [*datasets.NAMES, *datasets.FIRES_VARIANTS]
    assert sum(line.startswith("CHECK ") for line in page) > 5
