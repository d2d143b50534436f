"""The tool that executes chapters with one thread and with two finds what differs. `make check-all` runs it over all.

In every run of CI chapter 01 is executed twice here; of the others `make nbval` compares the stored notebooks with an
execution by one thread, ``tests/browser/test_outputs.py`` with that of the book, by as many as there are.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import determinism  # noqa: E402

HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

```{code-cell} ipython3
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or os.cpu_count() < 2, reason="needs two cores, and Linux")
def test_what_depends_on_the_threads_is_found(tmp_path, capsys):
    code = ["import os", "print('cores:', min(2, len(os.sched_getaffinity(0))))"]
    code += ["print('threads:', os.environ['OMP_NUM_THREADS'])", "print('one more')", "```", ""]
    (tmp_path / "01-one.md").write_text(HEAD + "\n".join(code))
    before = dict(os.environ), os.sched_getaffinity(0)
    assert determinism.main(["--book", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "01-one: 4 lines differ" in shown
    assert "-cell 0: cores: 1" in shown
    assert "+cell 0: threads: 2" in shown
    assert "one more" not in shown
    assert (dict(os.environ), os.sched_getaffinity(0)) == before


def test_equal_text_is_counted_and_an_unknown_chapter_named(tmp_path, capsys):
    (tmp_path / "01-one.md").write_text(f"{HEAD}print('a')\nprint('b')\n```\n")
    assert determinism.main(["01", "--book", str(tmp_path)]) == 0
    assert "01-one: 2 lines of text are equal" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no chapter begins with 7"):
        determinism.main(["7", "--book", str(tmp_path)])


@pytest.mark.skipif(
    os.cpu_count() < 2 and os.environ.get("JACNTK_REQUIRE_CORES") != "1", reason="two threads need two cores"
)
def test_a_chapter_of_the_book_does_not_depend_on_the_threads(capsys):
    assert determinism.main(["01"]) == 0, capsys.readouterr().out
    assert "01-setup: " in capsys.readouterr().out
