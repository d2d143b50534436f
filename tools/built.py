"""A plugin of pytest: nbval compares what the built book put out with the stored notebooks, and executes nothing.

    python -m pytest -p tools.built book/notebooks

`make book` has executed every chapter. nbval asks a kernel for the outputs of a cell; here the kernel is one that plays
what stands in the book's cache of executed chapters. Which cells are compared, and how, stays with nbval.

`make notebooks` executes one chapter after another with as many threads as there are cores, the book several at a time
with one thread each. So no text that is equal in both depends on the number of threads.
"""

import nbformat
from nbval.plugin import IPyNbFile


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(root, wanted):
    """The code cells of the newest build that have the sources ``wanted``.

    Raises
    ------
    LookupError : the book is not built, or from other cells than these.
    """
    caches = sorted(root.glob("_build/.jupyter_cache-*"), key=lambda path: path.stat().st_mtime)
    for path in caches[-1].glob("executed/*/base.ipynb") if caches else ():
        cells = code_cells(nbformat.read(path, as_version=4))
        if [cell.source for cell in cells] == wanted:
            return cells
    raise LookupError("the built book is not of this notebook: run `make book`, and `make notebooks` after changes")


class Played:
    """What nbval asks of a kernel, answered from cells that were executed before, one after another."""

    def __init__(self, cells):
        self._cells, self._asked, self._messages = iter(cells), 0, iter(())

    def execute_cell_input(self, source, allow_stdin):
        """The next cell of that source: nbval leaves out what is not selected, or to be skipped."""
        cell = next(cell for cell in self._cells if cell.source == source)
        replies = [(output.output_type, output) for output in cell.outputs]
        self._messages = iter([*replies, ("status", {"execution_state": "idle"})])
        self._asked += 1
        return self._asked

    def get_message(self, stream, timeout):
        kind, content = next(self._messages)
        return {"msg_type": kind, "content": content, "parent_header": {"msg_id": self._asked}}

    def await_reply(self, message, timeout):
        """The reply is there: the cell ran when the book was built."""

    def await_idle(self, message, timeout):
        """Nothing runs."""

    def is_alive(self):
        return True

    def stop(self):
        """Nothing to stop."""


class BuiltNotebook(IPyNbFile):
    def setup(self):
        self.kernel = Played(executed(self.config.rootpath, [cell.source for cell in code_cells(self.nb)]))
        self.setup_sanitize_files()


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb":
        return BuiltNotebook.from_parent(parent, path=file_path)
