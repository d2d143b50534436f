"""What pages need to read well on every screen.

- The narrow picture that ``jacntk_book.narrow`` stores beside each figure stands on the page beside the wide one;
  book.css shows the narrow one below 600 pixels and the wide one above. The PDF has the wide ones. Where panels that
  were side by side are one below the other, captions say "top" and "bottom" for "left" and "right".
- No line begins with the comma, or the like, that follows a formula, nor with the number of "Figure 4" or the sign of
  "95 %".
- Folded cells that show nothing are folded together with the folded cell after them: one "Show the code" for a run.
"""

import hashlib
import re
from base64 import b64decode

from docutils import nodes
from myst_nb.core.render import NbElementRenderer

KEY = "narrow"  # as jacntk_book.narrow.KEY
AFTER, BEFORE = re.compile(r"[^\s\w(]\S*"), re.compile(r"[(\[]$")  # what stays with a formula: ",", "-net", "("
SIDE = re.compile(r"\b(Left|Right)\b(?=[:,])|(?<=\()(left|right)\b")  # as captions say it
STACKED = {"left": "top", "right": "bottom", "Left": "Top", "Right": "Bottom"}
KINDS = "Appendix|Assumption|Definition|Exercise|Figures?|Lemma|Remark|Section|Theorem"
NUMBERED = re.compile(rf"\b({KINDS}) (?=[A-Z]?\d|[A-Z]\b)|(?<=\d) (?=%)")  # the space of "Figure 4", "95 %"
AS_WRITTEN = nodes.literal, nodes.FixedTextElement, nodes.math, nodes.raw, nodes.image
LONGEST = 40  # characters of a formula that may not be parted from its comma on telephones, where longer ones scroll


def with_narrow_picture(render_image):
    """MyST-NB's method, that also renders the narrow picture of an output."""

    def render(self, data):
        pictures = render_image(self, data)
        if stored := data.output_metadata.get(data.mime_type, {}).get(KEY):
            (wide,) = pictures
            content = b64decode(stored["png"])
            uri = self.write_file([f"{hashlib.sha256(content).hexdigest()}.png"], content, exists_ok=True)
            narrow = nodes.image(uri=uri, alt=wide.get("alt", ""), width=f"{stored['width']}px", classes=["narrow"])
            if stored["stacked"]:
                narrow["classes"].append("stacked")
                narrow["alt"] = SIDE.sub(lambda side: STACKED[side[0]], narrow["alt"])
            wide["classes"].append("wide")
            pictures.append(narrow)
        return pictures

    return render


def name_sides(app, doctree):
    """Let the caption of a figure whose panels are stacked in its narrow picture say so beside that picture."""
    for figure in doctree.findall(nodes.figure):
        if any("stacked" in image["classes"] for image in figure.findall(nodes.image)):
            for caption in figure.findall(nodes.caption):
                name_both_sides(caption)


def name_both_sides(caption):
    """Put "top" beside each "left" of a caption, and so on: book.css shows the word that is true."""
    for text in list(caption.findall(nodes.Text)):
        parts, end = [], 0
        for side in SIDE.finditer(text):
            parts += [nodes.Text(text[end : side.start()])]
            parts += [nodes.inline("", side[0], classes=["wide"])]
            parts += [nodes.inline("", STACKED[side[0]], classes=["narrow"])]
            end = side.end()
        text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def only_on_pages(app, doctree, docname):
    """Other formats have no style sheet to choose by."""
    if app.builder.format != "html":
        for one in [one for one in doctree.findall(nodes.Element) if "narrow" in one.get("classes", [])]:
            one.parent.remove(one)


def keep_together(app, doctree, docname):
    """Browsers break lines between a formula and a comma after it, and before numbers: bind both together."""
    if app.builder.format != "html":
        return
    for formula in list(doctree.findall(nodes.math)):
        line, at = formula.parent, formula.parent.index(formula)
        short = len(formula.astext()) <= LONGEST
        together = nodes.inline("", "", classes=["together" if short else "together-wide"])
        line[at] = together
        together += formula
        for near, pattern, place in ((at + 1, AFTER.match, 1), (at - 1, BEFORE.search, 0)):
            text = line[near] if 0 <= near < len(line) else None
            if isinstance(text, nodes.Text) and (found := pattern(text)):
                line[near] = nodes.Text(text[: found.start()] + text[found.end() :])
                together.insert(place, nodes.Text(found[0]))
        if len(together) == 1:
            line[at] = formula
    for line in doctree.findall(lambda node: isinstance(node, nodes.Element) and not isinstance(node, AS_WRITTEN)):
        for at, text in enumerate(line.children):
            if isinstance(text, nodes.Text) and NUMBERED.search(text):
                line[at] = nodes.Text(with_bound_numbers(text))
    for output in doctree.findall(nodes.raw):
        if output.astext().startswith("<table"):  # jacntk_book.tables
            output[:] = [nodes.Text(with_bound_numbers(output.astext()))]


def with_bound_numbers(text):
    return NUMBERED.sub(lambda found: f"{found[1] or ''}\N{NO-BREAK SPACE}", text)


def join_folded(app, doctree):
    """Put the code of a folded cell without output into the folded cell that follows at once."""
    folded = [one for one in doctree.findall(nodes.container) if one.get("hide_mode") == "input" and len(one)]
    for cell in folded:
        place = cell.parent.index(cell) + 1
        after = cell.parent[place] if place < len(cell.parent) else None
        if any(after is one for one in folded) and [part.get("nb_element") for part in cell] == ["cell_code_source"]:
            after[0][0:0] = cell[0].children
            cell.parent.remove(cell)


def setup(app):
    NbElementRenderer.render_image = with_narrow_picture(NbElementRenderer.render_image)
    app.connect("doctree-read", name_sides)
    app.connect("doctree-read", join_folded, priority=600)  # after the checks, which take cells away
    app.connect("doctree-resolved", only_on_pages)
    app.connect("doctree-resolved", keep_together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
