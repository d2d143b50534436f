"""What pages need to read well on every screen.

- The narrow picture that ``jacntk_lib.book.narrow`` stores beside each figure stands on the page beside the wide one;
  book.css shows the narrow one below 600 pixels and the wide one above. The PDF has the wide ones.
- No line begins with the comma, or the like, that follows a formula.
"""

import hashlib
import json
import re
from base64 import b64decode
from pathlib import Path

from docutils import nodes

KEY = "narrow"  # as jacntk_lib.book.narrow.KEY
AFTER, BEFORE = re.compile(r"[^\s\w(]\S*"), re.compile(r"[(\[]$")  # what stays with a formula: ",", "-net", "("
LONGEST = 40  # characters of a formula that may not be parted from its comma; longer ones scroll on telephones


def narrow_pictures(notebook):
    """Name of the file of each wide picture -> (bytes of the narrow one, width on the page)."""
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            narrow = output.get("metadata", {}).get("image/png", {}).get(KEY)
            if narrow and "image/png" in output.get("data", {}):
                wide = hashlib.sha256(b64decode(output["data"]["image/png"])).hexdigest()
                found[f"{wide}.png"] = b64decode(narrow["png"]), narrow["width"]
    return found


def add_narrow_pictures(app, doctree):
    """After every picture that has a narrow one, put that one."""
    folder = Path(app.env.mystnb_config.output_folder)
    executed = folder / f"{app.env.docname}.ipynb"
    if not executed.is_file():
        return
    pictures = narrow_pictures(json.loads(executed.read_text(encoding="utf-8")))
    for wide in list(doctree.findall(nodes.image)):
        uri = Path(wide["uri"])
        if uri.name not in pictures:
            continue
        picture, width = pictures[uri.name]
        name = f"{hashlib.sha256(picture).hexdigest()}.png"
        (folder / name).write_bytes(picture)
        narrow = wide.deepcopy()
        narrow.update_basic_atts({"classes": ["narrow"]})
        narrow["ids"], narrow["uri"], narrow["width"] = [], uri.with_name(name).as_posix(), f"{width}px"
        narrow.attributes.pop("height", None)
        wide["classes"].append("wide")
        wide.parent.insert(wide.parent.index(wide) + 1, narrow)


def only_on_pages(app, doctree, docname):
    """Other formats have no style sheet to choose by."""
    if app.builder.format != "html":
        for picture in [one for one in doctree.findall(nodes.image) if "narrow" in one["classes"]]:
            picture.parent.remove(picture)


def keep_together(app, doctree, docname):
    """Browsers break lines between a formula and a comma after it: put both into an element that does not break."""
    if app.builder.format != "html":
        return
    for formula in [one for one in doctree.findall(nodes.math) if len(one.astext()) <= LONGEST]:
        line, at = formula.parent, formula.parent.index(formula)
        together = nodes.inline("", "", classes=["together"])
        line[at] = together
        together += formula
        for near, pattern, place in ((at + 1, AFTER.match, 1), (at - 1, BEFORE.search, 0)):
            text = line[near] if 0 <= near < len(line) else None
            if isinstance(text, nodes.Text) and (found := pattern(text)):
                line[near] = nodes.Text(text[: found.start()] + text[found.end() :])
                together.insert(place, nodes.Text(found[0]))
        if len(together) == 1:
            line[at] = formula


def setup(app):
    app.connect("doctree-read", add_narrow_pictures, priority=400)  # before Sphinx collects the pictures
    app.connect("doctree-resolved", only_on_pages)
    app.connect("doctree-resolved", keep_together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
