r"""The limiting kernels as less careful computations give them: in float32, or from sampled expectations.

For studying what an error of the entries does to the smallest eigenvalue. Nothing else in the library uses them.
"""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
from scipy import special

from . import enclosures
from ._validation import as_points, integer

_NUMPY = SimpleNamespace(exact=np.float64, pi=lambda: np.pi, sqrt=np.sqrt, exp=np.exp, atan2=np.arctan2)
_FLOAT32 = SimpleNamespace(exact=np.float32, pi=lambda: np.float32(np.pi), sqrt=np.sqrt, exp=np.exp, atan2=np.arctan2)
_PAIRS_AT_ONCE = 2048


def gram_in_float32(mlp, kernel, X, *, values_only=False) -> np.ndarray:
    """A limiting kernel's Gram matrix with every operation in float32, from the inputs to the entries.

    Parameters and shape as in :func:`jacntk_lib.enclosures.gram_in_float64`; a float32 array.

    Examples
    --------
    >>> from jacntk_lib import MLP
    >>> gram_in_float32(MLP(2, "gelu"), "ntk", np.eye(2)).dtype
    dtype('float32')
    """
    X = as_points(X).astype(np.float32)
    (entries,) = enclosures.gram(mlp, kernel, X, _FLOAT32, parts=(lambda entry: entry,), values_only=values_only)
    return entries


def sampled_ntk(mlp, X, *, samples=10**6, shared=False, seed=0, batch=32) -> Iterator[np.ndarray]:
    r"""The Jacobian NTK with every Gaussian expectation of the recursion replaced by an average of samples.

    Layer by layer, with (u, v) of 2(1+d) entries drawn from N(0, Sigma^{l-1}) at each pair of points, Sigma^{l-1} being
    the previous layer's *sampled* kernel, the averages of :math:`h_a(u) h_b(v)` and :math:`g_a(u) g_b(v)` take
    the place of their expectations, where

    .. math:: h = (\phi(u_0), \phi'(u_0) u_a), \qquad g = (\phi'(u_0), \phi''(u_0) u_a) .

    Parameters
    ----------
    mlp : depth, activation (erf, GELU or sine), sigmas, normalisation and input scale.
    X : points (N, d).
    samples : M, the number of samples that each average is over.
    shared : False, each pair of points has samples of its own, so the errors of the entries are independent. True,
        all pairs use the same M draws of all N(1+d) pre-activations, so every average is a Gram matrix.
    seed : of the samples.
    batch : how many samples are really drawn. The average of M samples is imitated from the average of ``batch`` of
        them, whose deviation from the exact expectation is shrunk by sqrt(batch / M): that gives the mean and the
        covariance of an average of M exactly, and its distribution to the accuracy of the central limit theorem.
        ``batch=samples`` really draws M.

    Yields
    ------
    Theta^l, (N(1+d), N(1+d)), for l = 1, ..., depth; symmetric, not always positive semi-definite.

    Examples
    --------
    >>> from jacntk_lib import MLP, jacobian_ntk
    >>> *_, last = sampled_ntk(MLP(2, "gelu"), np.eye(2))
    >>> bool(0 < abs(last - jacobian_ntk(MLP(2, "gelu"), np.eye(2)).dense()).max() < 0.1)
    True
    """
    X = as_points(X)
    samples, batch = integer(samples, "samples", at_least=1), integer(batch, "batch", at_least=1)
    if batch > samples:
        raise ValueError(f"batch ({batch}) must not exceed samples ({samples})")
    if mlp.phi.name not in enclosures.CLOSED_FORMS or not mlp.phi.has_closed_form:
        raise ValueError(f"sampled kernels exist for {', '.join(enclosures.CLOSED_FORMS)}, not for {mlp.phi.name!r}")
    rng = np.random.Generator(np.random.Philox(integer(seed, "seed", at_least=0)))
    draw = _shared_averages if shared else _pairwise_averages
    shrink = np.sqrt(batch / samples)
    N, d = X.shape
    i, j = np.triu_indices(N)
    first, gain = (mlp.sigma_w * mlp.input_scale) ** 2, (mlp.sigma_w * mlp.phi_scale) ** 2
    tangents = np.concatenate([X[:, None, :], np.broadcast_to(np.eye(d), (N, d, d))], axis=1)  # (N, 1+d, d)
    S = first * np.einsum("iak,jbk->iajb", tangents, tangents)
    S[:, 0, :, 0] += mlp.sigma_b**2
    T = S
    for _ in range(mlp.depth):
        averages = draw(mlp.phi.name, S, i, j, batch, rng)
        H, G = (
            exact + shrink * (average - exact)
            for exact, average in zip(_expectations(mlp.phi.name, S, i, j), averages, strict=True)
        )
        T = gain * (H + _product_rule(T[i, :, j, :], G))
        H = gain * H
        for block in (H, T):
            block[:, 0, 0] += mlp.sigma_b**2
        S, T = _scatter(H, i, j, N), _scatter(T, i, j, N)
        yield T.reshape(N * (1 + d), N * (1 + d))


