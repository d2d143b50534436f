"""What `jacntk info` says: the versions, the machine, the caches and the results that this installation works with."""

import os
import textwrap

from jacntk_lib.errors import CorruptResultError, MissingPackageError

from .. import results
from ..results import provenance

COMPILED = "JAX_COMPILATION_CACHE_DIR"


def report(version, gpu):
    """The lines, from the general to the particular; nothing is written."""
    return [*_library(version), *_machine(gpu), *_results()]


def _library(version):
    source = provenance.source()
    edited = {True: ", library edited since", False: "", None: ""}[source["dirty"]]
    return [
        f"jacntk {version}, library {source['library_sha256'][:12]}, commit {source['commit'] or 'unknown'}{edited}",
        ", ".join(f"{name} {number}" for name, number in provenance.versions().items()),
    ]


def _machine(gpu):
    import jax

    machine = provenance.hardware(gpu)
    memory = f", {machine['memory_gb']:.0f} GB" if machine["memory_gb"] else ""
    given = os.environ.get("OMP_NUM_THREADS", "not set")
    kept = jax.config.jax_compilation_cache_dir
    return [
        f"{machine['cpu']}, {machine['cores']} cores{memory}, GPU: {gpu or 'none that torch can use'}",
        f"threads: {_threads_of_torch()} (OMP_NUM_THREADS {given}); kernels by jax on {jax.default_backend()}",
        "compiled kernels: " + (f"kept in {kept}" if kept else f"in memory alone; {COMPILED} names a folder"),
    ]


def _threads_of_torch():
    try:
        from jacntk_lib._optional import torch
    except MissingPackageError as error:
        return f"none for torch: {error}"
    return f"{torch.get_num_threads()} for torch"


def _results():
    folder = results.folder()
    if folder.is_file():
        return [f"results: none, {folder} is a file; set {results.FOLDER_VARIABLE} to a folder, or unset it"]
    names = results.stored(folder)
    lines = [f"results in {folder}:" + ("" if names else " none")]
    for name in names:
        try:
            lines.append(textwrap.indent(results.load(name, folder).describe(), "  "))
        except CorruptResultError as error:
            lines.append(f"  {name}: unusable. {error}")
        except OSError as error:
            lines.append(f"  {name}: cannot be read ({error.strerror}); change its permissions")
    return lines
