"""Every public edge refuses what it cannot answer: by the named exception, with the value and the way out in the
message, and without touching the disk. Its lists are in ``refusals``; what an error *means* is tested with its module.
"""

import json
import re
import shutil

import numpy as np
import pytest
from refusals import data, kernels, models, networks
from refusals.common import C, R, S, T, V
from refusals.data import result

from jacntk_book import results
from jacntk_book.cli import command as cli
from jacntk_book.datasets import _uci

LIST = kernels.LIST | models.LIST | networks.LIST | data.LIST
CASES = [
    pytest.param(*case, id=f"{where}-{number}") for where, cases in LIST.items() for number, case in enumerate(cases)
]

# Words by which a message says what is needed or how to go on.
WAY_OUT = re.compile(
    r"\b(must|needed|needs?|use|pass|give|call|choose|remove|reduce|known are|exist for|restore|install|replace|put"
    r"|set|unset|build|computes?|take|certify|convert|widen|preprocess|it has|not supported|are equal|expecting"
    r"|misses the bound)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A current folder, a results folder with one good result and eight bad ones, the data with a wrong file."""
    root = tmp_path_factory.mktemp("disk")
    stored, tables = root / "results", root / "data"
    (root / "here").mkdir()
    shutil.copytree(_uci.FOLDER, tables)
    (tables / "sonar.raw.csv").unlink()
    (tables / "sonar.raw.csv").write_text("1,2,R\n")
    for name in ("whole", "half", "cut", "edited", "mixed", "foreign", "newer"):
        results.save(result(name=name), stored)
    json_of, npz_of = (lambda name, end=end: stored / f"{name}.{end}" for end in ("json", "npz"))
    json_of("half").unlink()
    npz_of("cut").write_bytes(npz_of("cut").read_bytes()[:-40])
    json_of("edited").write_text(json_of("edited").read_text().replace('"commit"', '"comment"'))
    np.savez(npz_of("mixed"), a=np.arange(4))
    json_of("foreign").write_text('{"figure": 2}')
    record = json.loads(json_of("newer").read_text()) | {"schema": 99}
    json_of("newer").write_text(json.dumps(record))
    for end in (json_of, npz_of):
        end("renamed").write_bytes(end("whole").read_bytes())
    return root


@pytest.fixture
def disk(prepared, monkeypatch):
    """The same, as current folder and in the environment: what is there after the test must be what was before."""
    monkeypatch.chdir(prepared / "here")
    monkeypatch.setenv("JACNTK_RESULTS_DIR", str(prepared / "results"))
    monkeypatch.setattr(_uci, "FOLDER", prepared / "data")

    def contents():
        return {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}

    before, folders = contents(), sorted(prepared.rglob("*"))
    yield
    assert contents() == before
    assert sorted(prepared.rglob("*")) == folders


@pytest.mark.parametrize(("call", "error", "message"), CASES)
def test_refusal(call, error, message, disk):
    with pytest.raises(error, match=f"(?s){message}") as refusal:
        call()
    said = str(refusal.value)
    assert WAY_OUT.search(said), f"it does not say what to do: {said}"
    assert len(said) < 900


def test_the_list_is_long_enough():
    assert len(CASES) >= 200
    assert {error for case in CASES for error in [case.values[1]]} >= {V, T, C, S, R}


def test_a_command_stopped_at_once_leaves_nothing(disk, capsys):
    assert cli.main(["figure", "2", "--out", "there", "--time-limit", "1e-9"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "stopped at the time limit" in said
    assert "Traceback" not in said
