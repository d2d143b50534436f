"""The built site and a browser to read it with. Neither is made here: `make site` does both."""

import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
GENERATED = ["genindex", "search"]  # pages without a source
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM += ["--disable-component-update", "--disable-sync"]


def source_pages():
    """Pages of the table of contents, such as ``book/intro``: known before the book is built."""
    return re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())


def pytest_generate_tests(metafunc):
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", source_pages())
    if "any_page" in metafunc.fixturenames:
        metafunc.parametrize("any_page", [*source_pages(), *GENERATED])


def missing(what, cure, setting):
    """Skip with the reason, or fail where CI demands it."""
    message = f"{what}: {cure}"
    if os.environ.get(setting) == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def site():
    """Folder of the built site."""
    if not (SITE / "book" / "intro.html").is_file():
        missing("the book is not built", "run make book", "JACNTK_REQUIRE_SITE")
    return SITE


@pytest.fixture(scope="session")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        missing("no Chromium here", "on Debian, apt-get install chromium", "JACNTK_REQUIRE_BROWSER")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def served(site):
    """Address of the site as `make serve` offers it."""
    handler = partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing of each request."""


class Visit:
    """One page in the browser, and everything that went wrong while it was open."""

    def __init__(self, browser, colour_scheme="light", width=1280):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colour_scheme)
        self.page = self.context.new_page()
        self.home = "file:"  # what counts as the site itself
        self.errors, self.outside, self.failed = [], [], []
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        # what is not a file of the site is noted and refused: the network is off
        self.context.route("**/*", self._serve)

    def _serve(self, route):
        if route.request.url.startswith((self.home, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def open(self, path, query=""):
        self.page.goto(path.as_uri() + query, wait_until="load")
        # MathJax says when everything is typeset
        self.page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise")
        self.page.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
        return self.page

    def show(self, width, colour_scheme):
        """The open page in a window of another width, in the reader's other colour mode."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=colour_scheme)
        self.page.wait_for_function(f"document.documentElement.dataset.theme === '{colour_scheme}'")
        # colours change within a moment
        self.page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")


@pytest.fixture
def visit(browser):
    """``visit(colour_scheme=..., width=...)`` opens a fresh window."""
    visits = []

    def start(**options):
        visits.append(Visit(browser, **options))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()
