"""Sampled networks: the tangent pass against autograd, the weights against their keys, every message."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import mlp
from helpers import normal_tensor as points

from jacntk_lib import networks
from jacntk_lib.networks import FiniteMLP
from jacntk_lib.networks.weights import block_rows, draw_weights


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
def test_tangent_pass_equals_autograd(activation, depth, sigma_b):
    net = FiniteMLP(mlp(depth, activation, sigma_b=sigma_b), [9, 7, 8, 6][:depth], input_dim=3, seed=1)
    X = points(5, 3).requires_grad_()
    f = net(X)
    (jacobian,) = torch.autograd.grad(f.sum(), X)
    expected = torch.cat((f[:, None], jacobian), dim=1)
    scale = expected.abs().max()
    assert (net.value_and_jacobian(X) - expected).abs().max() <= 1e-12 * scale


def test_forward_is_the_documented_formula():
    """f written out with the factors where the description has them, not absorbed into the features."""
    net = FiniteMLP(mlp(2, "gelu"), [5, 4], input_dim=3, seed=2)
    m, x = net.mlp, points(1, 3)[0]
    W1, W2, w = (weight.detach() for weight in net.weights)
    b1, b2, b = (bias.detach() for bias in net.biases)

    def phi(z):
        return z * torch.special.ndtr(z) / math.sqrt(0.42522148257029867)

    g1 = m.sigma_w * W1 @ (m.input_scale * x) + m.sigma_b * b1
    g2 = m.sigma_w / math.sqrt(5) * W2 @ phi(g1) + m.sigma_b * b2
    f = m.kappa * (m.sigma_w / math.sqrt(4) * w @ phi(g2) + m.sigma_b * b)
    assert net(x[None]).item() == pytest.approx(f.item(), rel=1e-13)


def test_value_and_jacobian_is_differentiable_in_the_parameters():
    """Against a central difference along a random direction."""
    net = FiniteMLP(mlp(2), 6, input_dim=3, seed=3)
    X, weights = points(4, 3), points(4, 4, seed=7)
    gradients = torch.autograd.grad((weights * net.value_and_jacobian(X)).sum(), list(net.parameters()))
    rng = np.random.default_rng(5)
    direction = [torch.from_numpy(rng.standard_normal(tuple(p.shape))) for p in net.parameters()]
    expected = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True)).item()

    def moved(step):
        other = copy.deepcopy(net)
        with torch.no_grad():
            for p, v in zip(other.parameters(), direction, strict=True):
                p += step * v
            return (weights * other.value_and_jacobian(X)).sum().item()

    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_the_dtype_is_kept(dtype, activation):
    net = FiniteMLP(mlp(activation=activation), 6, input_dim=3, dtype=dtype)
    out = net.value_and_jacobian(np.eye(3))
    assert net.dtype == out.dtype == net(np.eye(3)).dtype == dtype


def test_numpy_and_tensor_input_agree():
    net, X = FiniteMLP(mlp(), 6, input_dim=3), points(4, 3)
    assert torch.equal(net(X), net(X.numpy()))
    assert torch.equal(net(X.float()), net(X.float().numpy()))
    whole = torch.arange(6).reshape(2, 3)
    assert torch.equal(net(whole), net(whole.numpy().tolist()))


# ------------------------------------------------------------------------------------------------- the weights


def test_biases_exist_only_with_sigma_b():
    shapes = [tuple(p.shape) for p in FiniteMLP(mlp(2), [5, 4], input_dim=3).parameters()]
    assert shapes == [(5, 3), (4, 5), (1, 4), (5,), (4,), (1,)]
    assert not list(FiniteMLP(mlp(2, sigma_b=0.0), [5, 4], input_dim=3).biases)


def stream(seed, layer, block, fan_out, fan_in):
    key = np.array([seed, (2 * layer << 32) | block], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, fan_out, fan_in], np.uint64)))


def test_weights_are_pinned():
    """The streams behind every stored result: should NumPy ever change them, this says so."""
    first = FiniteMLP(mlp(2), [5, 4], input_dim=3, seed=11).weights[0].detach().numpy()
    assert np.array_equal(first, stream(11, 1, 0, 5, 3).standard_normal((5, 3)))
    assert first[0] == pytest.approx([1.732981370829, 1.296208690227, -1.152579014469], abs=1e-12)
    rows = block_rows(1100)
    wide = draw_weights(7, 2, (3000, 1100)).numpy()
    assert 2 * rows < 3000 < 4 * rows  # several blocks, the last one short
    for block, start in enumerate(range(0, 3000, rows)):
        part = wide[start : start + rows]
        assert np.array_equal(part, stream(7, 2, block, 3000, 1100).standard_normal(part.shape))


def test_float32_weights_are_the_float64_ones_rounded():
    double, single = (FiniteMLP(mlp(), 6, 3, seed=4, dtype=t) for t in (torch.float64, torch.float32))
    for p, q in zip(double.parameters(), single.parameters(), strict=True):
        assert torch.equal(p.float(), q)


def test_weights_are_standard_normal_and_independent():
    """Moments within 4.5 standard errors, and no correlation between matrices that differ in any part of the key."""
    n = 256
    draws = {
        "one": draw_weights(0, 2, (n, n)),
        "other seed": draw_weights(1, 2, (n, n)),
        "other layer": draw_weights(0, 3, (n, n)),
        "other width": draw_weights(0, 2, (n + 1, n))[:n],
    }
    for w in draws.values():
        assert abs(w.mean()) < 4.5 / n
        assert abs((w**2).mean() - 1) < 4.5 * math.sqrt(2) / n
        assert abs((w**4).mean() - 3) < 4.5 * math.sqrt(96) / n
    for name in list(draws)[1:]:
        assert abs((draws["one"] * draws[name]).mean()) < 4.5 / n, name


def test_weights_do_not_depend_on_the_number_of_threads():
    before, threads = draw_weights(7, 2, (3000, 1100)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(draw_weights(7, 2, (3000, 1100)), before)
    finally:
        torch.set_num_threads(threads)


def test_sampling_leaves_global_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    FiniteMLP(mlp(), 6, 3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


# ------------------------------------------------------------------------------------------- global settings


def test_full_precision_is_used_and_settings_restored():
    """A caller's TF32 and bfloat16 settings neither reach the kernels nor get lost."""
    settings = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [s.fp32_precision for s in settings]
    try:
        settings[0].fp32_precision, settings[1].fp32_precision = "tf32", "bf16"
        with networks.full_precision("cpu"):
            assert [s.fp32_precision for s in settings] == ["ieee", "ieee"]
        assert [s.fp32_precision for s in settings] == ["tf32", "bf16"]
        with pytest.raises(ValueError, match="math domain"), networks.full_precision("cpu"):
            math.sqrt(-1)
        assert [s.fp32_precision for s in settings] == ["tf32", "bf16"]
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def test_autocast_does_not_reach_the_network():
    net, X = FiniteMLP(mlp(), 64, 3, dtype=torch.float32), points(4, 3)
    plain = net.value_and_jacobian(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.value_and_jacobian(X), plain)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_gpu():
    with pytest.raises(ValueError, match=r"device 'cuda' was asked for, but torch .* sees no GPU"):
        FiniteMLP(mlp(), 4, 3, device="cuda")


# ---------------------------------------------------------------------------------------------- an accelerator

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_weights_on_every_device(dtype):
    here, there = (FiniteMLP(mlp(2), [1100, 1000], 3, 5, dtype=dtype, device=d) for d in ("cpu", "cuda"))
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.equal(p, q.cpu())


@needs_gpu
def test_tf32_does_not_reach_the_network():
    """A caller who switched TF32 on still gets float32 values, and still has it on afterwards."""
    setting = torch.backends.cuda.matmul
    before, X = setting.fp32_precision, points(64, 3)
    exact = FiniteMLP(mlp(3), 1024, 3).value_and_jacobian(X)
    try:
        setting.fp32_precision = "tf32"
        rough = FiniteMLP(mlp(3), 1024, 3, dtype=torch.float32, device="cuda").value_and_jacobian(X)
        assert setting.fp32_precision == "tf32"
    finally:
        setting.fp32_precision = before
    assert (rough.cpu() - exact).abs().max() < 1e-5 * exact.abs().max()
