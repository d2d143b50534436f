"""The book's own Sphinx extension: what Jupyter Book 1.0 leaves to its users.

- chapters run again when the library, the stored results or the pinned packages change;
- a claim's badge, ``{badge}`measured here` ``;
- the ledger, book/claims.toml, as tables, ``{claims} summary`` and other words of VIEWS, and as claims.json;
- every picture must say in words what it shows;
- the footer names version, commit and build date;
- each chapter offers its .ipynb beside its .md;
- nothing on a page is fetched from elsewhere.
"""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from jacntk_book.results.provenance import code_hash

LOGGER = logging.getLogger(__name__)
KEPT_CACHES = 3
SHORTEST_ALT = 20  # characters: enough for a sentence, too many for "figure" or a file name
BADGES = ("derived here", "measured here")
SETTINGS = ("the paper's", "ours", "a small example")
LEDGER = "book/claims.toml"


# -- the cache of executed chapters --------------------------------------------------------------


def execution_key(root):
    """Hash of everything that a chapter's output depends on and that its own cells do not show.

    Code of both packages (no docstring, no comment), stored results and benchmarks, the lock, and what the lock leaves
    open: Python and torch.
    """
    root = Path(root)
    sources = (
        "jacntk_lib/**/*.py",
        "book/jacntk_book/**/*.py",
        "book/results/**/*",
        "benchmarks/results/*.json",
        "requirements.lock",
    )
    files = [path for pattern in sources for path in root.glob(pattern)]
    digest = hashlib.sha256(f"{sys.version_info[:2]} {_installed('torch')}".encode())
    for path in sorted(path for path in files if path.is_file()):
        content = path.read_bytes()
        content = code_hash(content) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()
        digest.update(f"\n{path.relative_to(root).as_posix()} {content}".encode())
    return digest.hexdigest()[:16]


