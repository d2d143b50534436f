"""Proofs about plain symmetric matrices whose spectrum is known exactly."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from jacntk_lib.spectrum import UNDECIDED, arb, certify, spectral_bound
from jacntk_lib.spectrum.certificates import bracket_in_float64, cholesky_lower_bound, exact_null_vector
from jacntk_lib.spectrum.congruence import congruence_bounds


def spectrum_known(eigenvalues):
    """H diag(w) H^T / n with a Hadamard matrix H: exact in float64 where w has few binary digits."""
    H = linalg.hadamard(len(eigenvalues)).astype(float)
    return (H * eigenvalues) @ H.T / len(eigenvalues)


def test_hadamard_construction_is_exact():
    w = np.ones(64)
    w[5] = 2.0**-46
    A = spectrum_known(w)
    column = linalg.hadamard(64)[:, 5].astype(float)
    assert (A @ column == 2.0**-46 * column).all()  # the eigenpair holds without any rounding


@pytest.mark.parametrize("smallest", [1.0, 2.0**-10, 2.0**-30])
def test_float64_alone_brackets_what_it_can_see(smallest):
    w = np.linspace(1, 2, 64)
    w[3] = smallest
    found = bracket_in_float64(spectrum_known(np.round(w * 2**20) / 2**20 if smallest > 2.0**-20 else w))
    assert found.verdict == "certified positive"
    assert found.lower <= smallest * (1 + 1e-5) <= found.upper * (1 + 2e-5)
    assert found.upper <= 2 * found.lower
    assert found.method == "float64 Cholesky"


def test_smallest_eigenvalue_of_1e_minus_14_of_the_norm():
    pytest.importorskip("flint")
    w = np.ones(64)
    w[5] = 2.0**-46  # 1.4e-14
    A = spectrum_known(w)
    assert bracket_in_float64(A).verdict == "undecided"
    found = certify(A)
    assert found.verdict == "certified positive"
    assert "congruence" in found.method
    assert 0.5 * 2.0**-46 < found.lower <= 2.0**-46 <= found.upper < 2 * 2.0**-46
    column = linalg.hadamard(64)[:, 5] / 8
    assert abs(found.vector @ column) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("exponent", [-60, -90, -140])
def test_condition_far_beyond_float64(exponent):
    # exact entries that span 140 binary digits: block diagonal, coupled by an exact integer congruence
    flint = pytest.importorskip("flint")
    n = 8
    T = np.tril(np.random.default_rng(0).integers(-3, 4, (n, n)), -1) + np.eye(n, dtype=int)
    with arb.precision(600):
        middle = flint.arb_mat(T.tolist())
        D = flint.arb_mat(n, n, 1)
        D[0, 0] = flint.arb(2.0) ** exponent
        exact = middle * D * middle.transpose()
        rounded, _ = arb.to_float64(exact)
    found = certify((rounded + rounded.T) / 2, error=1e-14, enclosure=lambda: exact)
    assert found.verdict == "certified positive"
    inverse = np.linalg.inv(T.astype(float))  # lambda_min is about 2^exponent / |T^-T e_0|^2
    assert found.lower <= 2.0**exponent / (inverse[0] @ inverse[0]) * (1 + 1e-9)
    assert found.upper >= 2.0**exponent / (inverse[0] @ inverse[0]) * (1 - 1e-9)
    assert found.upper <= 2 * found.lower


def test_negative_eigenvalue_of_minus_1e_minus_14():
    pytest.importorskip("flint")
    w = np.ones(64)
    w[5] = -(2.0**-46)
    found = certify(spectrum_known(w))
    assert found.verdict == "certified negative"
    assert found.lower <= -(2.0**-46) <= found.upper < 0


def test_plainly_negative_needs_no_high_precision():
    w = np.ones(16)
    w[0] = -0.25
    found = certify(spectrum_known(w), high_precision=False)
    assert found.verdict == "certified negative"
    assert found.lower <= -0.25 <= found.upper


def test_singular_comes_with_an_exact_null_vector():
    w = np.ones(64)
    w[[5, 9]] = 0.0
    A = spectrum_known(w)
    found = certify(A)
    assert found.verdict == "certified singular"
    assert found.upper == 0.0
    assert linalg.norm(A @ found.vector) < 1e-15
    assert linalg.norm(found.vector) == pytest.approx(1)


def test_exact_null_vector_is_really_exact():
    B = np.random.default_rng(1).integers(-5, 6, (12, 11)).astype(float)
    # an integer Gram matrix of rank 11 whose null vector is (1, -2, 3, 0, ..., 0, -1)
    C = np.vstack([B[:11], B[0] - 2 * B[1] + 3 * B[2]])
    v = exact_null_vector(C @ C.T)
    assert v is not None
    assert (C @ C.T @ v == 0).all()
    assert exact_null_vector(B @ B.T + 1e-3 * np.eye(12)) is None


def test_nearly_singular_is_not_called_singular():
    pytest.importorskip("flint")
    A = np.ones((3, 3))
    A[0, 0] += 2.0**-50
    assert (A @ [0, 1, -1] == 0).all()
    A[1, 1] += 2.0**-50  # now the determinant is 2^-100
    assert exact_null_vector(A) is None
    found = certify(A)
    assert found.verdict == "certified positive"
    assert 2.0**-52 < found.lower <= found.upper < 2.0**-50


def test_lower_bound_of_cholesky_never_exceeds_the_truth():
    # the shift sits within rounding of the eigenvalue: whichever way the factorisation ends, the bound must hold
    w = np.ones(64)
    w[7] = 2.0**-20
    A = spectrum_known(w)
    ended = 0
    for k in range(-40, 41):
        bound, factor = cholesky_lower_bound(A, 2.0**-20 + k * 2.0**-54)
        assert bound <= 2.0**-20
        ended += factor is not None
    assert 0 < ended < 81


@pytest.mark.parametrize("n", [10, 300])
def test_slack_is_that_of_the_theorem(n):
    # no matrix at hand uses up the theorem's slack on every BLAS, so its size is pinned instead
    A = np.diag(np.linspace(1, 3, n))
    bound, _ = cholesky_lower_bound(A)
    theorem = (n + 1) * 2.0**-53 * np.trace(A)
    assert -2 * theorem - 1e-15 < bound <= -theorem


def test_error_of_the_entries_is_taken_off():
    A = spectrum_known(np.full(16, 2.0))
    exact, _ = cholesky_lower_bound(A, 1.0)
    fuzzy, _ = cholesky_lower_bound(A, 1.0, error=0.25)
    assert exact - fuzzy == pytest.approx(0.25, rel=1e-9)
    found = bracket_in_float64(A, 0.25)
    assert found.lower <= 1.75
    assert found.upper >= 2.25
    assert bracket_in_float64(A, 3.0).verdict == "undecided"
    assert bracket_in_float64(A, math.inf).verdict == "undecided"


def test_perturbation_within_the_error_stays_in_the_bracket():
    rng = np.random.default_rng(3)
    for _ in range(20):
        B = rng.standard_normal((40, 60))
        A = B @ B.T
        E = rng.standard_normal((40, 40))
        E = (E + E.T) / 2
        E *= 1e-3 / linalg.norm(E, 2)
        found = bracket_in_float64(A, 1e-3 * (1 + 1e-9))
        assert found.lower <= linalg.eigvalsh(A + E)[0] <= found.upper


def test_one_by_one():
    assert certify([[0.0]]).verdict == "certified singular"
    found = certify([[3.0]])
    assert found.lower <= 3.0 <= found.upper <= 2 * found.lower
    assert certify([[-3.0]]).verdict == "certified negative"


def test_estimate_lies_between_the_bounds():
    found = certify(np.diag([1.0, 2.0]))
    assert found.lower <= found.estimate <= found.upper


def test_precision_of_flint_is_restored():
    flint = pytest.importorskip("flint")
    before = flint.ctx.prec
    w = np.ones(64)
    w[5] = 2.0**-46
    certify(spectrum_known(w))
    assert flint.ctx.prec == before


def test_without_flint_the_answer_stays_undecided_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    w = np.ones(64)
    w[5] = 2.0**-46
    found = certify(spectrum_known(w))
    plain = certify(spectrum_known(w), high_precision=False)
    assert found == replace(plain, method=found.method)
    assert found.verdict == UNDECIDED
    assert found.method.endswith('pip install "jacntk[certificates]"')


def test_congruence_allows_for_a_poor_guess():
    # R comes from a matrix ten per cent too large, so 1 / |R|^2 alone would exceed the eigenvalue
    flint = pytest.importorskip("flint")
    A = np.diag([1.0, 2.0])
    lower, upper, _ = congruence_bounds(flint.arb_mat(A.tolist()), 1.1 * A, near_enough=0.9)
    assert 0.9 < lower <= 1.0 <= upper < 1.01
    lower, _, _ = congruence_bounds(flint.arb_mat(A.tolist()), 10 * A, stages=1)
    assert lower <= 0.1 + 1e-12  # eta is 0.9 sqrt(2): above 1 nothing is proved


def test_wide_balls_prove_nothing():
    flint = pytest.importorskip("flint")
    wide = [[flint.arb(1, 0.6), flint.arb(0, 0.6)], [flint.arb(0, 0.6), flint.arb(1, 0.6)]]
    found = certify(np.eye(2), error=2.0, enclosure=lambda: flint.arb_mat(wide))
    assert found.verdict == "undecided"
    narrow = [[flint.arb(1, 0.1), flint.arb(0, 0.1)], [flint.arb(0, 0.1), flint.arb(1, 0.1)]]
    found = certify(np.eye(2), error=2.0, enclosure=lambda: flint.arb_mat(narrow))
    assert found.verdict == "certified positive"
    assert found.lower <= 0.8
    assert found.upper >= 1.0


def test_an_unknown_size_has_no_finite_bound():
    assert spectral_bound(np.array([[0.0, math.nan], [math.nan, 1.0]])) == math.inf
