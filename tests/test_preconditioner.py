"""What the iterations are made of: the preconditioner, conjugate gradients and products with the weighted matrix."""

import numpy as np
import pytest
import scipy.linalg
from helpers import unit_points as points
from helpers import weights
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics.weighted import WeightedGram
from jacntk_lib.kernels import scalars
from jacntk_lib.solve import Iterative, preconditioner
from jacntk_lib.solve.conjugate_gradients import conjugate_gradients
from jacntk_lib.solve.preconditioner import Preconditioner, affordable_rows


def weighted(N=9, d=3, activation="erf", lam=0.1):
    return WeightedGram(jacobian_ntk(MLP(2, activation), points(N, d)), weights(lam, N, d).reshape(N, 1 + d))


def basis_of(gram, root):
    """What the preconditioner sorts: scores, k or k_C there, (N, 1+d) each, and vectors (n, N, 1+d)."""
    (N, d), slopes, X, axes = gram.Z.shape, root[:, 1:], gram.Z, np.eye(gram.d)
    by_point, by_column = np.sqrt((slopes**2).mean(axis=1)), np.sqrt((slopes**2).mean(axis=0) / (slopes**2).mean())
    if np.ptp(by_column) < 1e-12:
        axes = np.linalg.svd(X)[2].T
        X = X @ axes
    size = np.linalg.norm(slopes, axis=0).max() / np.linalg.norm(by_point)
    values, derivatives = root[:, :1] * gram.k * root[:, 0], by_point[:, None] * gram.k_C * by_point
    derivatives *= size**2
    ratio = np.trace(values) / np.trace(derivatives)
    e, U = np.linalg.eigh(0.1 / ratio * values + derivatives)
    vectors = np.zeros((N, 1 + d, N, 1 + d))
    vectors[:, 0, :, 0] = U
    vectors[:, 1:, :, 1:] = np.einsum("np,ab->napb", U, axes)
    energies = [np.einsum("np,nm,mp->p", U, one, U) for one in (values, *[derivatives / size**2] * d)]
    score = np.outer(e, np.append(ratio, np.sqrt((X**2).mean(axis=0))))
    along = np.stack(energies, axis=1) * np.append(1.0, by_column**2)
    return score, along, vectors.reshape(N * (1 + d), N * (1 + d))


@pytest.mark.parametrize("by_column", [[1.0, 1.0, 1.0], [1.5, 0.5, 1.0]], ids=str)
@pytest.mark.parametrize("rows", [1, 9, 25, 9 * 4])
def test_preconditioner_is_what_it_says(rows, by_column):
    """Exact on the combinations of the largest scores, the diagonal of k and k_C on the rest; from the dense matrix."""
    N, d, ridge = 9, 3, 0.01
    gram = jacobian_ntk(MLP(2), points(N, d) * [1.0, 0.3, 0.1])
    slopes = np.sqrt(np.linspace(0.05, 0.2, N))[:, None] * by_column
    root = np.concatenate([np.linspace(1.0, 2.0, N)[:, None], slopes], axis=1)
    approximate = Preconditioner(gram, root, Iterative(exact_rows=rows))
    assert approximate.exact_rows == rows
    score, along, vectors = basis_of(gram, root)
    leading = np.argsort(-score, axis=None)
    basis = vectors[:, leading]
    S = root.reshape(-1, 1) * gram.dense() * root.ravel()
    expected = np.diag(along.ravel()[leading])
    expected[:rows, :rows] = (basis.T @ S @ basis)[:rows, :rows]
    for rho in (ridge, 10 * ridge, ridge):  # one factor after the other in the same place
        inverse = basis @ np.linalg.inv(expected + rho * np.eye(len(S))) @ basis.T
        assert_allclose(approximate.at(rho)(np.eye(len(S))), inverse, atol=1e-10 * np.abs(inverse).max())


