"""Three tables of the UCI Machine Learning Repository: where they are, how they are checked, how they are read.

A raw file comes from the folder named by ``JACNTK_DATA_DIR`` if that is set, else from UCI through pooch and
a cache. Either way its SHA-256 must be the recorded one before a single number is read.
"""

import contextlib
import csv
import hashlib
import io
import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _atomic
from .errors import DataUnavailableError

FOLDER_VARIABLE = "JACNTK_DATA_DIR"
LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"


@dataclass(frozen=True)
class Source:
    """One raw file: the zip that holds it, its name there and in a folder of ours, its SHA-256, what it is."""

    url: str
    member: str
    local: str
    sha256: str
    about: str
    citation: str


SOURCES = {
    "algerian_forest_fires": Source(
        url="https://archive.ics.uci.edu/static/public/547/algerian+forest+fires+dataset.zip",
        member="Algerian_forest_fires_dataset_UPDATE.csv",
        local="algerian_forest_fires.raw.csv",
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
        url="https://archive.ics.uci.edu/static/public/267/banknote+authentication.zip",
        member="data_banknote_authentication.txt",
        local="banknote_authentication.raw.txt",
        sha256="d0539aaed2139ba7a587b3e34fb345ce503ff7d5d33dbf9912d8e195ce425cb9",
        about="1372 images of banknotes x four numbers of their wavelet transform; +1 for UCI's class 1 "
        "(610), -1 for its class 0 (762); which is genuine UCI does not say. Sorted by class; 24 rows "
        "repeat an earlier one.",
        citation="Lohweg, V. (2012). Banknote Authentication [Dataset]. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C55P57",
    ),
    "sonar": Source(
        url="https://archive.ics.uci.edu/static/public/151/connectionist+bench+sonar+mines+vs+rocks.zip",
        member="sonar.all-data",
        local="sonar.raw.csv",
        sha256="e90434cdbf00fcf93ffa911fe447ae25606979658e60f1d32e155c3b5240234d",
        about="208 sonar echoes x 60 frequency bands; +1 mine (111), -1 rock (97). Sorted by class and angle.",
        citation="Sejnowski, T. & Gorman, R. Connectionist Bench (Sonar, Mines vs. Rocks) [Dataset]. "
        "UCI Machine Learning Repository. https://doi.org/10.24432/C5T01Q",
    ),
}


def raw(name):
    """The raw bytes of one UCI file, checked against its SHA-256.

    Raises DataUnavailableError when the file can be had neither from ``JACNTK_DATA_DIR`` nor from UCI, or
    when what was found there is not the recorded file (a wrong download is not kept).
    """
    source = SOURCES[name]
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return _from_folder(Path(folder), name, source)
    cached = cache_folder() / source.local
    with contextlib.suppress(OSError):  # not there, or neither readable nor removable: it is only a copy
        content = cached.read_bytes()
        if _digest(content) == source.sha256:
            return content
        cached.unlink()  # damaged since it was checked
    content = _download(name, source)
    try:
        _keep(cached, content)
    except OSError as error:  # a full or read-only disk: the data are good, only the copy is lost
        warnings.warn(f"{name} could not be cached in {cached.parent} ({error})", stacklevel=3)
    return content


def whereabouts(name):
    """In words where :func:`raw` would find a file, reading what is there and fetching nothing."""
    source, folder = SOURCES[name], os.environ.get(FOLDER_VARIABLE)
    if folder:
        try:
            _from_folder(Path(folder), name, source)
        except DataUnavailableError as error:
            return f"unusable. {error}"
        return f"in {folder}"
    with contextlib.suppress(OSError):
        if _digest((cache_folder() / source.local).read_bytes()) == source.sha256:
            return "downloaded"
        return "downloaded, but damaged since: it will be fetched again"
    return f"will be downloaded from {source.url}"


