"""What the book refers to exists: works, files of tests, and the code behind the symbols."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from sklearn.preprocessing import StandardScaler

import jacntk_lib
from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow, jacobian_ntk
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.training import train

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
CHAPTERS = {name: text for name, text in PAGES.items() if name[0].isdigit()}
NOTATION = PAGES["notation"]
CODE = re.compile(r"`([^`]+)`")


def test_every_work_is_cited_and_every_citation_is_of_a_work():
    keys = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.M)
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(PAGES.values()))
    assert len(keys) == len(set(keys))
    assert {key.strip() for one in cited for key in one.split(",")} == set(keys)


BOX = re.compile(r"^:::\{prf:\w+\} (.+)\n(?:.*\n)*?:::\n\n*(.*)$", re.M)
CODE_AND_TESTS = re.compile(r"Code: .*`.+` · Tests: (`tests/[\w/]+\.py`(?:, `tests/[\w/]+\.py`)*)")


@pytest.mark.parametrize("name", CHAPTERS)
def test_code_and_tests_are_named_under_every_box(name):
    """Sphinx resolves the names of the code, and fails where there is none."""
    text = CHAPTERS[name]
    boxes = BOX.findall(text)
    assert len(boxes) == len(re.findall(r"\{prf:(?!ref)\w+\}", text)), "boxes are fenced by three colons"
    assert [title for title, line in boxes if not CODE_AND_TESTS.fullmatch(line)] == []
    named = [file for files in CODE_AND_TESTS.findall(text) for file in CODE.findall(files)]
    assert named, "chapters without a box have such a line too"
    assert {file for file in named if not (ROOT / file).is_file()} == set()


# -- the tables of the notation ------------------------------------------------------------------------------


def table_rows(title):
    """The rows of the tables of one section, as lists of cells."""
    section = re.split(rf"^## {title}$", NOTATION, flags=re.M)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("- ")][1:]


def code_of(chapter):
    """The code cells of a chapter, whose number begins its name."""
    (text,) = (text for name, text in CHAPTERS.items() if name.startswith(chapter))
    return "\n".join(re.findall(r"```\{code-cell\}.*?\n```", text, re.S))


@pytest.fixture(scope="module")
def known():
    """Every module of the library, what the package exports, and small objects under the names that the tables use."""
    names = [one.name for one in pkgutil.walk_packages(jacntk_lib.__path__, "jacntk_lib.") if "._" not in one.name]
    found = {name.rpartition(".")[2]: importlib.import_module(name) for name in sorted(names, key=len, reverse=True)}
    found |= {name: getattr(jacntk_lib, name) for name in jacntk_lib.__all__}
    X, y, mlp = np.eye(2), np.array([1.0, -1.0]), MLP(depth=1)
    net = FiniteMLP(mlp, 4, 2)
    found |= {"mlp": mlp, "net": net, "G": jacobian_ntk(mlp, X), "flow": RobustFlow(mlp, X, y)}
    found |= {"history": train(net, X, y, 0.1, 0.1, 1), "model": JacobianKernelRegressor()}
    found |= {"FiniteMLP": FiniteMLP, "Activation": found["activations"].Activation}
    return found | {"np": np, "scipy": scipy, "scaler": StandardScaler().fit(X)}


@pytest.fixture(scope="module")
def arguments(known):
    """Names of the arguments of the library's functions, classes and methods."""
    things = [thing for one in known.values() if inspect.ismodule(one) for thing in vars(one).values()]
    things += [member for one in things if inspect.isclass(one) for member in vars(one).values()]
    ours = [one for one in things if inspect.isfunction(one) and one.__module__.startswith("jacntk_lib")]
    return {name for one in ours for name in inspect.signature(one).parameters}


def resolve(node, known, words):
    """What an expression of the tables is about, an object or ``None`` for a mere word; LookupError without any."""
    match node:
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id=name) if name in words:
            return None
        case ast.Attribute(value=value, attr=name):
            whole = resolve(value, known, words)
            if hasattr(whole, name):
                return getattr(whole, name)
        case ast.Subscript(value=inner) | ast.BinOp(left=inner):
            return resolve(inner, known, words)
        case ast.Call(func=func, args=args, keywords=named):
            called = resolve(func, known, words)
            inspect.signature(called).bind_partial(*args, **{one.arg: one for one in named})
            return called
    raise LookupError(ast.unparse(node))


def unknown(cell, known, arguments, scope=""):
    """Pieces of code in a cell that stand for nothing: no object, no argument, no word of the code in ``scope``."""
    pieces = [piece for piece in CODE.findall(cell) if not piece.startswith("(")]  # which is a shape
    scope += "".join(inspect.getsource(known[one]) for one in pieces if inspect.ismodule(known.get(one)))
    words = arguments | set(re.findall(r"\w+", scope))
    lost = []
    for piece in pieces:
        call = ast.parse(f"f({piece.replace(', ...', '')})", mode="eval").body  # so that name=value may stand alone
        lost += [piece for one in call.keywords if one.arg not in arguments]
        for node in call.args:
            try:
                resolve(node, known, words)
            except (LookupError, TypeError):
                lost.append(piece)
    return lost


@pytest.mark.parametrize("title", ["The network", "The kernels", "Training"])
def test_symbols_have_their_names_in_the_code(title, known, arguments):
    rows = table_rows(title)
    assert len(rows) >= 10
    assert {symbol: lost for symbol, _, code in rows if (lost := unknown(code, known, arguments))} == {}


def test_symbols_of_one_chapter_have_their_names_in_its_code(known, arguments):
    rows = table_rows("Within one chapter")
    assert len(rows) >= 10
    lost = {}
    for chapter, symbol, _, code in rows:
        scope = code_of(re.search(r"`(\d\d) <", chapter).group(1))
        lost |= {(chapter, symbol): found} if (found := unknown(code, known, arguments, scope)) else {}
    assert lost == {}


@pytest.mark.parametrize(
    "wrong", ["G.k_D", "jacobian_ntk(mlp, X, X2, X3)", "MLP(breadth=L)", "solve.guess", "wobble=1", "wobble"]
)
def test_a_name_without_code_is_found(wrong, known, arguments):
    assert unknown(f"`{wrong}`, shape `(N, d)`", known, arguments) == [wrong]


def test_the_way_from_theorem_to_test_ends_at_tests():
    rows = table_rows("From theorem to test")
    assert len(rows) >= 8
    for row in rows:
        assert CODE.findall(row[-1]), row
        assert all((ROOT / "tests" / f"{name}.py").is_file() for name in CODE.findall(row[-1])), row
