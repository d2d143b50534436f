"""The book's Sphinx extensions, on their own and in builds of a small book."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup
from jupyter_cache import get_cache
from myst_nb.core.config import NbParserConfig
from myst_parser.config.main import MdParserConfig

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import jacntk_circle  # noqa: E402
import jacntk_execution  # noqa: E402
import jacntk_site  # noqa: E402

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
CHAPTER = """\
# A chapter

A claim {badge}`measured here` {cite}`kim2024`. See {doc}`01-first`, {doc}`the first <01-first>` and {doc}`more`.
It takes {minutes}`01-first`.

```{code-cell} ipython3
import sys

sys.path.insert(0, "ROOT")
sys.dont_write_bytecode = True
from jacntk_lib.value import VALUE

print("the library says", VALUE)
```

```{code-cell} ipython3
:tags: [hide-input]

for n in range(2):
    print(f"CHECK route {n} = route 2: < 1e-12 ok")
```

```{code-cell} ipython3
shown = "and the code stays"
print("CHECK slope: -0.5 (<= -0.4) ok")
print("a table")
```

```{code-cell} ipython3
:tags: [claim]

print("CHECK share of a < b: 0.96 (>= 0.9) ok")
```

```{code-cell} ipython3
:tags: [hide-input]

silent = "a folded cell that shows nothing"
```

```{code-cell} ipython3
:tags: [hide-input]

print(silent.replace("silent", "nothing"), "is folded with the next")
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

```{code-cell} ipython3
from IPython.display import HTML
from myst_nb import glue