def _from_folder(folder, name, source):
    for path in (folder / source.local, folder / source.member):
        try:
            content = path.read_bytes() if path.is_file() else None
        except OSError as error:
            raise DataUnavailableError(
                f"{path} cannot be read ({error.strerror}): change its permissions, or unset {FOLDER_VARIABLE} to let "
                "jacntk download it"
            ) from error
        if content is not None:
            if _digest(content) != source.sha256:
                raise DataUnavailableError(
                    f"{path} is not UCI's file: its SHA-256 is {_digest(content)}, expected {source.sha256}. "
                    "It was edited or re-saved, or git converted its line ends (mark it -text in "
                    f".gitattributes); replace it with {source.member} from {source.url}"
                )
            return content
    what = f"holds neither {source.local} nor {source.member}" if folder.is_dir() else "is not a folder"
    raise DataUnavailableError(
        f"data set {name!r}: {FOLDER_VARIABLE} is {str(folder)!r}, which {what}. Put the "
        f"file into a folder (it is in {source.url}) and set {FOLDER_VARIABLE} to that, or unset it to let jacntk "
        "download the file"
    )


def _download(name, source):
    """The member of UCI's zip. The zip lies in a temporary folder and never outlasts this call."""
    ways_out = (
        f"Either connect to the network and try again, or download {source.url} elsewhere, unpack "
        f"{source.member} into a folder and set {FOLDER_VARIABLE} to that folder"
    )
    try:
        import pooch
    except ImportError as error:
        raise DataUnavailableError(
            f"data set {name!r} has to be downloaded, which needs the package pooch (pip install pooch). {ways_out}"
        ) from error
    try:
        with tempfile.TemporaryDirectory(prefix="jacntk-") as folder:
            # The zip has no recorded hash: UCI repacks it. What counts is the member inside, checked below.
            path = pooch.retrieve(source.url, known_hash=None, fname="uci.zip", path=folder)
            with zipfile.ZipFile(path) as archive:
                content = archive.read(source.member)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        # requests' errors are OSErrors; KeyError: the zip lacks the member; EOFError: it is cut short
        raise DataUnavailableError(
            f"data set {name!r} could not be downloaded ({type(error).__name__}: {error}). {ways_out}"
        ) from error
    if _digest(content) != source.sha256:
        raise DataUnavailableError(
            f"{source.member} in {source.url} has SHA-256 {_digest(content)}, expected {source.sha256}: "
            f"nothing of it was kept. UCI may have changed the file; {ways_out[0].lower()}{ways_out[1:]}"
        )
    return content


def cache_folder():
    """The user's cache folder, by pooch's rules; without pooch there is nothing cached to find either."""
    try:
        import pooch
    except ImportError:
        return Path(tempfile.gettempdir()) / "jacntk"
    return Path(pooch.os_cache("jacntk"))


def _keep(path, content):
    """A reader never sees half a file; what a process left behind that was killed here goes."""
    with _atomic.made(path.parent), _atomic.lock(path.parent) as held:
        if held:
            _atomic.sweep(path.parent)
        _atomic.write(path, lambda file: file.write(content))


def _digest(content):
    return hashlib.sha256(content).hexdigest()


# Readers: raw bytes -> (X, y, names). The files are known byte for byte, so these are strict on purpose.

FIRE_COLUMNS = ("temperature", "RH", "Ws", "rain", "FFMC", "DMC", "DC", "ISI", "BUI", "FWI")


def read_algerian(content):
    """Two tables, one a region, each under a title and a header; labels carry stray blanks; one lost comma."""
    text = content.decode("ascii").replace("14.6 9", "14.6,9")
    X, y, region = [], [], None
    for fields in csv.reader(io.StringIO(text)):
        cells = [field.strip() for field in fields]
        if len(cells) <= 1:  # a region's title, or the blank line between the regions
            region = {"Bejaia": -1.0, "Sidi-B": 1.0}.get(cells[0][:6]) if cells else region
        elif cells[0] != "day":  # not a header
            X.append([*map(float, cells[3:13]), region])
            y.append({"fire": 1.0, "not fire": -1.0}[cells[13]])
    return np.array(X), np.array(y), (*FIRE_COLUMNS, "region")


def read_banknote(content):
    table = np.loadtxt(io.BytesIO(content), delimiter=",")
    return table[:, :4], 2.0 * table[:, 4] - 1.0, ("variance", "skewness", "curtosis", "entropy")


def read_sonar(content):
    rows = [line.split(",") for line in content.decode("ascii").split()]
    X = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    y = np.array([{"M": 1.0, "R": -1.0}[row[-1]] for row in rows])
    return X, y, tuple(f"band_{i:02d}" for i in range(1, 61))


READERS = {
    "algerian_forest_fires": read_algerian,
    "banknote_authentication": read_banknote,
    "sonar": read_sonar,
}
