"""Lay out the code cells of the chapters with ruff, at a width that the page shows without scrolling.

    python tools/format_chapters.py          rewrites what needs it
    python tools/format_chapters.py --check  says what would be rewritten, and fails

Only the code inside cells is touched: jupytext's own ``--pipe`` would rewrite their metadata too.
"""

import pathlib
import re
import subprocess
import sys

BOOK = pathlib.Path(__file__).resolve().parent.parent / "book"
LINE_LENGTH = 84
# the opening fence; metadata as a YAML block or as option lines, each with the blank line after it; the code
CELL = re.compile(
    r"(?P<head>^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|(?:^:[^\n]*\n)+\n?)?)(?P<code>.*?)(?P<tail>^```$)",
    re.MULTILINE | re.DOTALL,
)


def formatted(code):
    if re.search(r"^\s*[%!]", code, re.MULTILINE):
        return code  # magics are not Python
    command = [sys.executable, "-m", "ruff", "format", "--line-length", str(LINE_LENGTH), "--stdin-filename", "cell.py", "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout


def main(check):
    stale = []
    for path in sorted(BOOK.glob("*.md")):
        text = path.read_text()
        new = CELL.sub(lambda cell: cell["head"] + formatted(cell["code"]) + cell["tail"], text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    if stale:
        print(("would lay out" if check else "laid out"), ", ".join(stale), "(make format)" if check else "")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
