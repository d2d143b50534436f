"""The whole book joined for printing: every page is there, every link leads somewhere. `make pdf` prints it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import printed


def test_the_joined_book_is_whole(site):
    html, pages = printed.joined(site)
    assert {site / page for page in pages} == set((site / "book").rglob("*.html"))
    assert printed.dead_links(html) == []
