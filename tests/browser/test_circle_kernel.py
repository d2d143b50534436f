"""What the circle's JavaScript computes, in Chromium, beside the library."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from jacntk_lib import MLP, RobustFlow, jacobian_nngp, jacobian_ntk

pytestmark = pytest.mark.browser

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
EIGHT = [0, 50, 80, 130, 185, 222, 275, 320], [1, 1, -1, -1, 1, -1, -1, 1]
THREE = [10, 110, 250], [1, -1, 0.5]
AROUND = list(range(0, 360, 15))
NETWORKS = [(activation, depth) for activation in ("erf", "gelu") for depth in range(1, 7)]


def frame(degrees):
    """Points of the circle and the unit tangents there, those of opposite angles being exactly opposite."""
    degrees = np.asarray(degrees)
    sign, angle = np.where(degrees >= 180, -1.0, 1.0)[:, None], np.radians(degrees % 180)
    return (sign * np.stack(pair, axis=1) for pair in ((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))


def in_frame(degrees):
    """(points, 3, 3): from value, radial and tangential derivative to the library's rows."""
    maps = np.zeros((len(degrees), 3, 3))
    maps[:, 0, 0] = 1
    maps[:, 1:, 1], maps[:, 1:, 2] = frame(degrees)
    return maps


@pytest.fixture(scope="module")
def kernel(browser):
    """``kernel(code, argument)``: what a JavaScript function of K = circleKernel and the argument returns."""
    page = browser.new_page()
    page.add_script_tag(path=STATIC / "circle-kernel.js")
    # numbers travel as text, in which infinity has no name of its own
    wrapper = """([code, argument]) => JSON.stringify(
        eval(code)(circleKernel, JSON.parse(argument, (_, one) => one === 'inf' ? Infinity : one)),
        (_, one) => one === Infinity ? 'inf' : ArrayBuffer.isView(one) ? [...one] : one)"""

    def call(code, argument):
        return json.loads(page.evaluate(wrapper, [code, json.dumps(argument)]))

    yield call
    page.close()


@pytest.mark.parametrize(("activation", "depth"), NETWORKS)
def test_the_eight_scalars_are_the_librarys_for_every_pair(kernel, activation, depth):
    X = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-0.6, -0.8], [1e-3, 2.0], [0.6, 0.8 + 1e-9]])
    pairs = [[x @ x, y @ y, x @ y] for x in X for y in X]
    found = kernel(
        f"(K, pairs) => pairs.map(pair => K.jets('{activation}', {depth}, ...pair))",
        pairs,
    )
    for kind, gram in (("sigma", jacobian_nngp), ("theta", jacobian_ntk)):
        G = gram(MLP(depth, activation), X, X)
        for field, expected in zip(("k", "A", "B", "C", "AB", "AC", "BC", "CC"), G.scalars(), strict=True):
            ours = np.reshape([one[kind][field] for one in found], expected.shape)
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(), err_msg=field)


@pytest.mark.parametrize(("activation", "depth"), NETWORKS)
def test_blocks_are_the_librarys_in_the_frames_of_their_points(kernel, activation, depth):
    """Every difference of angles, 0 and 180 degrees among them, wherever the pair lies."""
    degrees = np.arange(360)
    found = kernel(f"(K, _) => K.table('{activation}', {depth})", None)
    for start in (0, 77):
        rows = (start + degrees) % 360
        x, y = next(frame(rows)), next(frame([start]))
        for kind, gram in (("sigma", jacobian_nngp), ("theta", jacobian_ntk)):
            blocks = gram(MLP(depth, activation), x, y).blocks()[:, :, 0]
            turned = np.einsum("nau,nab,bv->nuv", in_frame(rows), blocks, in_frame([start])[0])
            scale = np.abs(turned).max()
            np.testing.assert_allclose(np.reshape(found[kind], (360, 3, 3)), turned, atol=1e-13 * scale, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 24, 90])