def test_preconditioner_of_more_points_than_landmarks(monkeypatch):
    """Mean energies beyond the vectors, from the dense matrix; and iterations nearly as few as with all vectors."""
    N, d, ridge = 150, 3, 1e-2
    gram = jacobian_ntk(MLP(2), points(N, d))
    root, options = weights(0.1, N, d).reshape(N, 1 + d) ** 0.5, Iterative(exact_rows=200)
    S = root.reshape(-1, 1) * gram.dense() * root.ravel() + ridge * np.eye(N * (1 + d))
    b = np.random.default_rng(0).standard_normal((len(S), 1))

    def products(precondition):
        *_, history = conjugate_gradients(S.__matmul__, b, precondition, tolerance=1e-6, max_iterations=999)
        return len(history)

    whole = products(Preconditioner(gram, root, options, ridge).at(ridge))
    monkeypatch.setattr(preconditioner, "_LANDMARKS", 100)
    monkeypatch.setattr(preconditioner, "_ALL", N - 1)
    approximate = Preconditioner(gram, root, options, ridge)
    P = len(approximate._along)
    U = approximate._back @ np.eye(P)
    assert P == 66
    assert_allclose(U.T @ U, np.eye(P), atol=1e-9)
    traces = np.array([gram.k.trace(), 0.1 * gram.k_C.trace()])
    inside = [np.trace(U.T @ gram.k @ U), 0.1 * np.trace(U.T @ gram.k_C @ U)]
    assert_allclose(approximate._beyond, ((traces - inside) / (N - P))[[0, 1, 1, 1]], rtol=1e-4)  # in float32
    inverse = approximate.at(ridge)(np.eye(len(S)))
    assert_allclose(inverse, inverse.T, atol=1e-9 * np.abs(inverse).max())
    assert np.linalg.eigvalsh(inverse).min() > 0
    assert products(approximate.at(ridge)) < min(1.4 * whole, 0.7 * products(np.copy))
    monkeypatch.setattr(preconditioner, "_ALL", N)  # all vectors, if these leave too much
    assert len(Preconditioner(gram, root, options, ridge)._along) == N
    assert len(Preconditioner(gram, root, options, 10.0)._along) < 66


def test_preconditioner_of_what_was_observed_is_that_of_all_rows_restricted():
    """P_RR^{-1}, with the P of weights that are a product, which those that were observed determine."""
    N, d, ridge = 9, 3, 0.01
    gram, rng = jacobian_ntk(MLP(2), points(N, d)), np.random.default_rng(0)
    root = np.insert(np.outer(np.linspace(0.2, 0.4, N), [1.5, 0.5, 1.0]), 0, 1.0, axis=1)
    whole = Preconditioner(gram, root, Iterative(exact_rows=9 + 2 * 3)).at(ridge)(np.eye(N * (1 + d)))
    observed = rng.random(root.shape) < 0.7
    observed[:, 0] = True
    seen = observed.ravel()
    expected = np.linalg.inv(np.linalg.inv(whole)[seen][:, seen])
    got = Preconditioner(gram, root * observed, Iterative(exact_rows=9 + 2 * 3)).at(ridge)(np.eye(N * (1 + d))[:, seen])
    assert_allclose(got[seen], expected, atol=1e-6 * np.abs(expected).max())
    assert not got[~seen].any()


def count(system, b, tolerance, precondition, ridge=1e-3):
    """Products that a solve takes."""
    _, _, history = conjugate_gradients(
        lambda x: system.multiply(x) + ridge * x, b, precondition, tolerance=tolerance, max_iterations=3000
    )
    return len(history)


def test_preconditioner_and_shared_columns_pay():
    system = weighted(40, 8, lam=0.01)
    b = np.random.default_rng(0).standard_normal((system.unknowns, 8))
    precondition = system.preconditioner(Iterative(exact_rows=120))(1e-3)
    alone = count(system, b[:, :1], 1e-6, precondition)
    assert alone < count(system, b[:, :1], 1e-6, lambda x: x) / 3
    assert count(system, b, 1e-6, precondition) < 0.9 * alone


