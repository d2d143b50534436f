"""The built site, read as files: nothing comes from elsewhere, every link leads somewhere, pictures speak."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

import jacntk_lib

ROOT = Path(__file__).resolve().parents[2]

# attributes whose address a browser fetches without being asked
FETCHED = {"script": ["src"], "img": ["src", "srcset"], "iframe": ["src"], "source": ["src", "srcset"]}
FETCHED |= {"video": ["src", "poster"], "audio": ["src"], "object": ["data"], "embed": ["src"], "track": ["src"]}
LINKS_NOT_FETCHED = {"canonical", "next", "prev", "index", "search", "author", "license", "alternate"}
OUTSIDE = re.compile(r"^\s*(?:https?:)?//", re.I)


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(site):
    # _static holds templates of the theme beside its files
    found = sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)
    assert len(found) >= 4
    return found


def fetched_addresses(page):
    for tag in soup(page).find_all(True):
        if tag.name == "link" and not LINKS_NOT_FETCHED & set(tag.get("rel", [])):
            yield tag.get("href", "")
        for attribute in FETCHED.get(tag.name, []):
            yield tag.get(attribute, "")
        if tag.name == "meta" and tag.get("http-equiv", "").lower() == "refresh":
            yield tag.get("content", "").partition("url=")[2]
        yield from re.findall(r"url\(['\"]?([^'\")]+)", tag.get("style", ""))
    for style in soup(page).find_all("style"):
        yield from re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s;]+)", style.get_text())


def test_no_page_fetches_anything_from_elsewhere(site, pages):
    found = {(page.name, address) for page in pages for address in fetched_addresses(page) if OUTSIDE.match(address)}
    assert found == set()


def test_no_style_sheet_fetches_anything_from_elsewhere(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        addresses = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s;]+)", text)
        assert not [address for address in addresses if OUTSIDE.match(address)], sheet


def test_no_inline_script_names_a_delivery_network(pages):
    networks = re.compile(r"cdn|unpkg|jsdelivr|googleapis|cloudflare", re.I)
    for page in pages:
        for script in soup(page).find_all("script", src=False):
            assert not networks.search(script.get_text()), (page, script)


@cache
def anchors(page):
    return {tag[key] for tag in soup(page).find_all(True) for key in ("id", "name") if tag.get(key)}


def test_every_internal_link_and_anchor_resolves(pages):
    broken = []
    for page in pages:
        for link in soup(page).find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            known = not parts.fragment or target.suffix != ".html"
            if not target.is_file() or not (known or unquote(parts.fragment) in anchors(target)):
                broken.append((page.name, link["href"]))
    assert broken == []


def test_everything_a_page_loads_is_there(pages):
    absent = []
    for page in pages:
        for address in fetched_addresses(page):
            parts = urlsplit(address)
            if parts.path and not parts.scheme and not (page.parent / unquote(parts.path)).is_file():
                absent.append((page.name, address))
    assert absent == []


def test_every_picture_says_what_it_shows(pages):
    silent = [
        (page.name, image.get("src"), image.get("alt"))
        for page in pages
        for image in soup(page).find_all("img")
        if len(image.get("alt", "")) < (20 if "_images" in image.get("src", "") else 1)
    ]
    assert silent == []


def test_every_page_of_the_contents_is_built_with_its_source_and_edition(site, page_name):
    page = soup(site / f"{page_name}.html")
    footer = page.find(class_="extra_footer").get_text()
    assert re.search(r"Version \d+\.\d+\.\d+\S* · commit \S+.* · built \d+ \w+ \d{4}", footer)
    assert page.find("h1") is not None
    assert (site / "_sources" / f"{page_name}.md").is_file()


def test_every_chapter_offers_its_own_source_and_notebook(site, page_name):
    """Without its pictures, the notebook is the one that was compared with an execution."""
    page, source = site / f"{page_name}.html", ROOT / f"{page_name}.md"
    buttons = soup(page).select(".dropdown-download-buttons a[href]")
    offered = {(page.parent / unquote(one["href"])).resolve() for one in buttons}
    wanted = {site / "_sources" / f"{page_name}.md": source}
    if source.read_text(encoding="utf-8").startswith("---\njupytext"):
        notebook = ROOT / "book" / "notebooks" / f"{source.stem}.ipynb"
        wanted[site / "_notebooks" / notebook.name] = notebook
    assert offered == set(wanted)
    assert [one for one in wanted if one.read_bytes() != wanted[one].read_bytes()] == []


def test_one_file_has_the_text_of_all_pages_and_no_notebook(site, page_name):
    text = (site / "llms-full.txt").read_text(encoding="utf-8")
    source = (ROOT / f"{page_name}.md").read_text(encoding="utf-8")
    assert re.search(r"^# .+$", source, re.M)[0] + "\n" in text
    assert '"cells":' not in text


def test_the_index_leads_to_every_public_name(site):
    entries = {
        link["href"].partition("#")[2] for link in soup(site / "genindex.html").select("table.indextable a[href]")
    }
    listed = {entry.rpartition(".")[2] for entry in entries}
    assert set(jacntk_lib.__all__) - {"__version__"} <= listed
    methods = {name for name in vars(jacntk_lib.RobustFlow) if not name.startswith("_")}
    assert {f"jacntk_lib.RobustFlow.{name}" for name in methods} <= entries
