"""The book's Sphinx extension, on its own and in builds of a small book."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import jacntk_book  # noqa: E402

FRONT = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
CHAPTER = (
    FRONT
    + """\
# A chapter

A claim {badge}`measured here` {cite}`kim2024`, in {running}`intro`.

$$
a = b
$$ (eq-a)

```{code-cell} ipython3
import sys

sys.path.insert(0, "ROOT")
sys.dont_write_bytecode = True
from jacntk_lib.value import VALUE

print("the library says", VALUE)
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A line that rises from the lower left to the upper right.
---
import matplotlib.pyplot as plt

plt.plot([0, 1])
plt.show()
```
"""
)


@pytest.fixture
def project(tmp_path):
    """The real configuration around a book of one chapter and a library of one number."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    for folder in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / folder, tmp_path / "book" / folder)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/intro\nchapters:\n  - file: book/references\n")
    (tmp_path / "book" / "intro.md").write_text(CHAPTER.replace("ROOT", str(tmp_path)))
    (tmp_path / "book" / "references.md").write_text("# References\n\n```{bibliography}\n```\n")
    for stored in (Path("book", "results", "figure-1.json"), Path("benchmarks", "results", "scale.json")):
        (tmp_path / stored).parent.mkdir(parents=True)
        (tmp_path / stored).write_text("{}")
    (tmp_path / jacntk_book.TIMES).write_text('{"pages": {"intro": 11.2}}')
    (tmp_path / "jacntk_lib").mkdir()
    (tmp_path / "jacntk_lib" / "__init__.py").write_text("")
    (tmp_path / "jacntk_lib" / "value.py").write_text("VALUE = 1\n")
    (tmp_path / "requirements.lock").write_text("numpy==2.4.6\n")
    return tmp_path


