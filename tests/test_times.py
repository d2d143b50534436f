"""The list of times reads what jupyter-cache, make and pytest write."""

import importlib.util
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("times", Path(__file__).parent.parent / "tools" / "times.py")
times = importlib.util.module_from_spec(spec)
spec.loader.exec_module(times)


LOG = """
== lint
All checks passed!
== lint: 3 s

== book
The book is built. Its first page: /somewhere/_build/html/book/intro.html
== book: 245 s

== unit
============================= slowest 10 durations =============================
8.32s call     tests/test_a.py::test_one[gelu-{'depth': 3, 'scale': 1.7}]
4.10s setup    tests/test_b.py::test_two
1675 passed, 20 skipped in 119.42s (0:01:59)
== unit: 121 s
"""


def cache(folder, executed):
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "global.db")) as database:
        database.execute("create table nbcache (uri text, created int, data text)")
        rows = [(uri, created, json.dumps({"execution_seconds": seconds})) for uri, created, seconds in executed]
        database.executemany("insert into nbcache values (?, ?, ?)", rows)
        database.commit()
    return folder


def test_last_execution_of_every_page_slowest_first(tmp_path):
    executed = [("/book/01-a.md", 1, 9.0), ("/book/02-b.md", 2, 3.0), ("/book/01-a.md", 3, 2.0)]
    assert list(times.page_seconds(cache(tmp_path / "cache", executed)).items()) == [("02-b", 3.0), ("01-a", 2.0)]


def test_the_newest_cache_counts(tmp_path):
    assert times.newest_cache(tmp_path) is None
    for name, age in (("old", 1000), ("new", 2000), ("older", 500)):
        folder = cache(tmp_path / f".jupyter_cache-{name}", [])
        os.utime(folder / "global.db", (age, age))
    assert times.newest_cache(tmp_path).name == ".jupyter_cache-new"


def test_stages_and_slowest_tests_of_a_log():
    assert times.stage_seconds(LOG) == {"lint": 3, "book": 245, "unit": 121}
    assert times.slowest_tests(LOG) == {
        "tests/test_a.py::test_one[gelu-{'depth': 3, 'scale': 1.7}]": 8.32,
        "tests/test_b.py::test_two": 4.10,
    }


def test_what_is_stored_and_what_an_unfinished_log_leaves_out(tmp_path, capsys):
    build = cache(tmp_path / "_build" / ".jupyter_cache-1", [("/book/01-a.md", 1, 9.04)]).parent
    log, out = tmp_path / "log", tmp_path / "times.json"
    for text, expected in ((LOG, {"make book": 245}), (LOG + times.PASSED, {"make book": 245, "make test": 369})):
        log.write_text(text)
        times.main(["--build", str(build), "--log", str(log), "--note", "busy", "--out", str(out)])
        stored = json.loads(out.read_text())
        assert stored["totals"] == expected
        assert stored["finished"] == (len(expected) == 2)
    assert stored["pages"] == {"01-a": 9.0}
    assert (stored["note"], stored["machine"]["commit"]) == ("busy", None)
    assert "369.0 s  make test, at most 1500 s asked for" in capsys.readouterr().out


def test_without_an_execution_it_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="make book"):
        times.main(["--build", str(tmp_path)])