glue("verdict-one", HTML("<b>holds</b>, as &lt; 2"), display=False)
```

```{claims} summary
```

```{claims} ledger
```

```{claims} slips
```

```{circle}
:time: 10
:band:
```
"""
LEDGER = """\
paper = "a paper"

[[claims]]
id = "one"
place = "Theorem 1"
statement = "The number is $1$."
landing = true
chapter = "intro"
setting = "a small example"
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
RECORD = """{"command": "jacntk figure 1", "missing": ["width8192"], "finished": "2026-01-01",
"source": {"commit": "0123456789"}, "hardware": {"gpu": null, "cores": 2, "cpu": "a processor"}}"""


TOC = "format: jb-book\nroot: book/intro\nchapters:\n" + "".join(
    f"  - file: book/{name}\n" for name in ("01-first", "more", "references")
)


@pytest.fixture
def project(tmp_path):
    """The real configuration around a book of one chapter, a library of one number and a ledger of two claims."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    for folder in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / folder, tmp_path / "book" / folder)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    files = {
        "_toc.yml": TOC,
        "book/intro.md": FRONT + CHAPTER.replace("ROOT", str(tmp_path)),
        "book/01-first.md": "# The title of the first\n\n" + "word " * 500,
        "book/more.md": "# Appendix C: more\n\nMore.\n",
        "book/references.md": "# References\n\n```{bibliography}\n```\n",
        "book/results/figure-1.json": RECORD,
        "benchmarks/results/scale.json": "{}",
        "jacntk_lib/__init__.py": "",
        "jacntk_lib/value.py": "VALUE = 1\n",
        "book/jacntk_book/checks.py": "",
        "requirements.lock": "numpy==2.4.6\n",
        jacntk_site.LEDGER: LEDGER,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def build(project):
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    command = [jupyter_book, "build", ".", "-W", "-n", "--keep-going"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


def page(project):
    return (project / "_build" / "html" / "book" / "intro.html").read_text()


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("changed", "added", "same"),
    [
        ("book/intro.md", "# Rewritten\n", True),
        ("jacntk_lib/value.py", "# a comment\n", True),
        ("jacntk_lib/value.py", "OTHER = 2\n", False),
        ("book/jacntk_book/checks.py", '"""What it is."""\n', True),
        ("book/jacntk_book/checks.py", "OTHER = 2\n", False),
        ("book/results/figure-1.json", "\n", False),
        ("benchmarks/results/scale.json", "\n", False),
        ("requirements.lock", "\n", False),
    ],
)
def test_the_key_follows_code_results_and_lock_but_no_words(project, changed, added, same):
    before = jacntk_site.execution_key(project)
    path = project / changed
    path.write_text(path.read_text() + added)
    assert (jacntk_site.execution_key(project) == before) is same


def test_a_book_is_built_and_a_change_of_the_library_runs_its_chapters_again(project):
    built = build(project)
    assert built.returncode == 0, built.stdout + built.stderr
    html = page(project)
    assert "the library says 1" in html
    assert 'class="claim-badge claim-measured-here"' in html
    assert "THEBE_JS_URL" not in html
    assert "· commit unknown · built " in html

    first, *_ = BeautifulSoup(html, "html.parser").select("section > p")
    said = first.text.replace("\n", " ")
    assert "See Chapter\N{NO-BREAK SPACE}1, the first and Appendix\N{NO-BREAK SPACE}C." in said
    assert "It takes 3\N{NO-BREAK SPACE}minutes." in said

    tables = BeautifulSoup(html, "html.parser").select("table.claims")
    assert [len(table.select("tbody tr")) for table in tables] == [1, 2, 1]
    summary, whole, slips = (table.get_text(" ", strip=True) for table in tables)
    assert "Theorem\N{NO-BREAK SPACE}1" in summary
    assert "a small example: another number" in summary
    assert "holds , as < 2 measured here" in summary
    for words in ("the number", "Refused: two in place of one.", "figure-1", "1 part of its grid missing", "0123456"):
        assert words in whole
    assert "not demonstrated , a step of a proof" in whole  # in bold
    assert "plus" in slips
    written = json.loads((project / "_build" / "html" / "claims.json").read_text())
    assert [claim["verdict"] for claim in written["claims"]] == ["holds, as < 2", "not demonstrated"]
    assert written["claims"][0]["setting"] == "a small example"
    assert written["claims"][0]["results"][0]["commit"] == "0123456789"
    (circle,) = BeautifulSoup(html, "html.parser").select("div.circle")
    assert (circle["data-time"], circle["data-band"], circle["data-depth"]) == ("10", "on", "3")
    assert "level at every label" in circle.select_one("noscript img")["alt"]
    for script in jacntk_circle.FILES:
        assert script in html
        assert script not in (project / "_build" / "html" / "book" / "references.html").read_text()
    assert written["slips"] == [{"place": "Equation (0)", "printed": "minus", "ours": "plus"}]

    rest, claim = BeautifulSoup(html, "html.parser").select("details.checks")
    assert claim.summary.text == "share of a < b: 0.96 (at least 0.9)"
    assert rest.summary.text == "3 checks passed"
    assert [one.text for one in rest.select("li")] == [
        "route 0 = route 2: below 1e-12",
        "route 1 = route 2: below 1e-12",
        "slope: -0.5 (at most -0.4)",
    ]
    assert [one.text for one in rest.select("li .together")] == ["1e-12", "1e-12"], "no line ends within a number"
    assert "range" in rest.pre.text, "the code of a hidden check is folded with it"
    shown = [one.text for one in BeautifulSoup(html, "html.parser").select("div.cell pre")]
    assert any("and the code stays" in text for text in shown)
    assert "a table\n" in shown
    assert "CHECK" not in "".join(shown).replace('print("CHECK', "").replace('print(f"CHECK', "")

    (folded,) = BeautifulSoup(html, "html.parser").select("details.hide")
    assert ["silent" in one.text for one in folded.select("pre")] == [True, True]
    assert "shows nothing is folded" in folded.parent.text

    (project / "jacntk_lib" / "value.py").write_text("VALUE = 2\n")
    built = build(project)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "the library says 2" in page(project)


def test_the_build_fails_on_what_a_reader_would_miss(project):
    chapter, ledger = project / "book" / "intro.md", project / jacntk_site.LEDGER
    spoil(chapter, "    alt: A line that rises from the lower left to the upper right.", "    width: 50%")
    spoil(chapter, "{badge}`measured here`", "{badge}`looks right`")
    spoil(chapter, "{cite}`kim2024`", "{cite}`kim2042` by {py:func}`jacntk_lib.nothing`")
    spoil(chapter, 'print("the library says", VALUE)', 'print("careful", file=sys.stderr)')
    spoil(chapter, "{claims} summary", "{claims} everything")
    spoil(chapter, "{minutes}`01-first`", "{minutes}`02-second`")
    spoil(chapter, ":time: 10", ":time: soon")
    spoil(ledger, 'verdict = "verdict-one"', 'verdict = "verdict-two"')
    spoil(ledger, 'chapter = "intro"', 'chapter = "outro"')
    failed = build(project)
    assert failed.returncode != 0
    complaints = re.findall(r"(?:WARNING|ERROR): (.*)", failed.stderr)
    for message in (
        "needs alt text",
        "unknown badge 'looks right'",
        "kim2042",
        "target not found: jacntk_lib.nothing",
        "stderr",
        "unknown view 'everything'",
        "there is no page '02-second'",
        "Invalid option value for 'time'",
        "verdict-two",
        "unknown document: 'outro'",
    ):
        assert any(message in one for one in complaints), (message, failed.stderr)


def test_the_build_fails_on_a_check_that_does_not_hold_and_shows_it(project):
    spoil(project / "book" / "intro.md", 'print("the library says", VALUE)', "assert VALUE == 7")
    failed = build(project)
    assert failed.returncode != 0
    assert "assert VALUE == 7" in failed.stderr


MEETING = """
```{code-cell} ipython3
import time
from pathlib import Path