def build(project):
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    command = [jupyter_book, "build", ".", "-W", "-n", "--keep-going"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


def page(project):
    return (project / "_build" / "html" / "book" / "intro.html").read_text()


@pytest.mark.parametrize(
    "changed",
    ["jacntk_lib/value.py", "book/results/figure-1.json", "benchmarks/results/scale.json", "requirements.lock"],
)
def test_the_key_follows_library_results_and_lock(project, changed):
    before = jacntk_book.execution_key(project)
    assert jacntk_book.execution_key(project) == before
    path = project / changed
    path.write_text(path.read_text() + "\n")
    assert jacntk_book.execution_key(project) != before


def test_the_key_follows_names_but_neither_prose_nor_byte_code(project):
    before = jacntk_book.execution_key(project)
    (project / "book" / "intro.md").write_text("# Rewritten\n")
    (project / "jacntk_lib" / "__pycache__").mkdir()
    (project / "jacntk_lib" / "__pycache__" / "value.pyc").write_bytes(b"0")
    assert jacntk_book.execution_key(project) == before
    (project / "jacntk_lib" / "value.py").rename(project / "jacntk_lib" / "worth.py")
    assert jacntk_book.execution_key(project) != before


def test_a_change_of_the_library_runs_the_chapters_again(project):
    first = build(project)
    assert first.returncode == 0, first.stdout + first.stderr
    html = page(project)
    assert "the library says 1" in html
    assert 'class="claim-badge claim-measured-here"' in html
    assert "in about 15 s." in html
    assert "THEBE_JS_URL" not in html
    assert "Version " in html
    assert "· commit unknown · built " in html
    (project / "jacntk_lib" / "value.py").write_text("VALUE = 2\n")
    second = build(project)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "the library says 2" in page(project)
    assert len(list((project / "_build").glob(".jupyter_cache-*"))) == 2


def test_an_address_in_the_one_place_for_it_switches_links_and_launch_buttons_on(project):
    assert "github" not in (project / "_config.yml").read_text()
    config = (project / "_config.yml").read_text()
    config = config.replace('  url: ""', "  url: https://github.com/someone/jacntk")
    config = config.replace("launch_buttons:", "launch_buttons:\n  binderhub_url: https://mybinder.org")
    (project / "_config.yml").write_text(config)
    built = build(project)
    assert built.returncode == 0, built.stderr
    html = page(project)
    assert 'href="https://github.com/someone/jacntk"' in html
    assert "https://mybinder.org/v2/gh/someone/jacntk/main?" in html


def spoil(project, old, new):
    path = project / "book" / "intro.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_build_fails_on_what_a_reader_would_miss(project):
    spoil(project, "    alt: A line that rises from the lower left to the upper right.", "    width: 50%")
    spoil(project, "{badge}`measured here`", "{badge}`looks right`")
    spoil(project, "{running}`intro`", "{running}`outro`")
    spoil(project, "{cite}`kim2024`", "{cite}`kim2042`")
    spoil(project, 'print("the library says", VALUE)', 'print("careful", file=sys.stderr)')
    failed = build(project)
    assert failed.returncode != 0
    complaints = re.findall(r"intro\.md.*?(?:WARNING|ERROR): (.*)", failed.stderr)
    for message in ("needs alt text", "unknown badge 'looks right'", "no page 'outro'", "kim2042", "stderr"):
        assert any(message in one for one in complaints), (message, failed.stderr)


def test_the_build_fails_on_a_check_that_does_not_hold_and_shows_it(project):
    spoil(project, 'print("the library says", VALUE)', "assert VALUE == 7")
    failed = build(project)
    assert failed.returncode != 0
    assert "assert VALUE == 7" in failed.stderr


LEDGER = """\
paper = "a paper"

[[claims]]
id = "one"
place = "Theorem 1"
statement = "The number is $1$."
landing = true
chapter = "intro"
setting = "ours"
difference = "another number"
how = ["measured here"]
checks = ["the number"]
broken = "two in place of one"
verdict = "verdict-one"
results = ["figure-1"]

[[claims]]
id = "two"
place = "Appendix Z"
statement = "A lemma."
demonstrated = false
reason = "a step of a proof"

[[slips]]
place = "Equation (0)"
printed = "minus"
ours = "plus"
"""
RECORD = """{"command": "jacntk figure 1", "missing": ["width8192"], "finished": "2026-01-01", "record_sha256": "abc",
"source": {"commit": "0123456789"}, "hardware": {"gpu": null, "cores": 2, "cpu": "a processor"}}"""


@pytest.fixture
def ledger(project):
    """The small book with a ledger of two claims, all three tables on its only page."""
    (project / jacntk_book.LEDGER).write_text(LEDGER)
    (project / "book" / "results" / "figure-1.json").write_text(RECORD)
    views = "".join(f"\n```{{claims}} {view}\n```\n" for view in jacntk_book.VIEWS)
    cell = "from IPython.display import HTML\nfrom myst_nb import glue\n\n"
    cell += "glue('verdict-one', HTML('<b>holds</b>, as &lt; 2'), display=False)\n"
    with open(project / "book" / "intro.md", "a") as source:
        source.write(f"\n```{{code-cell}} ipython3\n{cell}```\n{views}")
    return project


def test_the_ledger_is_shown_on_pages_and_written_for_machines(ledger):
    built = build(ledger)
    assert built.returncode == 0, built.stdout + built.stderr
    tables = BeautifulSoup(page(ledger), "html.parser").select("table.claims")
    assert [len(table.select("tbody tr")) for table in tables] == [1, 2, 1]
    summary, whole, slips = (table.get_text(" ", strip=True) for table in tables)
    assert "Theorem 1" in summary
    assert "ours: another number" in summary
    assert "holds , as < 2 measured here" in summary
    for words in (
        "the number",
        "Refused: two in place of one.",
        "figure-1",
        "1 part of its grid missing",
        "0123456",
        "2 cores",
    ):
        assert words in whole
    assert "not demonstrated: a step of a proof" in whole
    assert "plus" in slips
    written = json.loads((ledger / "_build" / "html" / "claims.json").read_text())
    one, two = written["claims"]
    assert (one["verdict"], two["verdict"]) == ("holds, as < 2", "not demonstrated")
    assert one["checks"] == ["the number"]
    assert one["results"][0]["commit"] == "0123456789"
    assert written["slips"] == [{"place": "Equation (0)", "printed": "minus", "ours": "plus"}]


def test_the_build_fails_on_a_ledger_that_promises_what_is_not_there(ledger):
    changed = LEDGER.replace('verdict = "verdict-one"', 'verdict = "verdict-two"')
    changed = changed.replace('chapter = "intro"', 'chapter = "outro"', 1)
    (ledger / jacntk_book.LEDGER).write_text(changed)
    with open(ledger / "book" / "intro.md", "a") as source:
        source.write("\n```{claims} everything\n```\n")
    failed = build(ledger)
    assert failed.returncode != 0
    for complaint in ("unknown document: 'outro'", "verdict-two", "unknown view 'everything'"):
        assert complaint in failed.stderr, failed.stderr


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('results = ["figure-1"]', 'results = ["figure-2"]', "figure-2"),
        ('difference = "another number"', "", "if and only if there is a difference"),
        ('setting = "ours"', 'setting = "the paper\'s"', "if and only if there is a difference"),
        ('id = "two"', 'id = "one"', "claims of one name: one"),
    ],
)
def test_a_ledger_at_odds_with_itself_is_refused(ledger, old, new, complaint):
    assert old in LEDGER
    (ledger / jacntk_book.LEDGER).write_text(LEDGER.replace(old, new))
    with pytest.raises((ValueError, OSError), match=complaint):
        jacntk_book.VIEWS["ledger"](ledger, jacntk_book.read_ledger(ledger))


