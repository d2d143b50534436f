"""What a Gram matrix asks of a process: float64 without jax's flag, few compilations, little memory."""

import pathlib
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import unit_points as points

from jacntk_lib import activations
from jacntk_lib.architecture import MLP
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.kernels import jacobian_nngp, jacobian_ntk
from jacntk_lib.kernels import recursion as kernels

# ---------------------------------------------------------------------------------------------- precision


def test_other_dtypes_are_promoted():
    X = np.array([[1, 0], [0, 1]])
    expected = jacobian_ntk(MLP(2), X.astype(float)).dense()
    for dtype in (np.int32, np.float32, np.uint8, bool):
        assert np.array_equal(jacobian_ntk(MLP(2), X.astype(dtype)).dense(), expected)
    assert np.array_equal(jacobian_ntk(MLP(2), X.tolist()).dense(), expected)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout


def test_float64_in_a_fresh_process_without_touching_the_flag():
    output = run_python(
        """
        import sys
        import numpy as np
        import jacntk_lib
        from jacntk_lib.kernels import jacobian_ntk
        from jacntk_lib.architecture import MLP
        import jax
        heavy = [name for name in ("torch", "sklearn", "diffrax") if name in sys.modules]
        G = jacobian_ntk(MLP(3, "gelu"), np.eye(3) * 0.9)
        print(heavy, jax.config.jax_enable_x64, G.dense().dtype, repr(G.dense()[0, 5]))
        """
    )
    expected = jacobian_ntk(MLP(3, "gelu"), np.eye(3) * 0.9).dense()[0, 5]
    assert output.strip() == f"[] False float64 {expected!r}"


def test_float64_inside_threads():
    X = points(40, 3)
    expected = jacobian_ntk(MLP(2, "gelu"), X).dense()
    results = [None] * 4

    def work(i):
        results[i] = jacobian_ntk(MLP(2, "gelu"), X).dense()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for result in results)
    assert jax.config.jax_enable_x64 is False
    assert jnp.ones(1).dtype == jnp.float32


def test_one_compilation_serves_every_shape_and_depth(monkeypatch):
    compiled = []

    def listen(event, duration, **_):
        if "backend_compile" in event:
            compiled.append(event)

    monkeypatch.setattr(kernels, "FEW", 0)
    X = points(90, 3)
    jacobian_ntk(MLP(2, "gelu"), X)
    jacobian_nngp(MLP(2, "gelu"), X)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for n, d, depth, sigma_b in ((1, 1, 1, 0.0), (7, 3, 5, 0.2), (90, 2, 11, 0.0)):
            jacobian_ntk(MLP(depth, "gelu", sigma_b=sigma_b), points(n, d))
            jacobian_nngp(MLP(depth, "gelu", sigma_w=1.1), points(n, d), points(2, d))
        assert compiled == []
        jacobian_ntk(MLP(2, activations.Activation.from_derivatives("t", activations.tanh_derivatives())), X[:2])
        assert compiled  # the listener does hear compilations
    finally:
        jax.monitoring.clear_event_listeners()


# of the process itself: getrusage's peak begins with that of the process which started it
own_peak = pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="no peak of a process's own memory here"
)


@own_peak
def test_memory_of_a_thousand_points_in_64_dimensions():
    """65,000 rows: 34 GB dense. The structured form has to stay under 1.5 GB, product included."""
    peak = run_python(
        """
        import re
        from pathlib import Path
        import numpy as np
        from jacntk_lib.kernels import jacobian_ntk
        from jacntk_lib.architecture import MLP
        X = np.random.default_rng(0).standard_normal((1000, 64)) / 8
        G = jacobian_ntk(MLP(3, "gelu"), X)
        v = np.ones(G.shape[0])
        assert np.isfinite(G @ v).all()
        print(re.search("VmHWM: *(.*) kB", Path("/proc/self/status").read_text().expandtabs())[1])
        """
    )
    assert int(peak) / 1024**2 < 1.5


# ------------------------------------------------------------------------------------------ little memory


@pytest.mark.parametrize("square", [True, False])
def test_scalars_that_do_not_fit_are_computed_again_and_nothing_changes(square):
    X, X2 = points(150, 3), None if square else points(70, 3, seed=1)
    mlp = MLP(2, "gelu", sigma_b=0.2)
    stored, small = jacobian_ntk(mlp, X, X2), jacobian_ntk(mlp, X, X2, memory=1000)
    if square:
        stored, small = stored.scaled(0.1), small.scaled(0.1)
    scale = np.abs(stored.dense()).max()
    V = np.random.default_rng(2).standard_normal((stored.shape[1], 2))
    W = np.random.default_rng(3).standard_normal((2, stored.shape[0]))
    for read in (lambda G: G.dense(), lambda G: G @ V, lambda G: W @ G, lambda G: G.values(), lambda G: G.k_BC):
        np.testing.assert_allclose(read(small), read(stored), atol=1e-12 * scale)
    if square:
        np.testing.assert_allclose(small.diagonal(), stored.diagonal(), atol=1e-12 * scale)
    assert not any(isinstance(held, np.ndarray) and held.size > 450 for held in vars(small._scalars).values())


@own_peak
def test_memory_of_a_product_whose_scalars_do_not_fit():
    peak = run_python(
        """
        import re
        from pathlib import Path
        import numpy as np
        from jacntk_lib.kernels import jacobian_ntk
        from jacntk_lib.architecture import MLP
        X = np.random.default_rng(0).standard_normal((4000, 3)) / 2
        status = lambda: Path("/proc/self/status").read_text().expandtabs()
        peak = lambda: int(re.search("VmHWM: *(.*) kB", status())[1]) / 1024
        small = jacobian_ntk(MLP(1), X[:100])
        small @ np.ones(400)
        before = peak()
        G = jacobian_ntk(MLP(1), X, memory=2**20)
        assert np.isfinite(G @ np.ones(16_000)).all()
        print(peak() - before)
        """
    )
    assert float(peak) < 400  # MiB; keeping the scalars takes 732


def test_the_spread_at_many_points_takes_no_matrix_of_them():
    flow = RobustFlow(MLP(2), points(3, 3), [1.0, -1.0, 0.5], 0.1)
    X = points(6000, 3, seed=1)
    tracemalloc.start()
    try:
        spread = flow.value_std(10.0, X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6  # bytes; one matrix of 6000 points takes 288e6
    np.testing.assert_allclose(spread[:5], flow.value_std(10.0, X[:5]), atol=1e-9)