def test_eigenvectors_of_symmetric_matrices(kernel, n):
    rng = np.random.default_rng(n)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    w = np.repeat(rng.standard_normal(-(-n // 2)), 2)[:n]  # of both signs, every one twice
    S = (Q * w) @ Q.T
    S = (S + S.T) / 2
    found = kernel(f"(K, S) => K.eigen(Float64Array.from(S), {n})", S.ravel().tolist())
    V = np.reshape(found["V"], (n, n))
    np.testing.assert_allclose(found["w"], np.sort(w)[::-1], atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(n), atol=1e-13)
    np.testing.assert_allclose((V * found["w"]) @ V.T, S, atol=1e-13)


SOLVE = """(K, cases) => cases.map(({ around, labels, time, ...problem }) => {
    const system = K.spectrum(problem), network = K.predictor(system, labels, time), spread = K.spread(system, time);
    return { rows: around.map(network), spread: around.map(spread), w: system.eigenvalues,
             constants: system.timeConstants };
})"""


def case(activation, depth, lam, time, angles, labels):
    time = "inf" if time == math.inf else time
    return {
        "activation": activation, "depth": depth, "lambda": lam, "time": time,
        "angles": list(angles), "labels": list(labels), "around": AROUND,
    }  # fmt: skip


def assert_equal_to_the_library(kernel, cases, kappa=0.7, labels=None):
    """Values and derivatives around the circle, and the variance over initialisations, to 1e-10.

    ``labels`` are for the library, where they differ.
    """
    X, T = frame(AROUND)
    for one, found in zip(cases, kernel(SOLVE, cases), strict=True):
        time, points = float(one["time"]), next(frame(one["angles"]))
        mlp, y = MLP(one["depth"], one["activation"], kappa=kappa), np.array(labels or one["labels"], dtype=float)
        flow = RobustFlow(mlp, points, y, lam=one["lambda"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of singular kernels, which are the point where they occur
            value, jacobian = flow.at(time / kappa**2, X)
        expected = np.stack([value, (jacobian * X).sum(axis=1), (jacobian * T).sum(axis=1)], axis=1)
        bound = 1e-10 * max(1, np.abs(y).max())
        np.testing.assert_allclose(found["rows"], expected, rtol=0, atol=bound, err_msg=str(one))
        variance = (flow.value_std(time / kappa**2, X) / kappa) ** 2
        np.testing.assert_allclose(np.square(found["spread"]), variance, rtol=0, atol=1e-10, err_msg=str(one))
        np.testing.assert_allclose(found["w"], flow.eigenvalues, rtol=0, atol=1e-13 * flow.eigenvalues[0])


CASES = {
    (activation, depth): [
        case(activation, depth, lam, time, *points)
        for points, times in ((THREE, (0, 0.3, 20, 3e3, math.inf)), (EIGHT, (0.3, 20, 400)))
        for lam in (0, 1e-3, 0.1, 10)
        for time in times
    ]
    for activation, depth in NETWORKS
}


@pytest.mark.parametrize(("activation", "depth"), NETWORKS)
def test_the_network_and_its_spread_are_the_librarys(kernel, activation, depth):
    """Eight labels at infinite time are too badly conditioned with erf for two routes to agree to 1e-10."""
    cases = CASES[activation, depth]
    if activation == "gelu" and depth > 1:
        cases = [*cases, *(case(activation, depth, lam, math.inf, *EIGHT) for lam in (0, 0.01, 1))]
    assert_equal_to_the_library(kernel, cases)
    assert sum(map(len, CASES.values())) >= 50


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("lam", [0, 0.1])
def test_ties_are_merged_as_in_the_library(kernel, depth, lam):
    """Equal angles for both activations, opposite ones for erf; labels that agree, and at finite times others."""
    duplicates, antipodes = [10, 110, 250, 110], [10, 110, 250, 290]
    tied = [("erf", duplicates, [1, -1, 0.5, -1]), ("gelu", duplicates, [1, -1, 0.5, -1])]
    tied.append(("erf", antipodes, [1, -1, 0.5, 1]))
    agreeing = [case(name, depth, lam, time, *points) for name, *points in tied for time in (20, math.inf)]
    assert_equal_to_the_library(kernel, agreeing)
    contrary = [case(name, depth, lam, 20, angles, [1, -1, 0.5, 0.3]) for name, angles, _ in tied]
    assert_equal_to_the_library(kernel, contrary)


def test_labels_that_contradict_each_other_are_met_half_way_at_infinite_time(kernel):
    """The library refuses them; the limit of the flow is the answer to their mean."""
    angles = [10, 110, 250, 110]
    contrary = [case("gelu", 3, 0.1, math.inf, angles, [1, -1, 0.5, 0.4])]
    assert_equal_to_the_library(kernel, contrary, labels=[1, -0.3, 0.5, -0.3])


@pytest.mark.parametrize("time", [20, math.inf])
def test_opposite_angles_of_one_gelu_layer_make_a_singular_kernel(kernel, time):
    """Nothing is merged there: the library and the script leave the same directions out."""
    assert_equal_to_the_library(kernel, [case("gelu", 1, 0.1, time, [10, 100, 190], [1, -1, 0.5])])


def test_time_constants_are_half_lives_over_log_two(kernel):
    found = kernel(SOLVE, [case("gelu", 3, 0.1, 1, *EIGHT)])[0]["constants"]
    flow = RobustFlow(MLP(3, "gelu", kappa=2.0), next(frame(EIGHT[0])), np.array(EIGHT[1], float), lam=0.1)
    np.testing.assert_allclose(found, flow.half_life() * 4 / math.log(2), rtol=1e-10)


def test_stored_networks_are_near_the_formula(kernel):
    """Curves of width 512 at time 10, beside the mean and spread over initialisations."""
    text = (STATIC / "circle-networks.js").read_text(encoding="utf-8")
    stored = json.loads(text[text.index("{") : text.rindex("}") + 1])
    k = stored["times"].index(10.0)
    around = list(range(0, 360, stored["step"]))
    for i, lam in enumerate(stored["lambdas"]):
        found = kernel(SOLVE, [case("gelu", 3, lam, 10, *EIGHT) | {"around": around}])[0]
        curves = np.array(stored["hundredths"][i][k])[:, :-1] / 100
        off = np.abs(curves - np.array(found["rows"])[:, 0]) / (float(stored["kappa"]) * np.array(found["spread"]))
        assert np.mean(off < 3) > 0.8
