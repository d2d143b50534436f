"""Make book/notebooks/*.ipynb from the chapters, and check that the two have not drifted apart.

    python tools/notebooks.py write [CHAPTER ...]   execute the chapters: all, or those whose name begins so
    python tools/notebooks.py check                 compare the pairs without executing anything

A stored notebook is the chapter plus its text outputs: nbval compares them with what the built book put out
(tools/built.py). Pictures are stripped (nbval cannot compare them), and so is whatever differs from run to run: cell
ids, times, versions.
"""

import difflib
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat

BOOK = Path(__file__).resolve().parent.parent / "book"
PICTURES = ("image/png", "image/jpeg")


def chapters(book):
    """The pages of the book that hold code: name -> path of the MyST source."""
    return {
        path.stem: path
        for path in sorted(Path(book).glob("*.md"))
        if path.read_text(encoding="utf-8").startswith("---\njupytext:")
    }


def write(source, target):
    """Execute one chapter in an empty folder, so that no cell can lean on where it runs, and store what stays."""
    from nbclient import NotebookClient

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep: see the Makefile
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem}-{number:03d}"[-64:]
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            for kind in PICTURES:
                output.get("data", {}).pop(kind, None)
                output.get("metadata", {}).pop(kind, None)
    target.parent.mkdir(exist_ok=True)
    jupytext.write(notebook, target)


def differing_lines(chapter, notebook):
    """The lines that only one of the two has, marked - (chapter) and + (notebook)."""
    ours, theirs = (str(one).splitlines() for one in (chapter, notebook))
    lines = difflib.unified_diff(ours, theirs, "chapter", "notebook", n=0, lineterm="")
    return "\n".join(f"    {line}" for line in lines)


def drift(source, target):
    """What differs between a chapter and its stored notebook, as a list of sentences."""
    ours, theirs = jupytext.read(source).cells, nbformat.read(target, as_version=4).cells
    found = []
    if len(ours) != len(theirs):
        found.append(f"the chapter has {len(ours)} cells, the notebook {len(theirs)}")
    for number, (cell, other) in enumerate(zip(ours, theirs, strict=False)):
        for part in ("cell_type", "source", "metadata"):
            if cell[part] != other[part]:
                found.append(f"cell {number}: {part} differs\n{differing_lines(cell[part], other[part])}")
        if not found and cell.cell_type == "code" and cell.source.strip() and other.execution_count is None:
            found.append(f"cell {number} was never executed in the notebook")
        if any(kind in output.get("data", {}) for output in other.get("outputs", []) for kind in PICTURES):
            found.append(f"cell {number} of the notebook stores a picture")
    return found


def check(book):
    """Every complaint about the pairs under ``book``."""
    sources = chapters(book)
    notebooks = {path.stem: path for path in sorted((Path(book) / "notebooks").glob("*.ipynb"))}
    found = [f"{sources[name]} has no notebook" for name in sources if name not in notebooks]
    found += [f"{notebooks[name]} has no chapter" for name in notebooks if name not in sources]
    for name in sorted(sources.keys() & notebooks.keys()):
        found += [f"{sources[name]}: {complaint}" for complaint in drift(sources[name], notebooks[name])]
    return found


def main(action, *asked):
    sources = chapters(BOOK)
    if action == "check":
        if found := check(BOOK):
            sys.exit("\n".join([*found, f"{len(found)} problem(s): run `make notebooks` and commit what it writes"]))
        print(f"{len(sources)} chapters agree with their notebooks")
        return
    chosen = {name: path for name, path in sources.items() if name.startswith(asked or "")}
    if not chosen:
        sys.exit(f"no chapter begins with {' or '.join(asked)}: there are {', '.join(sources)}")
    for name, path in chosen.items():
        start = time.perf_counter()
        write(path, BOOK / "notebooks" / f"{name}.ipynb")
        print(f"{name}: executed in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["write"], ["check"]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
