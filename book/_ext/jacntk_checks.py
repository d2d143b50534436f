"""What ``check(...)`` prints, folded: a green line per section, "7 checks passed", that opens to show them.

A cell that prints nothing but checks and is tagged ``hide-input`` is folded with its code. One that is tagged ``claim``
stays in its place: its line shows the claim and its numbers, and opens to show the code. A check that fails stops the
build before any of this.
"""

import html
import re

from docutils import nodes

LINE = re.compile(r"CHECK (?P<name>.+): (?:(?P<value>\S+) \((?P<sign><=|>=) (?P<bound>\S+)\)|< (?P<below>\S+)) ok")


def in_words(line):
    """A printed check as a reader meets it.

    >>> in_words("CHECK share inside: 0.946 (>= 0.92) ok"), in_words("CHECK two routes, largest difference: < 1e-12 ok")
    ('share inside: 0.946 (at least 0.92)', 'two routes, largest difference: below 1e-12')
    >>> in_words("CHECK distance: 0.0331 (<= 0.0515451) ok")
    'distance: 0.0331 (at most 0.0515)'
    """
    found = LINE.fullmatch(line)
    if found["below"]:
        return f"{found['name']}: below {found['below']}"
    bound = found["bound"] if len(found["bound"]) < 7 else f"{float(found['bound']):.3g}"
    return f"{found['name']}: {found['value']} (at {'least' if found['sign'] == '>=' else 'most'} {bound})"


def taken_out(cell):
    """The checks that a cell has printed, as printed, taken out of its output; and whether it showed anything else."""
    lines, others = [], False
    for output in [node for node in cell if node.get("nb_element") == "cell_code_output"]:
        for shown in list(output):
            if not (isinstance(shown, nodes.literal_block) and "stream" in shown["classes"]):
                others = True
                continue
            printed = shown.astext().splitlines()
            lines += [line for line in printed if LINE.fullmatch(line)]
            rest = "\n".join(line for line in printed if not LINE.fullmatch(line)).strip("\n")
            if rest:
                others = True
                shown.children = [nodes.Text(rest)]
                shown.rawsource = rest
            else:
                output.remove(shown)
        if not len(output):
            cell.remove(output)
    return lines, others


def unbroken(words):
    """Words as HTML, in which no line ends within a number.

    >>> unbroken("a < b: below 1e-12")
    'a &lt; b: below <span class="together">1e-12</span>'
    """
    return re.sub(r"\d\S*e-\d+", r'<span class="together">\g<0></span>', html.escape(words))


def folded(summary, lines, code=(), classes="checks"):
    """The nodes of one line that opens: code, and what it checked."""
    listed = "".join(f"<li>{unbroken(in_words(line))}</li>" for line in lines)
    start = f'<details class="{classes}"><summary>{unbroken(summary)}</summary>'
    return [
        nodes.raw("", start, format="html"),
        *code,
        nodes.raw("", f"<ul>{listed}</ul></details>", format="html"),
    ]


def fold_checks(app, doctree):
    """Replace the checks of a page by their lines, section by section."""
    cells = [node for node in doctree.findall(nodes.container) if node.get("nb_element") == "cell_code"]
    sections = {}  # id of the section, or of the box, that holds the cells -> (it, printed lines, code, last cell)
    for cell in cells:
        lines, others = taken_out(cell)
        if not lines:
            continue
        parent, tags = cell.parent, cell["classes"]
        code = [node for node in cell if node.get("nb_element") == "cell_code_source"]
        if "tag_claim" in tags:
            for node in code:
                cell.remove(node)
            at = parent.index(cell) + 1
            parent[at:at] = folded("; ".join(map(in_words, lines)), lines, code, "checks claim")
            continue
        _, found, hidden, _ = sections.get(id(parent), (parent, [], [], cell))
        if "tag_hide-input" in tags and not others:
            for node in code:
                cell.remove(node)
            hidden += code
        sections[id(parent)] = parent, found + lines, hidden, cell
    for parent, lines, code, last in sections.values():
        count = f"{len(lines)} checks passed" if len(lines) > 1 else "1 check passed"
        at = parent.index(last) + 1
        parent[at:at] = folded(count, lines, code)
    for cell in cells:
        if not len(cell):
            cell.parent.remove(cell)


def setup(app):
    app.connect("doctree-read", fold_checks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
