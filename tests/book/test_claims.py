"""The ledger, book/claims.toml: complete, in step with the chapters, and no check that accepts a broken variant."""

import ast
import copy
import inspect
import re
import sys
from pathlib import Path

import jupytext
import pytest

from jacntk_book.checks import CheckFailed, check

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
sys.path.insert(0, str(Path(__file__).parent))
import jacntk_site  # noqa: E402
from controls import before_training, figures, training  # noqa: E402
from controls.common import Control  # noqa: E402

LEDGER = jacntk_site.read_ledger(ROOT)
CONTROLS = {
    name: function
    for module in (before_training, training, figures)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if inspect.signature(function).return_annotation is Control
}
RESULTS = {path.stem for path in (ROOT / "book" / "results").glob("*.json")}
PLACES = """Section 2|Assumption 2.1|Assumption 2.2|Equation (1)|Theorem 3.1|Theorem 3.2|Remark E.1|Definition 4.1
Lemma 4.2|Theorem 4.3|Assumption 4.4|Theorem 4.5|Theorem 4.6|after Theorem 4.6|Appendix G|Appendix H|Appendix I.1
Appendix J.1|Appendix J.3|Appendix K|Appendix L|Figure 1|Figure 2|Figure 3|Figure 4|Figure 5|Figure 6
Figures B7, B8|Figures B9 to B13|Section 5, attack""".replace("\n", "|").split("|")


class Page:
    """What a chapter checks and which verdicts it hands over, read off its source.

    ``checks`` are pairs of section and name, with an ellipsis for what an f-string fills in.
    """

    def __init__(self, text):
        self.checks, self.verdicts, section = [], [], ""
        for cell in jupytext.reads(text, fmt="md:myst").cells:
            if cell.cell_type == "markdown":
                section = (re.findall(r"^#+ (.+)$", cell.source, re.M) or [section])[-1]
                continue
            for call in (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)):
                match call.func:
                    case ast.Name(id="check"):
                        self.checks.append((section, spelt(call.args[0])))
                    case ast.Name(id="verdict"):
                        self.verdicts.append(spelt(call.args[0]))

    def named(self, item):
        """The checks that an item of the ledger stands for: a name, all of a section, all of the page."""
        if item == "§":
            return set(self.checks)
        if item.startswith("§ "):
            return {one for one in self.checks if one[0] == item[2:]}
        return {one for one in self.checks if one[1] == item}


def spelt(node):
    """The name of a check as the ledger spells it."""
    match node:
        case ast.Constant(value=str(words)):
            return words.strip()
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts).strip()
        case _:
            return "…"


PAGES = {
    path.stem: Page(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "book").glob("*.md"))
    if path.read_text(encoding="utf-8").startswith("---\njupytext:")
}


def complaints(ledger, pages=PAGES, functions=CONTROLS, results=RESULTS):
    """Everything that is wrong with the ledger, as a list of sentences."""
    found, covered = [], {name: set() for name in pages}
    shown = [claim for claim in ledger["claims"] if claim["demonstrated"]]
    steps = [claim for claim in ledger["claims"] if not claim["demonstrated"]]
    found += [f"{claim['id']}: no reason is given" for claim in steps if not claim.get("reason")]
    for claim in shown:
        name, page = claim["id"], pages.get(claim["chapter"])
        if page is None:
            found.append(f"{name}: there is no chapter {claim['chapter']}")
            continue
        if not claim["checks"]:
            found.append(f"{name}: no check stands behind it")
        for item in claim["checks"]:
            if not page.named(item):
                found.append(f"{name}: {claim['chapter']} has no check {item!r}")
            covered[claim["chapter"]] |= page.named(item)
        if claim.get("control") not in functions:
            found.append(f"{name}: there is no control {claim.get('control')!r}")
        if not claim.get("broken"):
            found.append(f"{name}: what the control breaks is not said")
        if "verdict" in claim and claim["verdict"] not in page.verdicts:
            found.append(f"{name}: {claim['chapter']} hands over no {claim['verdict']}")
        found += [f"{name}: there is no result {one}" for one in claim["results"] if one not in results]
        found += [f"{name}: unknown badge {one!r}" for one in claim["how"] if one not in jacntk_site.BADGES]
    for name, items in ledger["groundwork"].items():
        if name not in pages:
            found.append(f"groundwork: there is no page {name}")
            continue
        for item in items:
            if not pages[name].named(item) - covered[name]:
                found.append(f"groundwork: {name} has no check {item!r} that is not in an entry already")
        for item in items:
            covered[name] |= pages[name].named(item)
    for name, page in pages.items():
        for section, words in dict.fromkeys(page.checks):
            if (section, words) not in covered[name]:
                found.append(f"{name}, {section}: the check {words!r} stands behind no entry")
        asked = {claim.get("verdict") for claim in shown if claim["chapter"] == name}
        found += [f"{name}: no entry asks for {one}" for one in page.verdicts if one not in asked | OWN_VERDICTS]
    return found


