"""What the API reference makes of docstrings, which are written to be read in a terminal.

- ``name : what it is`` is a description, where numpydoc expects a type, and what stands under Returns is prose;
- |x|^2 in running text is no macro;
- a package's one line and the members that a base class generates are left out.
"""

import re

SECTION = re.compile(r"(Parameters|Attributes|Raises|Warns)$")
MINUS = re.compile(r"(?<=e)-(?=\d)|(?<=[(])-(?=\w)|(?<== )-(?=\w)|(?<=[A-Z])-(?=\d)")  # 1e-6, f(-x), = -f, K-1
JOINED = "-\N{WORD JOINER}"
ENTRY = re.compile(r"(?P<name>[^\s:].*?) : (?P<text>.+)")


def describe_entries(app, what, name, obj, options, lines):
    """Read ``depth : number of hidden layers`` as name and description, and ``Returns`` as prose.

    numpydoc expects a type in either place, and would look it up as a name.
    """
    section, found = "", []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following.startswith("---"):
            section = line
        entry = ENTRY.fullmatch(line) if SECTION.match(section) else None
        if entry:
            found += [entry["name"], "    " + entry["text"]]
        elif section == "Returns" and line.startswith("---"):
            found += [line, ":"]  # an entry without name and type, so that the lines below describe it
        elif section == "Returns" and line != "Returns":
            found.append("    " + line)
        else:
            found.append(line)
    lines[:] = found


def escape_bars(app, what, name, obj, options, lines):
    """Docstrings are read in a terminal, too, and say |x|^2 there: reStructuredText reads bars as a macro.

    Bars are escaped in running text, and no line ends after a minus sign there; literals, formulas, examples and
    indented blocks after ``::`` stay.
    """
    block = None  # indentation of the line that opened a literal block
    example = False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and block is not None and indent <= block:
            block = None
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if block is None and not example:
            parts = re.split(r"(:\w+:`[^`]*`|``.*?``)", line)  # odd parts are roles and literals
            parts[::2] = [re.sub(r"(?<!\\)\|", r"\\|", MINUS.sub(JOINED, part)) for part in parts[::2]]
            lines[number] = "".join(parts)
            if line.rstrip().endswith("::") or line.lstrip().startswith((".. math::", ".. code-block::")):
                block = indent


def drop_one_line_of_a_package(app, what, name, obj, options, lines):
    """A package's line says in a terminal what its modules say at length, which stands above its members already."""
    if what == "module" and hasattr(obj, "__path__") and options.get("members") and sum(map(bool, lines)) == 1:
        lines.clear()


def skip_generated(app, what, name, obj, skip, options):
    """Leave out scikit-learn's ``set_*_request`` methods, and the fields that named tuples describe by number."""
    generated = re.fullmatch(r"set_\w+_request", name) or str(obj.__doc__).startswith("Alias for field number")
    return True if generated else None


def setup(app):
    # napoleon listens with priority 500
    app.connect("autodoc-process-docstring", describe_entries, priority=400)
    app.connect("autodoc-process-docstring", escape_bars, priority=600)
    app.connect("autodoc-process-docstring", drop_one_line_of_a_package)
    app.connect("autodoc-skip-member", skip_generated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
