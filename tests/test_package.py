"""The package as a whole: pins that agree, light imports, public names with their text, a README that is true."""

import doctest
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from functools import partial
from importlib import metadata
from itertools import chain
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


def test_the_lock_has_hashes_no_registry_and_serves_conda_and_every_extra():
    blocks = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2].strip())
    assert [block.split(" \\")[0] for block in blocks] == PINS
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--index|--find-links", LOCK + ENVIRONMENT)
    assert {"-c constraints.txt", TORCH} <= set(yaml.safe_load(ENVIRONMENT)["dependencies"][-1]["pip"])
    locked = for_this_python(PINS)
    assert "torch" not in locked  # installed in a step of its own, see README
    asked = for_this_python(line for line in (ROOT / "requirements.in").read_text().splitlines() if "==" in line)
    assert {name: locked.get(name) for name in asked} == asked
    locked["torch"] = TORCH.split("==")[1]
    for wanted in map(Requirement, chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())):
        assert wanted.name == "jacntk" or wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_this_environment_has_the_locked_versions():
    locked = for_this_python(PINS)
    asked = [line for line in (ROOT / "requirements.in").read_text().splitlines() if "==" in line]
    here = {name: metadata.version(name) for name in for_this_python(asked)}
    assert here == {name: locked[name] for name in here}


def test_one_version_number():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "version" in PROJECT["dynamic"]
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


@pytest.mark.parametrize("module", ["networks", "finite", "training"])
def test_what_needs_torch_says_what_to_install(module):
    code = (
        "import sys; sys.modules['torch'] = None; import jacntk_lib\n"
        f"try: jacntk_lib.{module}\n"
        "except jacntk_lib.errors.MissingPackageError as error: print(error.name, error)"
    )
    assert " ".join(fresh_python(code)).endswith('torch, which is not installed: pip install "jacntk[finite]"')


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "matplotlib", "seaborn", "diffrax", "flint", "pandas", "jupyter"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The source distribution that the repository's files give, and the wheel of that, installed into a folder.

    Nothing is fetched: setuptools is here, and of what the wheel asks for nothing is installed.
    """
    folder = tmp_path_factory.mktemp("distributions")
    for name in tracked():
        (folder / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "repository" / name)
    code = "import sys; from setuptools import build_meta as b; print(b.build_sdist(sys.argv[1]))"
    run = partial(subprocess.run, check=True, capture_output=True, text=True)
    run([sys.executable, "-c", code, folder], cwd=folder / "repository")
    [sdist] = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    run([*pip, "--no-deps", "--no-build-isolation", "--target", folder / "installed", sdist], cwd=folder)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    return names, folder / "installed"


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("this is no git repository")
    return done.stdout.splitlines()


def test_the_source_distribution_is_the_repository(distributions):
    names = {name for name in distributions[0] if ".egg-info/" not in name} - {"PKG-INFO", "setup.cfg"}
    assert names == set(tracked())


def test_pip_install_alone_asks_for_seven_packages_and_runs_the_minute_of_the_readme(distributions):
    _, installed = distributions
    [about] = metadata.distributions(name="jacntk", path=[str(installed)])
    needed = {one.name for one in map(Requirement, about.requires) if one.marker is None}
    assert needed == {"numpy", "scipy", "scikit-learn", "jax", "jaxlib", "threadpoolctl", "tqdm"}
    readme = str(ROOT / "README.md")
    minute = f"""
import doctest, jacntk_lib
assert jacntk_lib.__file__.startswith(sys.argv[1]), jacntk_lib.__file__
failed, tried = doctest.testfile({readme!r}, module_relative=False)
sys.exit(failed > 0 or tried < 6)
"""
    done = in_it(installed, minute)
    assert done.returncode == 0, done.stdout + done.stderr


def in_it(installed, code):
    """Run ``code`` with the installed wheel, where all that extras bring is missing."""
    free = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", BLOCKED + code, str(installed)]
    return subprocess.run(command, cwd=installed, env=free, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["info"], 0, 'none for torch: finite networks and their training need torch.*: pip install "jacntk.finite."'),
        (["datasets"], 0, "breast_cancer"),
        (["figure", "6"], 1, 'figures need matplotlib, which is not installed: pip install "jacntk.book."'),
        (["figure", "1", "--device", "cuda"], 1, 'pip install "jacntk.book."'),
    ],
)
def test_the_command_without_extras_says_what_to_install(distributions, arguments, code, said):
    done = in_it(distributions[1], f"from jacntk_book.cli import main; sys.exit(main({arguments}))")
    assert done.returncode == code, done.stderr
    assert re.search(said, done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_where_an_index_shows_the_readme_no_link_is_broken(tmp_path):
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    assert setup.address() == ("", "main")
    text = "![A curve](a/b.png) and [LICENSE](LICENSE), [there](https://there.example), [below](#below)"
    kept = "[there](https://there.example), [below](#below)"
    assert setup.portable(text, "", "main") == f"A curve and LICENSE, {kept}"
    there = "https://code.example/x"
    assert setup.portable(text, there, "dev") == (
        f"![A curve]({there}/raw/dev/a/b.png) and [LICENSE]({there}/blob/dev/LICENSE), {kept}"
    )
    (tmp_path / "_config.yml").write_text(
        f"title: x\nrepository:\n  url: {there}  # ours\n  branch: dev\nhtml:\n  a: b\n"
    )
    setup.ROOT = tmp_path
    assert setup.address() == (there, "dev")


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
