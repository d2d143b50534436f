"""The whole book as one PDF (`make pdf`): Sphinx's single page of it, printed by a headless Chromium.

    jupyter-book build . --builder singlehtml && python tools/printed.py

Jupyter Book's own builder `pdfhtml` does not serve: it wants a browser that Playwright downloads, does not wait for the
formulas, and loses pictures and styles where the first page lies in a folder. What is folded is open on paper; only the
code that draws the pictures is left to the screen.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BUILD = Path(__file__).resolve().parent.parent / "_build"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
STYLE = """
@page { size: A4; margin: 16mm 15mm 18mm; }
html, body, .bd-content { background: #fff; font-size: 10.5pt; overflow: visible !important; height: auto !important; }
body, .bd-content { display: block !important; }
.toctree-wrapper > section { break-before: page; }
h1, h2, h3, figcaption, summary { break-after: avoid; }
figure, img, table, .admonition, .proof, mjx-container[display="true"] { break-inside: avoid; }
img, svg { max-width: 100%; height: auto; max-height: 220mm; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 8pt; line-height: 1.3; }
/* a box that scrolls or flexes is never parted between pages */
.cell_input, .cell_input div, pre { display: block !important; break-inside: auto !important; }
.cell *:not(svg, svg *) { overflow: visible !important; }
details > summary { list-style: none; }
.bd-content table { font-size: 9pt; }
"""
ON_PAPER = """async () => {
  const book = document.createElement('div');
  book.className = 'bd-content';
  book.append(document.querySelector('article.bd-article'));
  book.querySelectorAll('.tag_hide-input details.hide, details.hide > summary, .headerlink, button, input')
    .forEach(one => one.remove());
  book.querySelectorAll('details').forEach(one => one.open = true);
  document.body.replaceChildren(book);
  await MathJax.startup.promise;
  await document.fonts.ready;
  return [
    ...[...book.querySelectorAll('mjx-merror')].map(one => 'formula: ' + one.textContent),
    ...[...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => 'picture: ' + one.src),
    ...[...book.querySelectorAll('a[href^="#"]')].map(one => one.getAttribute('href').slice(1))
      .filter(id => !document.getElementById(decodeURIComponent(id))).map(id => 'link: #' + id),
  ];
}"""
FOOTER = """
<div style="font: 8pt DejaVu Sans, sans-serif; width: 100%; text-align: center; color: #555">
  <span class="pageNumber"></span>
</div>"""


def main(build=BUILD):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        sys.exit("make pdf needs Chromium: on Debian, apt-get install chromium")
    # Sphinx puts the page in the folder of the first one, with addresses as if it lay above
    page_file, out = build / "singlehtml" / "print.html", build / "jacntk.pdf"
    text = (build / "singlehtml" / "book" / "intro.html").read_text(encoding="utf-8")
    page_file.write_text(text.replace('href="book/intro.html#', 'href="#'), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(page_file.as_uri(), wait_until="load")
        page.add_style_tag(content=STYLE)
        if wrong := page.evaluate(ON_PAPER):
            sys.exit("not printed:\n" + "\n".join(wrong))
        page.pdf(
            path=out,
            prefer_css_page_size=True,
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        browser.close()
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
