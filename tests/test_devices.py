"""Products on jax devices, rows of points divided among them: the same numbers as NumPy's."""

import math
import pickle
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow, jacobian_nngp, jacobian_ntk
from jacntk_lib.solve import Exact, Iterative

rng = np.random.default_rng(0)
X, Z, y = rng.standard_normal((10, 3)), rng.standard_normal((7, 3)), rng.standard_normal((10, 2))

KERNELS = {
    "symmetric": jacobian_ntk(MLP(3), X),
    "between two sets": jacobian_nngp(MLP(2, "gelu"), X, Z),
    "scaled by point": jacobian_ntk(MLP(3), X).scaled(rng.random(10)),
    "scaled between two sets": jacobian_ntk(MLP(1, sigma_b=0.5), Z, X).scaled(0.1),
}

FOUR = """
    import jax, numpy as np
    from jacntk_lib import MLP, RobustFlow, jacobian_ntk
    from jacntk_lib.solve import Iterative
    from numpy.testing import assert_allclose
    rng = np.random.default_rng(0)
    X, v = rng.standard_normal((10, 3)), rng.standard_normal((40, 2))  # 10 rows of points: 3 + 3 + 3 + 1
    G = jacobian_ntk(MLP(3), X)
    placed = G.on()
    parts = placed._scalars._jet.k.addressable_shards
    assert sorted(part.data.shape for part in parts) == [(3, 10)] * 4, parts
    assert len({part.device for part in parts}) == 4
    assert_allclose(placed @ v, G @ v, rtol=0, atol=1e-11)
    assert_allclose(G.on(jax.devices()[1:3]) @ v, G @ v, rtol=0, atol=1e-11)
    exact = RobustFlow(MLP(3), X, v[:10], ridge=1e-3, solver="exact")
    shared = RobustFlow(MLP(3), X, v[:10], ridge=1e-3, solver=Iterative(1e-9, devices="cpu"))
    for t in (1e3, float("inf")):
        for one, other in zip(exact.at(t, X[:2] + 0.1), shared.at(t, X[:2] + 0.1)):
            assert_allclose(other, one, rtol=0, atol=1e-7)
    print(jax.config.jax_enable_x64, "four devices agree")
"""


@pytest.mark.parametrize("case", KERNELS)
def test_products(case):
    G = KERNELS[case]
    placed = G.on("cpu")
    v, w = rng.standard_normal((G.shape[1], 3)), rng.standard_normal((2, G.shape[0]))
    assert_allclose(placed @ v, G @ v, rtol=0, atol=1e-11)
    assert_allclose(placed @ v[:, 0], G @ v[:, 0], rtol=0, atol=1e-11)
    assert_allclose(w @ placed, w @ G, rtol=0, atol=1e-11)
    assert type(placed @ v) is np.ndarray
    assert (placed @ v).dtype == np.float64
    assert placed.source == G.source


def test_everything_else_is_as_before():
    G = KERNELS["symmetric"]
    placed = G.on(jax.devices()[0])
    assert np.array_equal(placed.dense(), G.dense())
    assert np.array_equal(placed.diagonal(), G.diagonal())
    assert np.array_equal(placed.k_AC, G.k_AC)
    assert np.array_equal(placed.on("cpu").values(), G.values())
    v = rng.standard_normal(G.shape[1])
    assert_allclose(placed.scaled(0.1) @ v, G.scaled(0.1) @ v, rtol=0, atol=1e-11)
    assert_allclose(pickle.loads(pickle.dumps(placed)) @ v, placed @ v, rtol=0, atol=1e-11)


def test_four_devices_in_a_process_of_their_own():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FOUR)],
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False four devices agree"


def test_solves_and_flows():
    G = KERNELS["symmetric"].scaled(0.1)
    b = rng.standard_normal((G.shape[0], 2))
    expected = np.linalg.solve(G.dense() + 1e-2 * np.eye(len(b)), b)
    assert_allclose(Iterative(1e-12).solve(G.on("cpu"), b, ridge=1e-2)[0], expected, rtol=0, atol=1e-8)
    wide = rng.standard_normal((5, 12))  # the span is taken out, and the scalars stay where they are
    for points, targets in ((X, y), (wide, y[:5])):
        for t in (0.0, 1e4, math.inf):
            exact, placed = (
                RobustFlow(MLP(2), points, targets, ridge=1e-3, solver=solver).at(t)
                for solver in (Exact(), Iterative(devices="cpu"))
            )
            assert_allclose(placed.value, exact.value, rtol=0, atol=1e-6)
            assert_allclose(placed.jacobian, exact.jacobian, rtol=0, atol=1e-6)


def test_regressor():
    one, other = (
        JacobianKernelRegressor(ridge=1e-3, solver=Iterative(devices=devices)).fit(X, y) for devices in (None, "cpu")
    )
    assert_allclose(pickle.loads(pickle.dumps(other)).predict(Z), one.predict(Z), rtol=0, atol=1e-7)