OWN_VERDICTS = {
    "verdict-scale",
    "verdict-your-own-data",
    "verdict-gradients",
}  # of chapters that are about no statement of the paper


def test_the_ledger_is_in_step_with_the_book():
    assert complaints(LEDGER) == []


def test_every_statement_and_figure_of_the_paper_has_an_entry():
    places = ", ".join(claim["place"] for claim in LEDGER["claims"])
    assert [place for place in PLACES if place not in places] == []
    for slip in LEDGER["slips"]:
        assert set(slip) == {"place", "printed", "ours"}


def broken_ledger(change):
    ledger = copy.deepcopy(LEDGER)
    change({claim["id"]: claim for claim in ledger["claims"]}, ledger)
    return ledger


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda by, _: by["theorem-3-1"].update(checks=[]), "no check stands behind it"),
        (lambda by, _: by["theorem-3-1"].update(checks=["of nothing"]), "has no check 'of nothing'"),
        (lambda by, _: by["lemma-4-2"].update(checks=["of nothing"]), "stands behind no entry"),
        (lambda by, _: by["theorem-3-1"].update(chapter="99-nowhere"), "there is no chapter 99-nowhere"),
        (lambda by, _: by["theorem-3-1"].update(verdict="verdict-of-nobody"), "hands over no verdict-of-nobody"),
        (lambda by, _: by["theorem-3-1"].pop("verdict"), "no entry asks for"),
        (lambda by, _: by["theorem-3-1"].pop("control"), "there is no control None"),
        (lambda by, _: by["theorem-3-1"].update(control="of_nothing"), "no control 'of_nothing'"),
        (lambda by, _: by["theorem-3-1"].update(broken=""), "what the control breaks is not said"),
        (lambda by, _: by["theorem-3-1"].update(results=["figure-0-paper"]), "there is no result figure-0-paper"),
        (lambda by, _: by["theorem-3-1"].update(how=["looks right"]), "unknown badge 'looks right'"),
        (lambda by, _: by["appendix-K"].pop("reason"), "no reason is given"),
        (lambda _, ledger: ledger["groundwork"].update({"12-scale": []}), "stands behind no entry"),
        (lambda _, ledger: ledger["groundwork"]["12-scale"].append("of nothing"), "that is not in an entry already"),
        (lambda _, ledger: ledger["groundwork"].update({"99-nowhere": []}), "there is no page 99-nowhere"),
    ],
)
def test_a_ledger_out_of_step_is_noticed(change, complaint):
    assert any(complaint in one for one in complaints(broken_ledger(change)))


def test_names_are_read_off_the_source_of_a_chapter():
    page = Page("# Title\n\n```{code-cell} ipython3\nfor k in range(2):\n    check(f'  width {k}: slope', k, 1)\n```\n")
    assert page.checks == [("Title", "width …: slope")]
    assert page.named("§ Title") == page.named("§") == page.named("width …: slope") == set(page.checks)
    assert page.named("§ Elsewhere") == page.named("width 1: slope") == set()


def decide(name, found):
    """Put both numbers of a control to ``check``: the right one has to pass, the broken one to be refused."""
    check(name, found.right, found.bound, at_least=found.at_least)
    with pytest.raises(CheckFailed):
        check(name, found.broken, found.bound, at_least=found.at_least)


@pytest.mark.parametrize("name", sorted({claim["control"] for claim in LEDGER["claims"] if "control" in claim}))
def test_the_check_holds_and_refuses_its_broken_variant(name):
    decide(name, CONTROLS[name]())


def test_a_control_that_passes_is_noticed():
    decide("in order", Control(right=0.5, broken=2.0, bound=1.0))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        decide("broken, and accepted", Control(right=0.5, broken=0.9, bound=1.0))
    with pytest.raises(CheckFailed):
        decide("right, and refused", Control(right=0.5, broken=2.0, bound=1.0, at_least=True))


def test_every_control_belongs_to_an_entry():
    assert set(CONTROLS) - {claim.get("control") for claim in LEDGER["claims"]} == set()
