"""Make book/notebooks/*.ipynb from the chapters, and check that the two have not drifted apart.

    python tools/notebooks.py write [CHAPTER ...]   execute the chapters (all, or those whose name begins so)
    python tools/notebooks.py prose [CHAPTER ...]   take over changed prose; refuse where code has changed
    python tools/notebooks.py check                 compare the pairs without executing anything

A stored notebook is the chapter plus its text outputs: nbval executes it again and compares them. Pictures are
stripped (nbval cannot compare them), and so is whatever differs from run to run: cell ids, times, versions.
"""

import argparse
import difflib
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ("image/png", "image/jpeg")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def chapters(book):
    """The pages of the book that hold code: name -> path of the MyST source."""
    return {
        path.stem: path
        for path in sorted(Path(book).glob("*.md"))
        if path.read_text(encoding="utf-8").startswith("---\njupytext:")
    }


def stored_form(notebook, stem):
    """``notebook`` without pictures and without whatever changes from one execution to the next."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{stem}-{number:03d}"[-64:]
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            for kind in PICTURES:
                output.get("data", {}).pop(kind, None)
                output.get("metadata", {}).pop(kind, None)
    return notebook


def write(source, target):
    """Execute one chapter in an empty folder, so that no cell can lean on where it runs."""
    from nbclient import NotebookClient

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep: see the Makefile
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute()
    target.parent.mkdir(exist_ok=True)
    nbformat.write(stored_form(notebook, source.stem), target)


def take_over_prose(source, target):
    """Bring the stored notebook's text cells up to date, without executing anything."""
    ours, stored = jupytext.read(source), nbformat.read(target, as_version=4)
    old, new = ([cell.source for cell in one.cells if cell.cell_type == "code"] for one in (stored, ours))
    if old != new:
        sys.exit(f"{source.name}: code has changed, so it must be executed: make notebooks CHAPTER={source.stem}")
    executed = iter([cell for cell in stored.cells if cell.cell_type == "code"])
    for cell in ours.cells:
        if cell.cell_type == "code":
            known = next(executed)
            cell["outputs"], cell["execution_count"] = known.outputs, known.execution_count
    nbformat.write(stored_form(ours, source.stem), target)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["write", "prose", "check"])
    parser.add_argument("chapter", nargs="*", help="names of chapters, or how they begin; default all")
    parser.add_argument("--book", type=Path, default=ROOT / "book", help="the folder of the chapters")
    options = parser.parse_args()
    if options.action == "check":
        found = check(options.book)
        print("\n".join(found), file=sys.stderr)
        if found:
            sys.exit(f"{len(found)} problem(s): run `make notebooks` and commit what it writes")
        print(f"{len(chapters(options.book))} chapters agree with their notebooks")
        return
    sources = chapters(options.book)
    asked = tuple(options.chapter)
    chosen = {name: path for name, path in sources.items() if name.startswith(asked) or not asked}
    if not chosen:
        sys.exit(f"no chapter begins with {' or '.join(asked)}: there are {', '.join(sources) or 'none'}")
    for name, path in chosen.items():
        target = options.book / "notebooks" / f"{name}.ipynb"
        if options.action == "prose":
            take_over_prose(path, target)
            continue
        start = time.perf_counter()
        write(path, target)
        print(f"{name}: executed in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