def test_conjugate_gradients_of_dependent_and_zero_columns():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 30))
    A = A @ A.T + np.eye(30)
    b = rng.standard_normal((30, 4))
    b[:, 1], b[:, 2] = b[:, 0], 0.0
    x, residual, history = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=1e-10, max_iterations=200)
    assert_allclose(x, scipy.linalg.solve(A, b), atol=1e-8)
    assert residual == history[-1] <= 1e-10
    assert len(history) < 60
    assert not x[:, 2].any()
    x, residual, history = conjugate_gradients(lambda v: A @ v, 0 * b, lambda v: v, tolerance=1e-10, max_iterations=9)
    assert (residual, len(history), x.any()) == (0.0, 0, False)


def test_conjugate_gradients_report_what_they_did_not_reach():
    A = np.diag([1.0, 1.0, 0.0])  # no solution for a right-hand side outside the range
    b = np.ones((3, 1))
    x, residual, _ = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=1e-10, max_iterations=50)
    assert_allclose(residual, np.linalg.norm(A @ x - b) / np.linalg.norm(b))
    assert residual > 0.5


def test_multiplying_is_the_dense_matrix():
    for N, d in ((9, 3), (4, 11)):
        system = weighted(N, d)
        x = np.random.default_rng(0).standard_normal((system.unknowns, 2))
        assert_allclose(system.multiply(x), system.inside() @ x, atol=1e-12)


def test_rows_that_the_preconditioner_is_exact_on():
    """Their matrix, 4 N^2 operations each, takes the time of 10 products, 1200 + K (500 + 6 d) a pair; or what fits."""
    N, d = 12, 20
    gram, root = jacobian_ntk(MLP(3), points(N, d)), weights(0.1, N, d).reshape(N, 1 + d)

    def rows(**options):
        return Preconditioner(gram, root, Iterative(**options)).exact_rows

    kept = affordable_rows(5000, 16, 1 << 40, recomputed=False)
    assert kept == 10 * (6 * 16 + 1700) // 4
    assert affordable_rows(5000, 16, 1 << 40, recomputed=False, outputs=3) == 10 * (1200 + 3 * (500 + 6 * 16)) // 4
    assert affordable_rows(5000, 16, 1 << 40, recomputed=True) > 2 * kept
    small = affordable_rows(100, 5, 1 << 40, recomputed=False)  # of few points the Cholesky factor counts
    assert abs(small**3 / (10 * 100**2 * (6 * 5 + 1700)) - 1) < 0.05
    assert small < 600
    assert rows(memory=8 * 100 * (100 + N)) == 100
    assert rows(memory=1) == 4 * (1 + d)
    assert rows(exact_rows=1) == 1
    assert rows(exact_rows=10**6) == N * (1 + d)
    nothing = Preconditioner(gram, root, Iterative(exact_rows=90), ridge=1e3)  # beside which the kernel is
    assert nothing.exact_rows == 0
    assert_allclose(nothing.at(1e3)(np.ones((N * (1 + d), 1))), 1e-3, rtol=0.02)


def test_the_preconditioner_asks_a_recomputed_kernel_twice(monkeypatch):
    calls = []
    original = scalars.between
    monkeypatch.setattr(scalars, "between", lambda *args, **more: calls.append(1) or original(*args, **more))
    stored, tight = (jacobian_ntk(MLP(3), points(24, 5), memory=memory) for memory in (1 << 20, 1))
    x = np.random.default_rng(0).standard_normal((24 * 6, 2))
    root = weights(0.1, 24, 5).reshape(24, 6)
    one, other = (Preconditioner(gram, root, Iterative()).at(1e-3)(x) for gram in (stored, tight))
    assert_allclose(other, one, atol=1e-9 * np.abs(one).max())
    assert len(calls) == 2  # for the vectors, and for everything else in one pass


def test_a_right_hand_side_where_derivatives_were_not_observed():
    rng = np.random.default_rng(0)
    gram = jacobian_ntk(MLP(2), points(40, 4)).scaled(np.where(rng.random((40, 4)) < 0.2, 0.0, 0.1))
    b, ridge = rng.standard_normal((200, 1)), 1e-3
    x, report = Iterative(1e-10).solve(gram, b, ridge=ridge)
    assert_allclose(x, np.linalg.solve(gram.dense() + ridge * np.eye(200), b), rtol=1e-6)
    assert report.products < 20
