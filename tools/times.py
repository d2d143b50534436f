"""How long each page took when the book was last executed, from the newest execution cache in _build.

python tools/times.py
"""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "_build"


def page_seconds(cache):
    """``{page: seconds}`` of the last execution of every page in a cache, slowest first."""
    with closing(sqlite3.connect(f"file:{cache / 'global.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("select uri, data from nbcache order by created").fetchall()
    seconds = {Path(uri).stem: json.loads(data)["execution_seconds"] for uri, data in rows}
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


def main():
    caches = [path.parent for path in BUILD.glob(".jupyter_cache-*/global.db")]
    if not caches:
        sys.exit("no page has been executed here yet: make book")
    seconds = page_seconds(max(caches, key=lambda path: (path / "global.db").stat().st_mtime))
    for page, each in seconds.items():
        print(f"{each:6.1f} s  {page}")
    print(f"{sum(seconds.values()):6.1f} s  in all")


if __name__ == "__main__":
    main()
