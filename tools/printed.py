"""The built book as one PDF (`make pdf`): all pages joined into one, printed by a headless Chromium.

The pages come in the order of their "next" links. In the joined page every id carries the name of its page, links
between pages become links within it. What is folded is open, since paper cannot be clicked; only the code that draws
the pictures is left to the screen.
"""

import argparse
import posixpath
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
NOT_ON_PAPER = (
    "script, noscript, button, input, template, .headerlink, .prev-next-footer, .copybtn, .docutils.toctree-wrapper"
)
STYLE = """
@page { size: A4; margin: 16mm 15mm 18mm; }
html, body { background: #fff; font-size: 10.5pt; overflow: visible !important; height: auto !important; }
body { display: block; }
article.bd-article { display: block; break-before: page; padding: 0; max-width: none; }
article.bd-article:first-of-type { break-before: auto; }
h1, h2, h3, figcaption, summary { break-after: avoid; }
figure, img, table, .admonition, .proof, mjx-container[display="true"] { break-inside: avoid; }
img, svg { max-width: 100%; height: auto; max-height: 220mm; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 8pt; line-height: 1.3; }
.highlight pre, .cell_output pre { overflow: visible !important; }
/* a box that scrolls or flexes is never parted between pages */
.cell_input, .cell_input div, pre { display: block !important; break-inside: auto !important; }
.cell *:not(svg, svg *) { overflow: visible !important; }
details > summary { list-style: none; }
.bd-content table { font-size: 9pt; }
.bd-content, .bd-main, .bd-container { overflow: visible !important; }
"""
FOOTER = """
<div style="font: 8pt DejaVu Sans, sans-serif; width: 100%; text-align: center; color: #555">
  <span class="pageNumber"></span>
</div>"""


def order(site, first="book/intro.html"):
    """Addresses of the pages, each the "next" of the one before, relative to the site."""
    pages = [first]
    while True:
        page = read(site / pages[-1])
        link = page.find("link", rel="next")
        if link is None:
            return pages
        following = posixpath.normpath(posixpath.join(posixpath.dirname(pages[-1]), link["href"]))
        if following in pages:
            raise SystemExit(f"the pages go in a circle: {pages[-1]} leads back to {following}")
        pages.append(following)


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def slug(address):
    return re.sub(r"\W+", "-", address.removesuffix(".html"))


def article(page, address, pages):
    """The text of a page, ready to stand beside the others."""
    body = page.select_one("article.bd-article")
    for element in body.select(NOT_ON_PAPER):
        element.decompose()
    for element in body.select(".tag_hide-input details.hide"):  # how pictures are drawn: for the screen
        element.decompose()
    for element in body.select("details.hide"):
        element.summary.decompose()
        element.unwrap()
    for element in body.find_all("details"):
        element["open"] = ""
    for element in body.find_all(True):
        if "id" in element.attrs:
            element["id"] = f"{slug(address)}--{element['id']}"
        for name in ("src", "href"):
            if name in element.attrs:
                element[name] = moved(element[name], address, pages)
        for name in ("for", "aria-labelledby", "aria-describedby"):
            element.attrs.pop(name, None)
    body["id"] = slug(address)
    return body


def moved(target, address, pages):
    """What a link of the page at ``address`` points to in the joined page, which lies at the site's root."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(address), parts.path)) if parts.path else address
    if path in pages:
        return f"#{slug(path)}--{parts.fragment}" if parts.fragment else f"#{slug(path)}"
    return path + (f"#{parts.fragment}" if parts.fragment else "")


def joined(site):
    """The whole book as one HTML page for the site's root."""
    pages = order(site)
    shell = read(site / pages[0])
    whole = BeautifulSoup(
        "<!doctype html><html lang='en' data-theme='light'><head></head><body></body></html>", "html.parser"
    )
    head, base = whole.head, pages[0]
    head.append(whole.new_tag("meta", charset="utf-8"))
    title = whole.new_tag("title")
    title.string = shell.title.get_text(strip=True)
    head.append(title)
    for element in shell.head.find_all("link", rel="stylesheet"):
        element["href"] = moved(element["href"], base, pages)
        head.append(element)
    for element in shell.head.find_all("script"):
        if "mathjax" in element.get("src", "") or "window.MathJax" in (element.string or ""):
            if "src" in element.attrs:
                element["src"] = moved(element["src"], base, pages)
            head.append(element)
    style = whole.new_tag("style")
    style.string = STYLE
    head.append(style)
    content = whole.new_tag("div", attrs={"class": "bd-content"})
    whole.body.append(content)
    for address in pages:
        content.append(article(read(site / address), address, pages))
    return str(whole), pages


def dead_links(html):
    """Links within the joined page that lead nowhere."""
    whole = BeautifulSoup(html, "html.parser")
    ids = {element["id"] for element in whole.find_all(id=True)}
    return sorted(
        {a["href"] for a in whole.find_all("a", href=True) if a["href"][0] == "#" and a["href"][1:] not in ids}
    )


def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        raise SystemExit("make pdf needs Chromium: on Debian, apt-get install chromium")
    return program


def print_to(page_file, out):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM)
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(page_file.as_uri(), wait_until="load")
        page.evaluate("async () => { await MathJax.startup.promise; await document.fonts.ready; }")
        wrong = page.evaluate(
            "() => [document.querySelectorAll('mjx-merror').length, "
            "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)]"
        )
        if wrong != [0, []]:
            raise SystemExit(f"not printed: {wrong[0]} formulas with errors, pictures that are not there: {wrong[1]}")
        page.pdf(
            path=out, prefer_css_page_size=True, print_background=True, display_header_footer=True,
            header_template="<span></span>", footer_template=FOOTER, outline=True, tagged=True,
        )  # fmt: skip
        browser.close()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "jacntk.pdf")
    chosen = parser.parse_args(arguments)
    if not (chosen.site / "book" / "intro.html").is_file():
        raise SystemExit(f"there is no book in {chosen.site}: run `make book` first")
    html, pages = joined(chosen.site)
    if dead := dead_links(html):
        raise SystemExit(f"links that lead nowhere in the joined page: {', '.join(dead)}")
    page_file = chosen.site / "print.html"
    page_file.write_text(html, encoding="utf-8")
    try:
        print_to(page_file.resolve(), chosen.out)
    finally:
        page_file.unlink()
    count = len(re.findall(rb"/Type\s*/Page\b", chosen.out.read_bytes()))
    print(
        f"{chosen.out}: {len(pages)} chapters and sections on {count} pages, {chosen.out.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
