"""The list of page times reads what jupyter-cache writes."""

import importlib.util
import json
import sqlite3
from contextlib import closing
from pathlib import Path

spec = importlib.util.spec_from_file_location("times", Path(__file__).parent.parent / "tools" / "times.py")
times = importlib.util.module_from_spec(spec)
spec.loader.exec_module(times)


def test_last_execution_of_every_page_slowest_first(tmp_path):
    executed = [("/book/01-a.md", 1, 9.0), ("/book/02-b.md", 2, 3.0), ("/book/01-a.md", 3, 2.0)]
    with closing(sqlite3.connect(tmp_path / "global.db")) as database:
        database.execute("create table nbcache (uri text, created int, data text)")
        rows = [(uri, created, json.dumps({"execution_seconds": seconds})) for uri, created, seconds in executed]
        database.executemany("insert into nbcache values (?, ?, ?)", rows)
        database.commit()
    assert list(times.page_seconds(tmp_path).items()) == [("02-b", 3.0), ("01-a", 2.0)]
