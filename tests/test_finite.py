"""The layer-wise finite kernels against explicit parameter Jacobians, the infinite-width limit, and a memory limit."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import mlp
from helpers import normal_tensor as points

import jacntk_lib
from jacntk_lib import finite
from jacntk_lib.networks import FiniteMLP


def parameter_jacobian(net, X):
    """The (N(1+d), P) Jacobian of (f, Jf)/kappa in the parameters, by torch.func through ``forward`` alone."""

    def stacked(parameters):
        def f(x):
            return torch.func.functional_call(net, parameters, (x[None],))[0]

        values, jacobians = torch.func.vmap(f)(X), torch.func.vmap(torch.func.jacrev(f))(X)
        return torch.cat((values[:, None], jacobians), dim=1).flatten() / net.mlp.kappa

    gradients = torch.func.jacrev(stacked)({name: p.detach() for name, p in net.named_parameters()})
    return torch.cat([g.flatten(1) for g in gradients.values()], dim=1)


def error(A, B):
    return ((A - B).abs().max() / B.abs().max()).item()


@pytest.mark.parametrize("activation", ["erf", "gelu"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
def test_ntk_is_the_gram_matrix_of_the_parameter_jacobian(activation, depth, sigma_b):
    net = FiniteMLP(mlp(depth, activation, sigma_b=sigma_b), [7, 9, 8, 6][:depth], input_dim=3, seed=3)
    X, X2 = points(5, 3), points(4, 3, seed=1)
    J, J2 = parameter_jacobian(net, X), parameter_jacobian(net, X2)
    assert error(finite.jacobian_ntk(net, X), J @ J.T) < 1e-11
    assert error(finite.jacobian_ntk(net, X, X2), J @ J2.T) < 1e-11


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
def test_nngp_is_the_last_layers_gram_matrix(depth, sigma_b):
    """The gradients in the last weights and bias are what a random last layer multiplies."""
    net = FiniteMLP(mlp(depth, "gelu", sigma_b=sigma_b), 7, input_dim=3, seed=3)
    X, X2 = points(5, 3), points(4, 3, seed=1)

    def last(X):
        net.requires_grad_(True)
        out = net.value_and_jacobian(X).flatten() / net.mlp.kappa
        top = [net.weights[-1], *net.biases[-1:]]
        rows = [torch.autograd.grad(v, top, retain_graph=True, materialize_grads=True) for v in out]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])

    assert error(finite.jacobian_nngp(net, X), last(X) @ last(X).T) < 1e-12
    assert error(finite.jacobian_nngp(net, X, X2), last(X) @ last(X2).T) < 1e-12


@pytest.mark.parametrize("kernel", [finite.jacobian_nngp, finite.jacobian_ntk])
def test_symmetric_and_positive_semi_definite(kernel):
    K = kernel(FiniteMLP(mlp(), 32, 4), points(6, 4))
    assert torch.equal(K, K.T)
    assert torch.linalg.eigvalsh(K)[0] > -1e-12 * K.diagonal().max()


@pytest.mark.parametrize("kernel", [finite.jacobian_nngp, finite.jacobian_ntk])
@pytest.mark.parametrize("memory", [1, 600_000, 10**9])
def test_chunks_and_tiles_change_nothing(kernel, memory):
    """One point at a time, some, or all, in one tile and in several: the same rows, and X2 = X is X2 = None."""
    net, X, X2 = FiniteMLP(mlp(), 32, 3), points(30 if memory == 1 else 150, 3), points(6, 3, seed=1)
    together = kernel(net, X, memory=memory)
    assert error(together[-24:, -24:], kernel(net, X[-6:])) < 1e-14
    assert error(together, kernel(net, X, X, memory=memory)) < 1e-14
    assert error(kernel(net, X, X2, memory=memory)[:24], kernel(net, X[:6], X2)) < 1e-14


def test_results_are_detached_and_keep_the_dtype():
    for dtype in (torch.float32, torch.float64):
        net = FiniteMLP(mlp(), 8, 3, dtype=dtype)
        for K in (finite.jacobian_nngp(net, np.eye(3)), finite.jacobian_ntk(net, np.eye(3))):
            assert K.dtype == dtype
            assert not K.requires_grad


def test_float32_is_close_to_float64():
    X = points(8, 3)
    single, double = (finite.jacobian_ntk(FiniteMLP(mlp(), 128, 3, dtype=t), X) for t in (torch.float32, torch.float64))
    assert error(single.double(), double) < 1e-5


# ---------------------------------------------------------------------------------------------------- the limit


def test_depth_one_mean_is_the_limit_at_every_width():
    """At width 3 already; within 4 standard errors of the mean over seeds, entry by entry."""
    m, X, seeds = mlp(1, "gelu"), points(3, 2), 1500
    for kernel, limit in (
        (finite.jacobian_ntk, jacntk_lib.jacobian_ntk),
        (finite.jacobian_nngp, jacntk_lib.jacobian_nngp),
    ):
        draws = torch.stack([kernel(FiniteMLP(m, 3, 2, seed=s), X) for s in range(seeds)])
        standard_error = draws.std(dim=0) / seeds**0.5
        z = (draws.mean(dim=0) - torch.from_numpy(limit(m, X.numpy()).dense())).abs() / standard_error
        assert z.max() < 4
        assert z.max() > 0.5  # and the standard errors are not simply huge


@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_error_falls_like_one_over_root_width_at_depth_three(activation):
    m, X, widths = mlp(3, activation), points(6, 3), np.array([64, 256, 1024])
    limit = torch.from_numpy(jacntk_lib.jacobian_ntk(m, X.numpy()).dense())
    errors = [
        np.mean(
            [
                ((finite.jacobian_ntk(FiniteMLP(m, int(n), 3, seed=s), X) - limit).norm() / limit.norm()).item()
                for s in range(8)
            ]
        )
        for n in widths
    ]
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.65 < slope < -0.35
    assert errors[-1] < 0.25


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of a process's own memory here")
def test_memory_at_width_4096():
    """256 points in R^4, depth 3, float32: below 4 GB in all, and the kernel adds less than the parameter gradients of
    a single point, 0.67 GB; those of all points would take 172 GB."""
    script = """
        import re, resource
        from pathlib import Path
        import numpy as np, torch
        from jacntk_lib import finite
        from jacntk_lib.architecture import MLP
        from jacntk_lib.networks import FiniteMLP

        # Of address space, which counts what is mapped and never touched; a whole Jacobian would not fit.
        resource.setrlimit(resource.RLIMIT_AS, (24 * 2**30, 24 * 2**30))
        X = np.random.default_rng(0).standard_normal((256, 4))
        net = FiniteMLP(MLP(depth=3), 4096, 4, dtype=torch.float32)
        status = lambda: Path("/proc/self/status").read_text().expandtabs()
        peak = lambda: 1024 * int(re.search("VmHWM: *(.*) kB", status())[1])  # getrusage's begins with the parent's
        before = peak()
        theta = finite.jacobian_ntk(net, X / np.linalg.norm(X, axis=1, keepdims=True))
        assert theta.shape == (1280, 1280) and bool((theta.diagonal() > 0).all())
        print(peak(), peak() - before)
    """

    command = [sys.executable, "-c", textwrap.dedent(script)]
    measured = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert measured.returncode == 0, measured.stderr
    peak, added = (int(number) for number in measured.stdout.split())
    print(f"peak {peak / 1e9:.2f} GB, of it the kernel {added / 1e9:.2f} GB")
    assert peak < 4e9
    assert added < 0.4e9


# ----------------------------------------------------------------------------------------------- an accelerator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_kernels_on_a_gpu(dtype, bound):
    m, X, X2 = mlp(3, "gelu"), points(40, 4), points(7, 4, seed=1)
    here = FiniteMLP(m, 1100, 4, seed=2)
    there = FiniteMLP(m, 1100, 4, seed=2, dtype=dtype, device="cuda")
    for kernel in (finite.jacobian_nngp, finite.jacobian_ntk):
        for pair in ((X,), (X, X2)):
            result = kernel(there, *pair)
            assert result.device.type == "cuda"
            assert error(result.double().cpu(), kernel(here, *pair)) < bound
