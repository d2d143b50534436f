"""Three tables of the UCI Machine Learning Repository: checked byte for byte, then read."""

import csv
import datetime
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "uci"
LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"


@dataclass(frozen=True)
class Source:
    """One raw file: its name here, its SHA-256, what it is and whose."""

    file: str
    sha256: str
    about: str
    citation: str


SOURCES = {
    "algerian_forest_fires": Source(
        file="algerian_forest_fires.raw.csv",
        sha256="3be9ea1575c093cf6bfa7b56110cedc827aa8ca7953bf571530f8cd9990e0a0c",
        about="244 days (June to September 2012) x ten weather and fire-index columns and the region (-1 "
        "Bejaia, +1 Sidi-Bel Abbes); +1 fire (138), -1 not fire (106). Day, month and year are left out. "
        "One row (Sidi-Bel Abbes, 14/07/2012) lacks a comma, '14.6 9': read as DC 14.6 and ISI 9, which "
        "puts the rest of the row in place and gives the counts that UCI states; the repair is an "
        "inference, not an erratum of UCI.",
        citation="Abid, F. (2019). Algerian Forest Fires [Dataset]. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C5KW4N",
    ),
    "banknote_authentication": Source(
        file="banknote_authentication.raw.txt",
        sha256="d0539aaed2139ba7a587b3e34fb345ce503ff7d5d33dbf9912d8e195ce425cb9",
        about="1372 images of banknotes x four numbers of their wavelet transform; +1 for UCI's class 1 "
        "(610), -1 for its class 0 (762); which is genuine UCI does not say. Sorted by class; 24 rows "
        "repeat an earlier one.",
        citation="Lohweg, V. (2012). Banknote Authentication [Dataset]. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C55P57",
    ),
    "sonar": Source(
        file="sonar.raw.csv",
        sha256="e90434cdbf00fcf93ffa911fe447ae25606979658e60f1d32e155c3b5240234d",
        about="208 sonar echoes x 60 frequency bands; +1 mine (111), -1 rock (97). Sorted by class and angle.",
        citation="Sejnowski, T. & Gorman, R. Connectionist Bench (Sonar, Mines vs. Rocks) [Dataset]. "
        "UCI Machine Learning Repository. https://doi.org/10.24432/C5T01Q",
    ),
}


def read(name):
    """``(X, y, names of the columns)`` of one table, raw; OSError where its file is not UCI's."""
    return _READERS[name](_checked_bytes(SOURCES[name]))


def fires_with(eleventh):
    """The forest fires with "day", "month" or "day_of_year" as the eleventh column in place of the region."""
    rows, y = _fires(_checked_bytes(SOURCES["algerian_forest_fires"]))
    *columns, _, day, month = rows.T
    choices = {
        "day": day,
        "month": month,
        "day_of_year": [
            datetime.date(2012, int(m), int(d)).timetuple().tm_yday for d, m in zip(day, month, strict=True)
        ],
    }
    return np.column_stack([*columns, choices[eleventh]]), y, (*FIRE_COLUMNS, eleventh)


def _checked_bytes(source):
    path = FOLDER / source.file
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise OSError(
            f"{path} is not UCI's file: its SHA-256 is {found}, expected {source.sha256}. It was edited, or git "
            "converted its line ends (.gitattributes marks it -text): restore it with `git checkout`, or install "
            "jacntk again"
        )
    return content


# Readers: raw bytes -> (X, y, names). The files are known byte for byte, so these are strict on purpose.

FIRE_COLUMNS = ("temperature", "RH", "Ws", "rain", "FFMC", "DMC", "DC", "ISI", "BUI", "FWI")


def _fires(content):
    """Ten columns, region, day and month, (244, 13), and labels.

    Two tables, one per region, each under a title and a header; labels carry stray blanks; one comma is lost.
    """
    text = content.decode("ascii").replace("14.6 9", "14.6,9")
    rows, y, region = [], [], None
    for fields in csv.reader(io.StringIO(text)):
        cells = [field.strip() for field in fields]
        if len(cells) <= 1:  # a region's title, or the blank line between the regions
            region = {"Bejaia": -1.0, "Sidi-B": 1.0}.get(cells[0][:6]) if cells else region
        elif cells[0] != "day":  # not a header
            rows.append([*map(float, cells[3:13]), region, float(cells[0]), float(cells[1])])
            y.append({"fire": 1.0, "not fire": -1.0}[cells[13]])
    return np.array(rows), np.array(y)


def read_fires(content):
    rows, y = _fires(content)
    return rows[:, :11].copy(), y, (*FIRE_COLUMNS, "region")


def read_banknotes(content):
    table = np.loadtxt(io.BytesIO(content), delimiter=",")
    return table[:, :4], 2.0 * table[:, 4] - 1.0, ("variance", "skewness", "curtosis", "entropy")


def read_sonar(content):
    rows = [line.split(",") for line in content.decode("ascii").split()]
    X = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    y = np.array([{"M": 1.0, "R": -1.0}[row[-1]] for row in rows])
    return X, y, tuple(f"band_{i:02d}" for i in range(1, 61))


_READERS = {
    "algerian_forest_fires": read_fires,
    "banknote_authentication": read_banknotes,
    "sonar": read_sonar,
}