found = list(Path().iterdir())
Path("FOLDER/OWN").touch()
end = time.monotonic() + 60
while not Path("FOLDER/OTHER").exists():
    assert time.monotonic() < end, "nobody came"
    time.sleep(0.01)
print("met", found)
```
"""


def test_chapters_run_at_the_same_time_and_what_fails_is_left_to_sphinx(tmp_path, monkeypatch, capfd):
    """Two chapters that wait for each other, in empty folders; one that fails; one of words."""
    pages = {
        "one": FRONT + MEETING.replace("OWN", "a").replace("OTHER", "b"),
        "two": FRONT + MEETING.replace("OWN", "b").replace("OTHER", "a"),
        "failing": FRONT + MEETING.replace("OWN", "c").replace("OTHER", "a").replace('"met"', "1 / 0"),
        "words": "# Words",
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(text.replace("FOLDER", str(tmp_path)))
    settings = NbParserConfig(execution_mode="cache", execution_cache_path=str(tmp_path / "cache"))
    env = SimpleNamespace(
        mystnb_config=settings, myst_config=MdParserConfig(), doc2path=lambda name: str(tmp_path / f"{name}.md")
    )
    monkeypatch.setattr(jacntk_execution, "at_once", lambda: 2)
    jacntk_execution.execute_ahead(None, env, list(pages))
    cache = get_cache(settings.execution_cache_path)
    kept = {Path(record.uri).stem: cache.get_cache_bundle(record.pk) for record in cache.list_cache_records()}
    assert sorted(kept) == ["one", "two"]
    assert [kept[name].nb.cells[0].outputs[0].text for name in ("one", "two")] == ["met []\n", "met []\n"]
    assert "WARNING" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('difference = "another number"', "", "if and only if no difference is named"),
        ('setting = "a small example"', 'setting = "the paper\'s"', "if and only if no difference is named"),
        (
            'setting = "a small example"',
            'setting = "theirs"',
            "unknown setting 'theirs'; use one of the paper's, ours, a small",
        ),
        ('id = "two"', 'id = "one"', "claims of one name: one"),
    ],
)
def test_a_ledger_at_odds_with_itself_is_refused(project, old, new, complaint):
    spoil(project / jacntk_site.LEDGER, old, new)
    with pytest.raises(ValueError, match=complaint):
        jacntk_site.read_ledger(project)


@pytest.mark.parametrize(
    ("option", "given", "complaint"),
    [
        ("labels", "0:1 360:1", "'360:1' is not degrees:value"),
        ("labels", "0:3", "a value from -2 to 2"),
        ("lambda", "11", "11 is not between 0 and 10"),
        ("lambda", "nan", "nan is not between"),
        ("depth", "7", "between 1 and 6"),
        ("depth", "2.5", "2.5"),
        ("activation", "sin", "sin"),
        ("front", "lambda colour", "no control colour: choose among lambda, depth"),
    ],
)
def test_a_circle_refuses_a_start_that_its_script_could_not_draw(option, given, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        jacntk_circle.CircleDirective.option_spec[option](given)


def test_a_circle_takes_the_start_that_it_has_by_itself():
    """And the trained networks in its folder are of that start."""
    directive = jacntk_circle.CircleDirective
    for name, value in directive.defaults.items():
        assert directive.option_spec[name](value) == value
    stored = (ROOT / "book" / "_static" / "circle-networks.js").read_text(encoding="utf-8")
    stored = json.loads(stored[stored.index("{") : stored.rindex("}") + 1])
    assert all(stored[name] == directive.defaults[name] for name in ("labels", "depth", "activation", "kappa"))
