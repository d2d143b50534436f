"""Chapters are executed several at a time, ahead of Sphinx, which reads and would execute one after another.

What comes out goes into the cache that myst-nb looks into when the page is read. A chapter that fails is executed again
there, and its error reported in the usual way.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import create_nb_reader
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
AFRESH = multiprocessing.get_context("spawn")
MEMORY_PER_CHAPTER = 3 << 30  # bytes, more than any takes
QUIETLY = ["--Application.log_level=ERROR"]  # kernels warn of connections that other machines cannot reach


def at_once():
    """How many chapters run at a time: one per core, as far as the memory goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return max(1, min(cores, memory // MEMORY_PER_CHAPTER))


def execute(notebook, timeout, allow_errors):
    """Run a chapter in an empty folder, as ``run_in_temp`` in _config.yml has it, so that it holds in any other."""
    with TemporaryDirectory() as folder:
        return single_nb_execution(notebook, folder, timeout, allow_errors, extra_arguments=QUIETLY)


def execute_ahead(app, env, docnames):
    """Execute those of the pages to be read that hold code and are not in the cache."""
    settings = env.mystnb_config
    if settings.execution_mode != "cache":
        return
    cache, waiting = get_cache(settings.execution_cache_path), {}
    for path in map(Path, map(env.doc2path, docnames)):
        text = path.read_text(encoding="utf-8")
        if (reader := create_nb_reader(path, env.myst_config, settings, text)) is not None:
            notebook = reader.read(text)
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                waiting[path] = notebook
    workers = min(at_once(), len(waiting))
    if workers < 2:
        return

    LOGGER.info("executing %d chapters, %d at a time", len(waiting), workers)
    # each with one thread, so that those of several do not wait for each other
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}), ProcessPoolExecutor(workers, AFRESH) as pool:
        options = settings.execution_timeout, settings.execution_allow_errors
        running = {pool.submit(execute, notebook, *options): path for path, notebook in waiting.items()}
        try:
            for future in as_completed(running):
                path, done = running[future], future.result()
                if done.err is None:
                    bundle = CacheBundleIn(done.nb, str(path), data={"execution_seconds": done.time})
                    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
                LOGGER.info("%s: %.0f s%s", path.stem, done.time, "" if done.err is None else ", and it failed")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupt waits for the chapters that run, not for all
            raise


def setup(app):
    app.connect("env-before-read-docs", execute_ahead)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
