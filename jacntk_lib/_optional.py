"""Packages that an extra of the installation brings: ``from jacntk_lib._optional import torch``.

What is missing is a :class:`~jacntk_lib.errors.MissingPackageError`, raised where it is first imported:

>>> from jacntk_lib import _optional
>>> _optional.__getattr__("nonesuch")
Traceback (most recent call last):
...
AttributeError: module 'jacntk_lib._optional' has no attribute 'nonesuch'
"""

import importlib

from .errors import MissingPackageError

_EXTRAS = {  # name to import: (name to install, extra, what needs it)
    "torch": ("torch", "finite", "finite networks and their training need"),
    "diffrax": ("diffrax", "ode", "the ODE solver that checks the closed form needs"),
    "flint": ("python-flint", "certificates", "certificates beyond float64 need"),
    "matplotlib": ("matplotlib", "book", "figures need"),
    "seaborn": ("seaborn", "book", "figures need"),
}


def remedy(name):
    """The command that installs the package of which ``name`` is imported."""
    return f'pip install "jacntk[{_EXTRAS[name][1]}]"'


def __getattr__(name):
    if name not in _EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # the package is there, something that it needs is not
            raise
        package, _, purpose = _EXTRAS[name]
        message = f"{purpose} {package}, which is not installed: {remedy(name)}"
        raise MissingPackageError(message, name=name) from None
