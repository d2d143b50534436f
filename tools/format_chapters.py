"""Lay out the code cells of the chapters with ruff, at a width that the page shows without scrolling.

    python tools/format_chapters.py          rewrites what needs it
    python tools/format_chapters.py --check  says what would be rewritten, and fails

Only the code inside cells is touched: jupytext's own ``--pipe`` would rewrite their metadata too.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

BOOK = pathlib.Path(__file__).resolve().parent.parent / "book"
LINE_LENGTH = 84
# the opening fence; metadata as a YAML block or as option lines, each with the blank line after it; the code
CELL = re.compile(
    r"(?P<head>^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|(?:^:[^\n]*\n)+\n?)?)(?P<code>.*?)(?P<tail>^```$)",
    re.MULTILINE | re.DOTALL,
)


def formatted(cells):
    """What ruff makes of each of ``cells``; all in one call, which is what takes the time."""
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / f"cell_{number}.py" for number in range(len(cells))]
        for file, code in zip(files, cells, strict=True):
            file.write_text(code, encoding="utf-8")
        options = ["--quiet", "--isolated", "--line-length", str(LINE_LENGTH), folder]
        subprocess.run([sys.executable, "-m", "ruff", "format", *options], check=True)
        return [file.read_text(encoding="utf-8") for file in files]


def main(check):
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
    cells = {cell["code"] for text in texts.values() for cell in CELL.finditer(text)}
    python = sorted(code for code in cells if not re.search(r"^\s*[%!]", code, re.MULTILINE))  # magics stay
    laid_out = dict(zip(python, formatted(python), strict=True))
    stale = []
    for path, text in texts.items():
        new = CELL.sub(lambda cell: cell["head"] + laid_out.get(cell["code"], cell["code"]) + cell["tail"], text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale:
        print(("would lay out" if check else "laid out"), ", ".join(stale), "(make format)" if check else "")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