def test_old_caches_are_removed_but_the_newest_kept(project):
    class App:
        srcdir = project

    for age in range(5):
        folder = project / "_build" / f".jupyter_cache-{age}"
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 - age, 1e9 - age))
    config = {}
    jacntk_book.name_cache_folder(App, config)
    kept = {path.name for path in (project / "_build").glob(".jupyter_cache-*")}
    assert kept == {Path(config["nb_execution_cache_path"]).name, ".jupyter_cache-0", ".jupyter_cache-1"}


def test_the_footer_names_the_day_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert jacntk_book.edition(tmp_path).endswith("· built 2 January 1970")
    assert "commit unknown" in jacntk_book.edition(tmp_path)
    commit = jacntk_book.edition(ROOT).split("commit ")[1].split(" ·")[0].split(",")[0]
    assert len(commit) >= 10


def test_bars_of_a_docstring_are_escaped_in_running_text_only():
    lines = [
        "A = |x|^2 and ``|y|`` and :math:`|z|`, \\| already.",
        "",
        ".. math::",
        "",
        "    |a|",
        "",
        "|b| as in::",
        "",
        "    |c|",
        "",
        ">>> 1 | 2",
        "|3|",
        "",
        "|d|",
    ]
    jacntk_book.escape_bars(None, "function", "f", None, None, lines)
    assert lines[0] == "A = \\|x\\|^2 and ``|y|`` and :math:`|z|`, \\| already."
    assert [lines[4], lines[8], lines[10], lines[11]] == ["    |a|", "    |c|", ">>> 1 | 2", "|3|"]
    assert [lines[6], lines[13]] == ["\\|b\\| as in::", "\\|d\\|"]


def test_an_entry_of_a_docstring_is_name_and_description():
    lines = [
        "Ratio : a word.",
        "",
        "Parameters",
        "----------",
        "x, y : numbers >= 0",
        "    of any size.",
        "z",
        "    More : words.",
    ]
    lines += ["", "Notes", "-----", "Here : there."]
    jacntk_book.describe_entries(None, "function", "f", None, None, lines)
    assert lines[:4] == ["Ratio : a word.", "", "Parameters", "----------"]
    assert lines[4:9] == ["x, y", "    numbers >= 0", "    of any size.", "z", "    More : words."]
    assert lines[-1] == "Here : there."
