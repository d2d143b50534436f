"""The package as a whole: pins that agree, light imports, public names with their text, a README that is true."""

import doctest
import importlib
import inspect
import pkgutil
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

import jacntk_book
import jacntk_lib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = (ROOT / "environment.yml").read_text()
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
TORCH = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.M).group(1)


def for_this_python(requirements):
    """name -> version of the pins whose marker holds here."""
    parsed = [Requirement(line) for line in requirements]
    here = [one for one in parsed if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): next(iter(one.specifier)).version for one in here}


def test_conda_takes_the_pins_of_the_lock_and_the_torch_of_the_makefile():
    assert [line.removesuffix(" \\") for line in LOCK.splitlines() if "==" in line] == PINS
    parts = yaml.safe_load(ENVIRONMENT)["dependencies"]
    assert {"-c constraints.txt", TORCH} <= set(parts[-1]["pip"])
    assert f"python={sys.version_info.major}.{sys.version_info.minor}" in parts or sys.version_info[:2] > (3, 11)


def test_every_pin_carries_hashes_and_no_file_names_a_registry():
    blocks = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2].strip())
    assert len(blocks) == len(PINS) > 100
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--index|--find-links", LOCK + ENVIRONMENT)


def test_the_lock_is_what_requirements_in_asks_for():
    asked = for_this_python(
        line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")
    )
    locked = for_this_python(PINS)
    assert {name: locked.get(name) for name in asked} == asked


def test_the_lock_serves_every_dependency_of_the_project():
    locked = for_this_python(PINS) | {"torch": TORCH.split("==")[1]}
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]:
        wanted = Requirement(line)
        assert canonicalize_name(wanted.name) in locked, line
        assert locked[canonicalize_name(wanted.name)] in wanted.specifier, line


def test_the_lock_holds_what_torch_needs_besides_itself_but_not_torch():
    locked = for_this_python(PINS)
    assert "torch" not in locked
    needs = [Requirement(line) for line in metadata.requires("torch")]
    needs = [one for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    device_builds = re.compile(r"nvidia-|cuda-|triton$")
    for one in needs:
        name = canonicalize_name(one.name)
        if not device_builds.match(name):
            assert locked[name] in one.specifier, one


def test_this_environment_has_the_locked_versions():
    locked = for_this_python(PINS)
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


def test_a_kernel_or_a_prediction_loads_only_what_it_computes_with():
    """A few points need no jax, which is half of the time of a first prediction; more do."""
    code = """
import sys
import numpy as np
import jacntk_lib

def there():
    print(*[name for name in ("jax", "torch", "sklearn", "diffrax", "matplotlib") if name in sys.modules], sep="+")

X = np.linspace(-1, 1, 40)[:, None]
jacntk_lib.jacobian_ntk(jacntk_lib.MLP(2, "gelu"), X[:5], X[:3]).dense()
there()
jacntk_lib.JacobianKernelRegressor(2, "gelu").fit(X[:5], X[:5, 0]).predict(X[:3], return_std=True)
there()
jacntk_lib.jacobian_ntk(jacntk_lib.MLP(2), X).dense()
there()
"""
    assert fresh_python(code) == ["sklearn", "jax+sklearn"]


def test_every_exported_name_is_there_and_documented():
    for name in jacntk_lib.__all__:
        exported = getattr(jacntk_lib, name)
        assert name in dir(jacntk_lib)
        assert name == "__version__" or len(exported.__doc__) > 40


def test_a_submodule_is_imported_when_first_used_and_a_wrong_name_is_told_what_there_is():
    assert fresh_python("import jacntk_lib; print(jacntk_lib.solve.__name__)") == ["jacntk_lib.solve"]
    with pytest.raises(AttributeError, match="has no attribute 'jacobain_ntk'; it exports MLP"):
        jacntk_lib.jacobain_ntk  # noqa: B018


def test_a_missing_dependency_is_not_reported_as_a_missing_attribute():
    code = (
        "import sys; sys.modules['torch'] = None; import jacntk_lib\n"
        "try: jacntk_lib.training\n"
        "except ModuleNotFoundError as error: print(error.name)"
    )
    assert fresh_python(code) == ["torch"]


def test_the_table_of_contents_lists_every_page_once():
    listed = re.findall(r"(?:root|file): book/(\S+)", (ROOT / "_toc.yml").read_text())
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "book").glob("*.md"))


KEPT = """
MLP jacobian_nngp jacobian_ntk JacobianGram RobustFlow JacobianKernelRegressor JacobianGaussianProcessRegressor
networks.FiniteMLP finite.jacobian_ntk finite.jacobian_nngp training.train training.max_learning_rate
dynamics.RobustFlow
spectrum.smallest_eigenvalue spectrum.extreme_eigenvalues robustness.attack robustness.accuracy_under_attack
activations.Activation
errors.SingularGramError errors.ConvergenceError errors.CorruptResultError
"""


@pytest.mark.parametrize("name", KEPT.split())
def test_a_name_in_use_elsewhere_is_where_it_was(name):
    module, _, last = f"jacntk_lib.{name}".rpartition(".")
    assert hasattr(importlib.import_module(module), last)


def test_every_public_name_is_documented():
    tops = jacntk_lib, jacntk_book
    found = {one.name for top in tops for one in pkgutil.iter_modules(top.__path__, f"{top.__name__}.")}
    packages = [importlib.import_module(name) for name in sorted(found - {"jacntk_book.__main__"})]
    public = {name: getattr(one, name) for one in packages for name in getattr(one, "__all__", ())}
    poor = [name for name, thing in public.items() if callable(thing) and len(inspect.getdoc(thing) or "") < 10]
    for name, thing in public.items():
        if inspect.isclass(thing):
            own = inspect.getdoc(thing)  # lists attributes and the properties that read them
            members = {n: m for n, m in vars(thing).items() if callable(m) or isinstance(m, property)}
            poor += [
                f"{name}.{n}"
                for n, m in members.items()
                if not (n.startswith("_") or m.__doc__ or re.search(rf"\b{n}\b", own))
            ]
    assert poor == []


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
