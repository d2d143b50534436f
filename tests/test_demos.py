"""The demo of every figure, by the command line, as a reader without network sees it."""

import socket

import numpy as np
import pytest

from jacntk_book import experiments, results
from jacntk_book.cli import command as cli


@pytest.mark.parametrize("number", [*experiments.FIGURES, *experiments.APPENDIX, *experiments.OURS])
def test_demo(number, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    out = tmp_path / "out"
    assert cli.main(["figure", str(number), "--preset", "demo", "--out", str(out)]) == cli.OK
    printed = capsys.readouterr().out
    summary = printed[: printed.index("computed in ")]
    assert len(summary.splitlines()) >= 5  # two lines of what it is, a title, and what came out
    assert "nan" not in summary
    names = [f"figure-{number}-demo.{ending}" for ending in ("json", "npz", "png")]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / names[2]).read_bytes().startswith(b"\x89PNG")
    result = results.load(f"figure-{number}-demo", out)
    assert result.record["missing"] == []
    assert result.record["command"] == f"jacntk figure {number} --preset demo"
    assert any(array.dtype.kind == "f" and np.isfinite(array).all() for array in result.arrays.values())
