"""What the pages say of each other: "Chapter 7" for ``{doc}`07-linear-ode` ``, and how long they are.

A link to a page whose name begins with a number, or whose title begins with "Appendix B:", is called so; other pages,
and links with words of their own, keep them. Figures of an appendix are counted in it, as "Fig. C.1".

``{minutes}`07-linear-ode` `` is the time that a page takes at 200 words per minute.

Words are those outside code cells, a formula in a line being one of them. A formula on lines of its own, a figure and a
visible line of code take as long as so many words as WORTH says.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxRole

WORDS_PER_MINUTE = 200
WORTH = {"formula": 30, "figure": 40, "line": 10}
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "remove-input", "claim"}
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.M | re.S)
FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
OPTION = re.compile(r"^:[\w-]+:.*$", re.M)  # of a directive
MATH = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.S)


def prose_words(text):
    """Words of a page outside its code cells; a formula is one word."""
    text = OPTION.sub("", CELL.sub("", FRONT.sub("", text)))
    plain = re.sub(r"^[`:]{3,}.*$|\(eq-[\w-]+\)", "", MATH.sub(" formula ", text), flags=re.M)
    return len(re.findall(r"\w[\w'’-]*", plain))


def visible_cells(text):
    """Lines of code of every cell that a reader sees unfolded, in order; empty lines do not count."""
    found = []
    for cell in CELL.findall(text):
        head, code = "", cell
        if cell.startswith("---\n"):
            head, code = cell[4:].split("\n---\n", 1) if "\n---\n" in cell else (cell, "")
        elif options := re.match(r"(?:^:[^\n]*\n)+", cell, re.M):
            head, code = options[0], cell[options.end() :]
        if not HIDDEN & set(re.findall(r"[\w-]+", "".join(re.findall(r"tags:.*", head)))):
            found.append(sum(1 for line in code.splitlines() if line.strip()))
    return found


def minutes(text):
    """Reading time of a page, at least a minute."""
    page = FRONT.sub("", text)
    formulas = len(re.findall(r"^\$\$", CELL.sub("", page), re.M)) // 2
    figures = len(re.findall(r"^    alt:", page, re.M))
    words = prose_words(text) + WORTH["formula"] * formulas + WORTH["figure"] * figures
    return max(1, round((words + WORTH["line"] * sum(visible_cells(text))) / WORDS_PER_MINUTE))


class MinutesRole(SphinxRole):
    """``{minutes}`page` ``, the name of a page of the book without its folder and ending."""

    def run(self):
        path = Path(self.env.srcdir) / "book" / f"{self.text}.md"
        if not path.is_file():
            message = self.inliner.reporter.error(f"there is no page {self.text!r}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        self.env.note_dependency(str(path))
        count = minutes(path.read_text(encoding="utf-8"))
        return [nodes.Text(f"{count}\N{NO-BREAK SPACE}minute{'s' * (count > 1)}")], []


def short_name(path):
    """What prose calls a page: "Chapter 7", "Appendix B"; None where its title serves."""
    if number := re.match(r"(\d+)-", path.stem):
        return f"Chapter\N{NO-BREAK SPACE}{int(number[1])}"
    if path.is_file() and (title := re.search(r"^# (Appendix [A-Z]):", path.read_text(encoding="utf-8"), re.M)):
        return title[1].replace(" ", "\N{NO-BREAK SPACE}")
    return None


def name_pages(app, doctree):
    """Give links to chapters and appendices their short names."""
    for link in doctree.findall(addnodes.pending_xref):
        if link.get("reftype") in ("doc", "myst") and not link.get("refexplicit"):
            name = short_name(Path(app.srcdir) / "book" / (Path(link["reftarget"]).stem + ".md"))
            if name is not None:
                link["refexplicit"] = True
                link.children = [nodes.inline("", name, classes=["xref", "std", "std-doc"])]


def letter_figures(app, env):
    """Number the figures of an appendix: Sphinx counts on from page to page, and "Figure 6" is one of the paper's."""
    for page, kinds in env.toc_fignumbers.items():
        if "figure" in kinds and (appendix := re.match(r"Appendix ([A-Z]):", env.titles[page].astext())):
            kinds["figure"] = {name: (appendix[1], at) for at, name in enumerate(kinds["figure"], 1)}
    return []


def setup(app):
    app.add_role("minutes", MinutesRole())
    app.connect("doctree-read", name_pages)
    app.connect("env-get-updated", letter_figures, priority=900)  # after Sphinx has numbered them
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
