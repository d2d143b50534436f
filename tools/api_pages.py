"""Write the pages of the API reference: book/api.md and one page a module in book/api/ (`make api`).

The text is the docstrings'; only the list of modules is written here. Modules come in the order of the import
contract in pyproject.toml, lowest floor last; those whose name begins with an underscore are left out. A package with
an ``__all__`` has one page for all its files.
"""

import argparse
import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

INTRODUCTION = """\
# API reference

Made from the docstrings: each name with its formula, shapes, errors and source.

**Stable** are the names that the package itself exports,

```python
from jacntk_lib import (
    {exports},
)
```

with their parameters and attributes, the command `jacntk` with its options and exit codes, the environment variable
`JACNTK_RESULTS_DIR`, and the files of results, which carry the number of their schema: a newer jacntk reads older
ones. What changes there is announced in the changelog, and warns for one minor version first.

**Public** are the functions and classes that the pages of the modules below show. They may change from one minor
version to the next, with a line in the changelog. Everything else is nobody's business but ours.

Numbers are not part of the promise to the last digit: a change of rounding, in this library or beneath it, is none of
meaning. Everything on the kernel side takes and returns float64 NumPy arrays; nothing changes jax's global
configuration.

| module | what it holds |
| --- | --- |
{rows}
"""

PAGE = """\
# {title}

```{{eval-rst}}
.. automodule:: {module}
   :members:{index}
```
"""


def floors(root):
    """Names of the modules in the order of the import contract, highest first."""
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    return [name for layer in contract["layers"] for name in re.findall(r"\w+", layer)]


def first_line(path):
    """The first line of a module's docstring, from reStructuredText to MyST Markdown."""
    line = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
    return re.sub(r":(\w+):`", r"{\1}`", line.replace("``", "`"))


def exports(root):
    tree = ast.parse((root / "jacntk_lib" / "__init__.py").read_text(encoding="utf-8"))
    values = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    return [name for name in values[0] if not name.startswith("_")]


def page(name):
    """An experiment re-exports what all experiments share: index that nowhere rather than many times."""
    return PAGE.format(title=name, module=f"jacntk_lib.{name}", index="\n   :no-index:" * ("." in name))


def pages(root):
    """Path below book/ -> text, of every page of the reference."""
    package = root / "jacntk_lib"
    files = {path.stem: path for path in package.glob("*.py")}
    files |= {path.parent.name: path for path in package.glob("*/__init__.py")}
    public = [name for name in floors(root) if name in files and not name.startswith("_")]
    found = {f"api/{name}.md": page(name) for name in public}
    for path in sorted(package.glob("*/*.py")):
        offered_by_the_package = "__all__" in path.with_name("__init__.py").read_text(encoding="utf-8")
        if not path.stem.startswith("_") and not offered_by_the_package:
            name = f"{path.parent.name}.{path.stem}"
            found[f"api/{name}.md"] = page(name)
            files[name] = path
    names = [path[4:-3] for path in found]
    rows = "\n".join(f"| {{doc}}`{name} <api/{name}>` | {first_line(files[name])} |" for name in names)
    found["api.md"] = INTRODUCTION.format(exports=",\n    ".join(exports(root)), rows=rows)
    return found


def stale(root):
    """Pages that are missing, differ or have no module any more."""
    book, wanted = root / "book", pages(root)
    there = {f"api/{path.name}" for path in (book / "api").glob("*.md")}
    changed = [
        name
        for name, text in wanted.items()
        if not (book / name).is_file() or (book / name).read_text(encoding="utf-8") != text
    ]
    return sorted(changed), sorted(there - wanted.keys())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what would change")
    options = parser.parse_args()
    changed, surplus = stale(ROOT)
    if options.check:
        if changed or surplus:
            sys.exit(f"API pages are stale ({', '.join(changed + surplus)}): run `make api`")
        return
    book, wanted = ROOT / "book", pages(ROOT)
    (book / "api").mkdir(exist_ok=True)
    for name in changed:
        (book / name).write_text(wanted[name], encoding="utf-8")
    for name in surplus:
        (book / name).unlink()
    print(f"{len(changed)} pages written, {len(surplus)} removed")


if __name__ == "__main__":
    main()
