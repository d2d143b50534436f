"""The errors that `make mutants` puts into the library, tests/mutants/mutants.toml, still apply to it."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIST = tomllib.loads((ROOT / "tests" / "mutants" / "mutants.toml").read_text())


@pytest.mark.parametrize("mutant", LIST["mutant"], ids=lambda mutant: mutant["name"])
def test_an_error_applies_once_and_changes_the_code(mutant):
    text = (ROOT / mutant["file"]).read_text()
    assert text.count(mutant["original"]) == 1
    changed = text.replace(mutant["original"], mutant["mutated"])
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))


def test_every_error_has_tests_that_look_for_it():
    assert {mutant["module"] for mutant in LIST["mutant"]} == set(LIST["tests"])
    for tests in LIST["tests"].values():
        for path, _, name in (node.partition("::") for node in [*tests["first"], *tests["then"]]):
            assert not name or f"def {name}(" in (ROOT / path).read_text(), (path, name)
