"""The frame of the project: pins that agree, light imports, pages that are all there."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jacntk_lib

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import api_pages  # noqa: E402
import lock  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = (ROOT / "environment.yml").read_text()


def for_this_python(requirements):
    """name -> version of the pins whose marker holds here."""
    parsed = [Requirement(line) for line in requirements]
    here = [one for one in parsed if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): next(iter(one.specifier)).version for one in here}


def lock_lines():
    return [f"{name}=={version}" + f" ; {marker}" * bool(marker) for name, version, marker in lock.pins(LOCK)]


def test_environment_yml_has_the_pins_of_the_lock_and_the_torch_of_the_makefile():
    parts = yaml.safe_load(ENVIRONMENT)["dependencies"]
    from_pip = parts[-1]["pip"]
    assert from_pip == [*lock_lines(), lock.torch_default(), "-e ."]
    assert f"python={sys.version_info.major}.{sys.version_info.minor}" in parts or sys.version_info[:2] > (3, 11)


def test_every_pin_carries_hashes_and_no_file_names_a_registry():
    blocks = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2].strip())
    assert len(blocks) == len(lock_lines()) > 100
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--index|--find-links", LOCK + ENVIRONMENT)


def test_the_lock_is_what_requirements_in_asks_for():
    asked = for_this_python(
        line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")
    )
    locked = for_this_python(lock_lines())
    assert {name: locked.get(name) for name in asked} == asked


def test_the_lock_serves_every_dependency_of_the_project():
    locked = for_this_python(lock_lines()) | {"torch": lock.torch_default().split("==")[1]}
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]:
        wanted = Requirement(line)
        assert canonicalize_name(wanted.name) in locked, line
        assert locked[canonicalize_name(wanted.name)] in wanted.specifier, line


def test_the_lock_holds_what_torch_needs_besides_itself_but_not_torch():
    locked = for_this_python(lock_lines())
    assert "torch" not in locked
    needs = [Requirement(line) for line in metadata.requires("torch")]
    needs = [one for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    device_builds = re.compile(r"nvidia-|cuda-|triton$")
    for one in needs:
        name = canonicalize_name(one.name)
        if not device_builds.match(name):
            assert locked[name] in one.specifier, one


def test_this_environment_has_the_locked_versions():
    locked = for_this_python(lock_lines())
    asked = [line for line in (ROOT / "requirements.in").read_text().splitlines() if "==" in line]
    here = {name: metadata.version(name) for name in for_this_python(asked)}
    assert here == {name: locked[name] for name in here}


def test_one_version_number():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["dynamic"] == ["version"]
    assert citation["version"] == jacntk_lib.__version__
    assert f"({jacntk_lib.__version__})" in (ROOT / "CHANGELOG.md").read_text()


def fresh_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.split()


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("jax", "torch", "sklearn", "diffrax", "scipy", "matplotlib")
    code = f"import sys, jacntk_lib; print(*(name for name in {heavy} if name in sys.modules))"
    assert fresh_python(code) == []


def test_the_kernels_load_neither_torch_nor_scikit_learn_nor_diffrax():
    code = (
        "import sys; from jacntk_lib import MLP, jacobian_ntk; jacobian_ntk(MLP(2), [[1.0, 2.0]]).dense(); "
        "print(*(m for m in ('torch', 'sklearn', 'diffrax') if m in sys.modules))"
    )
    assert fresh_python(code) == []


def test_every_exported_name_is_there_and_documented():
    for name in jacntk_lib.__all__:
        exported = getattr(jacntk_lib, name)
        assert name in dir(jacntk_lib)
        assert name == "__version__" or len(exported.__doc__) > 40


def test_type_checkers_see_the_same_exports():
    tree = ast.parse(Path(jacntk_lib.__file__).read_text())
    (guard,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guard.body for alias in node.names}
    assert seen == set(jacntk_lib.__all__) - {"__version__"} == set(jacntk_lib._HOME)
    assert (ROOT / "jacntk_lib" / "py.typed").is_file()


def test_a_submodule_is_imported_when_first_used_and_a_wrong_name_is_told_what_there_is():
    assert fresh_python("import jacntk_lib; print(jacntk_lib.checks.check.__name__)") == ["check"]
    with pytest.raises(AttributeError, match="has no attribute 'jacobain_ntk'; it exports MLP"):
        jacntk_lib.jacobain_ntk  # noqa: B018


def test_a_missing_dependency_is_not_reported_as_a_missing_attribute():
    code = (
        "import sys; sys.modules['matplotlib'] = None; import jacntk_lib\n"
        "try: jacntk_lib.plotting\n"
        "except ModuleNotFoundError as error: print(error.name)"
    )
    assert fresh_python(code) == ["matplotlib"]


def toc_files():
    """Pages of the table of contents, globs expanded."""
    text = (ROOT / "_toc.yml").read_text()
    files = re.findall(r"(?:root|file): (\S+)", text)
    for pattern in re.findall(r"glob: (\S+)", text):
        files += [path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob(pattern + ".md")]
    return files


def test_the_table_of_contents_lists_every_page_once():
    listed = toc_files()
    tracked = subprocess.run(
        ["git", "ls-files", "book/*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(listed) == len(set(listed))
    assert {f"{name}.md" for name in listed} >= set(tracked)
    assert all((ROOT / f"{name}.md").is_file() for name in listed)


def test_the_api_reference_has_a_page_for_every_module():
    changed, surplus = api_pages.stale(ROOT)
    assert (changed, surplus) == ([], []), "run `make api`"


def public_names():
    """(module, name, object) of every public function and class of the library's modules and figures.

    They are what the API pages show: the names of ``__all__``, or where there is none all without an underscore.
    """
    for page in api_pages.pages(ROOT):
        if page == "api.md":
            continue
        module = page.removeprefix("api/").removesuffix(".md")
        loaded = importlib.import_module(f"jacntk_lib.{module}")
        for name in getattr(loaded, "__all__", [name for name in vars(loaded) if not name.startswith("_")]):
            thing = getattr(loaded, name)
            if callable(thing) and (hasattr(loaded, "__all__") or inspect.getmodule(thing) is loaded):
                yield loaded, name, thing


def examples_of(*modules):
    """The source lines of all doctests of some modules, those of their functions and methods included."""
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    return "\n".join(example.source for test in found for example in test.examples)


def handed_out(module):
    """Names of the classes that public functions and methods with an example return, by their annotations."""
    told, found = examples_of(module), set()
    for name, thing in vars(module).items():
        members = {name: thing} if inspect.isfunction(thing) else vars(thing) if inspect.isclass(thing) else {}
        for own, member in members.items():
            if inspect.isfunction(member) and not own.startswith("_") and re.search(rf"\b{own}\b", told):
                returned = member.__annotations__.get("return", "")
                found |= set(re.findall(r"\w+", getattr(returned, "__name__", "") + str(returned)))
    return found


# Every figure has these: the package's docstring works through all of them for one figure
UNIFORM = {"Config", "Cell", "cells", "seeds", "run_cell", "collect", "operations", "run", "summary", "plot"}


def test_every_public_name_is_documented():
    poor = [f"{m.__name__}.{name}" for m, name, thing in public_names() if len(inspect.getdoc(thing) or "") < 10]
    for module, name, thing in public_names():
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            own = inspect.getdoc(thing)  # lists attributes and the properties that read them
            members = {
                n: m for n, m in vars(thing).items() if not n.startswith("_") and (callable(m) or hasattr(m, "fget"))
            }
            poor += [f"{name}.{n}" for n, m in members.items() if not m.__doc__ and not re.search(rf"\b{n}\b", own)]
    assert poor == []


def test_every_public_name_has_an_example():
    """One that uses the name itself, or for a record one that makes it; doctest runs them all."""
    without = []
    for module, name, thing in public_names():
        home = inspect.getmodule(thing)  # of a name that is offered here and defined elsewhere
        known = (
            handed_out(module)
            | handed_out(home)
            | (UNIFORM if module.__package__ == "jacntk_lib.experiments" else set())
        )
        if name not in known and not re.search(rf"\b{name}\b", examples_of(module, home)):
            without.append(f"{module.__name__}.{name}")
    assert without == []


def test_the_package_of_the_figures_works_through_the_names_that_all_figures_have():
    told = examples_of(importlib.import_module("jacntk_lib.experiments"))
    made = UNIFORM - {"Cell"}  # which ``cells`` makes
    assert {name for name in made if not re.search(rf"\bfigure2\.{name}\b", told)} == set()


def test_the_citation_file_is_valid():
    """The keys and forms that the Citation File Format 1.2.0 demands."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    known = "message title abstract type version license authors keywords url repository-code date-released doi"
    assert set(citation) <= {"cff-version", "identifiers", "references", "preferred-citation", *known.split(" ")}
    assert citation["type"] in ("software", "dataset")
    for author in citation["authors"]:
        assert set(author) & {"name", "family-names"}
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all({"type", "value"} <= set(one) for one in reference.get("identifiers", []))
        assert reference["year"] == 2024


def test_the_example_of_the_readme_runs():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert failed == 0
    assert tried > 5


def test_the_readme_names_commands_and_files_that_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z-]+)\b(?! and)", " ".join(re.findall(r"`(make [^`]*)`", readme)))) <= targets
    for path in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (ROOT / path).is_file(), path