def _installed(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def name_cache_folder(app, config):
    """jupyter-cache looks only at a chapter's cells: give it another folder when the rest has changed."""
    build = Path(app.srcdir) / "_build"
    folder = build / f".jupyter_cache-{execution_key(app.srcdir)}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    newest_first = sorted(build.glob(".jupyter_cache-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for stale in newest_first[KEPT_CACHES:]:
        shutil.rmtree(stale)
    config["nb_execution_cache_path"] = str(folder)
    # threads of a chapter that wait sleep rather than spin: on a busy machine 15 times faster
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# -- what a page shows ---------------------------------------------------------------------------


def badge_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """``{badge}`derived here` `` and the other words of BADGES."""
    if text not in BADGES:
        complaint = f"unknown badge {text!r}: use one of {', '.join(BADGES)}"
        message = inliner.reporter.error(complaint, line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    return [nodes.inline(rawtext, text, classes=["claim-badge", "claim-" + text.replace(" ", "-")])], []


# -- the ledger ----------------------------------------------------------------------------------


def read_ledger(root):
    """The ledger as a dictionary, each claim with every field that the tables need.

    Raises
    ------
    ValueError : two claims of one name, an unknown setting, or a difference that is missing or one too many.
    """
    ledger = tomllib.loads((Path(root) / LEDGER).read_text(encoding="utf-8"))
    for claim in ledger["claims"]:
        claim.setdefault("demonstrated", True)
        for field in ("how", "checks", "results"):
            claim.setdefault(field, [])
        if not claim["demonstrated"]:
            continue
        if claim["setting"] not in SETTINGS:
            raise ValueError(
                f"claim {claim['id']}: unknown setting {claim['setting']!r}; use one of {', '.join(SETTINGS)}"
            )
        if (claim["setting"] == "the paper's") == ("difference" in claim):
            raise ValueError(f"claim {claim['id']}: the setting is the paper's if and only if no difference is named")
    names = [claim["id"] for claim in ledger["claims"]]
    if len(set(names)) < len(names):
        raise ValueError(f"claims of one name: {', '.join(sorted(name for name in names if names.count(name) > 1))}")
    return ledger


def provenance(root, name):
    """What the tables say about the origin of a stored result."""
    record = json.loads((Path(root) / "book" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    machine = record["hardware"]
    return {
        "name": name,
        "command": record["command"],
        "commit": record["source"]["commit"],
        "hardware": machine["gpu"] or f"{machine['cores']}\N{NO-BREAK SPACE}cores, {machine['cpu']}",
        "finished": record["finished"],
        "missing": record.get("missing", []),
    }


def list_table(view, heads, widths, rows):
    """A table of Markdown cells, whose rows become cards on a telephone (book.css)."""
    lines = [":::{list-table}", ":header-rows: 1", f":widths: {widths}", f":class: claims claims-{view}", ""]
    for row in (heads, *rows):
        for number, cell in enumerate(row):
            first, *more = cell.split("\n")
            lines += [("* - " if number == 0 else "  - ") + first, *("    " + line if line else "" for line in more)]
    return [*lines, ":::"]


def _place(claim):
    return f"{{doc}}`{claim['place']} <{claim['chapter']}>`" if "chapter" in claim else claim["place"]


def _setting(claim):
    if not claim["demonstrated"]:
        return "none"
    return ": ".join(claim[field] for field in ("setting", "difference") if field in claim)


def _verdict(claim):
    """The words that the chapter hands over; without any, that every check held, or that there is none."""
    if not claim["demonstrated"]:
        return f"**not demonstrated**, {claim['reason']}"
    badges = " ".join(f"{{badge}}`{badge}`" for badge in claim["how"])
    words = f"{{glue:}}`{claim['chapter']}.md::{claim['verdict']}`" if "verdict" in claim else "**holds**"
    return f"{words} {badges}"


def _summary(root, ledger):
    rows = [
        (_place(claim), claim["statement"], _setting(claim), _verdict(claim))
        for claim in ledger["claims"]
        if claim.get("landing")
    ]
    return list_table("summary", ("place", "statement", "setting", "verdict"), "16 38 18 28", rows)


def _primes(marks):
    """Of derivatives, which Sphinx would turn into quotation marks."""
    return "\N{PRIME}" * len(marks[0])


def _behind(root, claim):
    """Checks, control and stored results of one claim."""
    if not claim["demonstrated"]:
        return "No checks."
    names = [re.sub(r"(?<=\bx)'|(?<=\bphi)''", _primes, name) for name in claim["checks"]]
    named = [f"all of *{name[2:]}*" if name.startswith("§ ") else f"*{name}*" for name in names]
    parts = [f"Checks: {'; '.join(named)}.".replace("?*.", "?*")]  # names of sections may be questions
    parts.append(f"Refused: {claim['broken']}.")
    for one in (provenance(root, name) for name in claim["results"]):
        count = len(one["missing"])
        missing = f", {count} part{'s' * (count > 1)} of its grid missing" * bool(count)
        parts.append(f"`{one['name']}`{missing}, commit `{(one['commit'] or 'unknown')[:7]}`, {one['hardware']}.")
    return "\n\n".join(parts)


def _ledger(root, ledger):
    rows = [
        (_place(claim), f"{claim['statement']}\n\nSetting: {_setting(claim)}.", _behind(root, claim), _verdict(claim))
        for claim in ledger["claims"]
    ]
    return list_table(
        "ledger", ("place", "statement", "checks, what they refuse, results", "verdict"), "17 32 31 20", rows
    )


def _slips(root, ledger):
    return list_table(
        "slips",
        ("place", "as printed", "what we use"),
        "16 42 42",
        [(slip["place"], slip["printed"], slip["ours"]) for slip in ledger["slips"]],
    )


VIEWS = {"summary": _summary, "ledger": _ledger, "slips": _slips}


class Claims(SphinxDirective):
    """``{claims} summary`` and the other words of VIEWS: tables made from the ledger when the book is built."""

    required_arguments = 1

    def run(self):
        root, view = Path(self.env.srcdir), self.arguments[0]
        if view not in VIEWS:
            raise self.error(f"unknown view {view!r} of the ledger: use one of {', '.join(VIEWS)}")
        try:
            ledger = read_ledger(root)
            lines = VIEWS[view](root, ledger)
        except (OSError, ValueError, KeyError) as problem:
            raise self.error(f"{LEDGER}: {problem!r}") from problem
        sources = [LEDGER]
        for claim in ledger["claims"]:  # a chapter that is executed again may hand over another verdict
            sources += [f"book/{claim['chapter']}.md"] if "chapter" in claim else []
            sources += [f"book/results/{name}.json" for name in claim["results"]]
        for source in dict.fromkeys(sources):
            self.env.note_dependency(str(root / source))
        found = nodes.Element()
        if view == "ledger":
            address = "../" * self.env.docname.count("/") + "claims.json"
            found += nodes.raw("", f'<p>The same for machines: <a href="{address}">claims.json</a>.</p>', format="html")
        self.state.nested_parse(StringList(lines, source=LEDGER), self.content_offset, found)
        return found.children


def glued_words(env, claim):
    """The verdict that a chapter handed over, as plain text."""
    folder = Path(env.mystnb_config.output_folder)
    stored = json.loads((folder / "book" / f"{claim['chapter']}.glue.json").read_text(encoding="utf-8"))
    return html.unescape(re.sub(r"<[^>]+>", "", stored[claim["verdict"]]["data"]["text/html"]))


def write_claims(app, exception):
    """The ledger, with verdicts and the origin of results, for machines: claims.json at the root of the site."""
    root = Path(app.srcdir)
    if exception or app.builder.format != "html" or not (root / LEDGER).is_file():
        return
    ledger = read_ledger(root)
    claims = []
    for claim in ledger["claims"]:
        verdict = "holds" if claim["demonstrated"] else "not demonstrated"
        if "verdict" in claim:
            try:
                verdict = glued_words(app.env, claim)
            except (OSError, KeyError):
                LOGGER.warning("claim %s: %s handed over no %s", claim["id"], claim["chapter"], claim["verdict"])
                verdict = None
        results = [provenance(root, name) for name in claim["results"]]
        kept = {key: value for key, value in claim.items() if key != "landing"}
        claims.append({**kept, "verdict": verdict, "results": results})
    found = {"paper": ledger["paper"], "edition": edition(root), "claims": claims, "slips": ledger["slips"]}
    (Path(app.outdir) / "claims.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


# -- pictures and pages ---------------------------------------------------------------------------


def demand_alt_text(app, doctree, docname):
    """Warn (an error in this build) at a picture that does not say what it shows."""
    for image in doctree.findall(nodes.image):
        if len(image.get("alt", "").strip()) < SHORTEST_ALT:
            LOGGER.warning(
                "a picture needs alt text of at least %d characters that says what it shows: in a code cell "
                "`mystnb: {image: {alt: ...}}`, in Markdown ![alt](file)",
                SHORTEST_ALT,
                location=image if image.line else docname,
            )


def _git(root, *arguments):
    try:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def edition(root):
    """One line for the footer: version, commit, and the day of the build (SOURCE_DATE_EPOCH where set)."""
    commit = _git(root, "rev-parse", "--short=10", "HEAD") or "unknown"
    changed = ", with changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else ""
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    day = f"{moment.tm_mday} {time.strftime('%B %Y', moment)}"
    return f"Version {_installed('jacntk')} · commit {commit}{changed} · built {day}"


def configure_theme(app, config):
    theme = config["html_theme_options"]
    theme["extra_footer"] = f"<p>{edition(app.srcdir)}</p>"
    theme["use_repository_button"] = bool(theme.get("repository_url"))


def stop_thebe(app):
    """Jupyter Book wires sphinx-thebe twice, which throws on every page, and the book has no use for it."""
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]


def offer_notebook(app, pagename, templatename, context, doctree):
    """Let the download button of a chapter offer the paired notebook, too."""
    notebook = Path(app.srcdir) / "book" / "notebooks" / f"{Path(pagename).name}.ipynb"
    if pagename.startswith("book/") and notebook.is_file():
        target = Path(app.outdir) / "_notebooks" / notebook.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notebook, target)
        # the theme looks in _sources, whose files are the text of llms-full.txt
        context["ipynb_source"] = f"../_notebooks/{notebook.name}"


MENDS = {
    # docutils calls the bibliography a list, but its entries are no list items
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    # the arrow that unfolds a part of the table of contents has no name
    '<summary><span class="toctree-toggle"': '<summary aria-label="Pages below"><span class="toctree-toggle"',
}


def mend_for_screen_readers(app, exception):
    """Put right in the written pages what misleads screen readers and no template offers to change."""
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = mended = page.read_text(encoding="utf-8")
        for old, new in MENDS.items():
            mended = mended.replace(old, new)
        if mended != text:
            page.write_text(mended, encoding="utf-8")


def setup(app):
    app.add_role("badge", badge_role)
    app.add_directive("claims", Claims)
    app.connect("config-inited", name_cache_folder)
    app.connect("config-inited", configure_theme)
    app.connect("builder-inited", stop_thebe, priority=1)
    app.connect("doctree-resolved", demand_alt_text)
    app.connect("html-page-context", offer_notebook, priority=400)
    app.connect("build-finished", write_claims)
    app.connect("build-finished", mend_for_screen_readers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