def _expectations(name, S, i, j):
    """E[h_a(u) h_b(v)] and E[g_a(u) g_b(v)], (P, 1+d, 1+d), for any joint covariance S, by Stein's identity."""
    K = enclosures.expectations(name, S[i, 0, i, 0], S[j, 0, j, 0], S[i, 0, j, 0], _NUMPY)
    own_u, cross_u = S[i, 1:, i, 0, None], S[i, 1:, j, 0, None]  # Cov(u_a, u_0), Cov(u_a, v_0): (P, d, 1)
    own_v, cross_v = S[j, 1:, j, 0][:, None, :], S[j, 1:, i, 0][:, None, :]
    for k00, k11, k20, k02, k22, k31, k13 in (
        ("00", "11", "20", "02", "22", "31", "13"),
        ("11", "22", "31", "13", "33", "42", "24"),
    ):
        f, fc, fu, fv, fcc, fuc, fvc = (K[k][:, None, None] for k in (k00, k11, k20, k02, k22, k31, k13))
        out = np.empty((len(i), S.shape[1], S.shape[1]))
        out[:, :1, :1] = f
        out[:, 1:, :1] = own_u * fu + cross_u * fc
        out[:, :1, 1:] = own_v * fv + cross_v * fc
        out[:, 1:, 1:] = (
            S[i, 1:, j, 1:] * fc
            + own_u * cross_v * fuc
            + cross_u * own_v * fvc
            + (own_u * own_v + cross_u * cross_v) * fcc
        )
        yield out


def _product_rule(T, G):
    """The blocks of T times G: index 0 the value, a and b >= 1 derivatives in either argument."""
    out = T[:, :1, :1] * G + T * G[:, :1, :1] + T[:, :, :1] * G[:, :1, :] + T[:, :1, :] * G[:, :, :1]
    # rows and columns of the value have fewer terms; the sum above holds each of theirs twice, the corner four times
    out[:, 0] /= 2
    out[:, :, 0] /= 2
    return out


def _features(name, u):
    """h and g of (..., 1+d) pre-activations."""
    phi, first, second = _derivatives(name, u[..., :1])
    tangents = u[..., 1:]
    return np.concatenate([phi, first * tangents], axis=-1), np.concatenate([first, second * tangents], axis=-1)


def _derivatives(name, z):
    if name == "erf":
        slope = 2 / np.sqrt(np.pi) * np.exp(-z * z)
        return special.erf(z), slope, -2 * z * slope
    if name == "gelu":
        cdf, pdf = special.ndtr(z), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        return z * cdf, cdf + z * pdf, (2 - z * z) * pdf
    return np.sin(z), np.cos(z), -np.sin(z)


def _pairwise_averages(name, S, i, j, batch, rng):
    """Averages over samples of its own for each pair."""
    size = S.shape[1]
    averages = np.empty((2, len(i), size, size))
    for start in range(0, len(i), _PAIRS_AT_ONCE):
        p = slice(start, start + _PAIRS_AT_ONCE)
        joint = np.block([[S[i[p], :, i[p], :], S[i[p], :, j[p], :]], [S[j[p], :, i[p], :], S[j[p], :, j[p], :]]])
        draws = rng.standard_normal((len(joint), batch, 2 * size)) @ _roots(joint).transpose(0, 2, 1)
        at_u, at_v = _features(name, draws[..., :size]), _features(name, draws[..., size:])
        for out, u, v in zip(averages, at_u, at_v, strict=True):
            out[p] = u.transpose(0, 2, 1) @ v / batch
    return averages


def _shared_averages(name, S, i, j, batch, rng):
    """Averages over the same draws of all pre-activations."""
    N, size = S.shape[:2]
    root, totals = _roots(S.reshape(N * size, N * size)), np.zeros((2, N * size, N * size))
    for start in range(0, batch, _PAIRS_AT_ONCE):
        n = min(_PAIRS_AT_ONCE, batch - start)
        draws = (rng.standard_normal((n, N * size)) @ root.T).reshape(n, N, size)
        for total, feature in zip(totals, _features(name, draws), strict=True):
            feature = feature.reshape(n, N * size)
            total += feature.T @ feature
    return (total.reshape(S.shape)[i, :, j, :] / batch for total in totals)


def _roots(covariance):
    """R with R R^T = covariance; a sampled covariance may be slightly indefinite, and its negative part is dropped."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def _scatter(blocks, i, j, N):
    """The symmetric (N, 1+d, N, 1+d) array whose upper blocks are given."""
    size = blocks.shape[1]
    out = np.empty((N, size, N, size))
    own = i == j
    blocks[own] = (blocks[own] + blocks[own].transpose(0, 2, 1)) / 2
    out[i, :, j, :] = blocks
    out[j, :, i, :] = blocks.transpose(0, 2, 1)
    return out
