"""Products whose scalars are recomputed, against the dense matrix."""

import itertools
import os
import pickle
import threading

import numpy as np
import pytest
from helpers import unit_points
from threadpoolctl import threadpool_info

from jacntk_lib import MLP, jacobian_nngp, jacobian_ntk
from jacntk_lib.kernels import schedule
from jacntk_lib.kernels.recursion import SIDE, TILES
from jacntk_lib.kernels.scalars import value_products

KERNELS = {"nngp": jacobian_nngp, "ntk": jacobian_ntk}


def awkward_points(N, d=2):
    """Points of several lengths; equal ones and antipodes within a tile, across tiles and across blocks."""
    X = unit_points(N, d) * np.linspace(0.5, 1.5, N)[:, None]
    for i, j, sign in ((1, 0, 1.0), (N - 1, 0, 1.0), (N // 2, 2, -1.0), (N - 2, 3, -1.0)):
        X[i % N] = sign * X[j % N]
    return X


def vectors(rows, columns=2):
    return np.random.default_rng(1).standard_normal((rows, columns))


def error(product, G, V):
    """Against the dense product, relative to what the terms of every entry add up to without their signs."""
    D = G.dense()
    return np.max(np.abs(product - D @ V) / (np.abs(D) @ np.abs(V)).max())


# ------------------------------------------------------------------------------------------------ recomputed


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("N", [1, 2, SIDE - 1, SIDE + 1, TILES * SIDE + 1, 2 * schedule.BLOCK + 3])
def test_half_of_the_pairs_serve_all(N, kernel):
    X, V = awkward_points(N), vectors(3 * N)
    mlp = MLP(2, "gelu", sigma_b=0.1)
    stored, recomputed = KERNELS[kernel](mlp, X), KERNELS[kernel](mlp, X, memory=1)
    assert error(recomputed @ V, stored, V) < 1e-14
    assert error((V.T @ recomputed).T, stored, V) < 1e-14
    assert np.array_equal((recomputed @ V[:, 0]).shape, (3 * N,))


def test_what_fits_is_kept_and_the_rest_recomputed():
    """Three of six blocks; a pickle has none of them."""
    N = 2 * schedule.BLOCK + 3
    X, V = awkward_points(N), vectors(3 * N)
    room = 3 * 8 * 8 * schedule.BLOCK**2
    G = jacobian_ntk(MLP(2), X, memory=room)
    assert 0 < G.share_recomputed < 1 == jacobian_ntk(MLP(2), X, memory=1).share_recomputed
    first = G @ V
    assert error(first, jacobian_ntk(MLP(2), X), V) < 1e-14
    assert np.array_equal(G @ V, first)
    assert len(pickle.dumps(G)) < 1e5 < room


@pytest.mark.parametrize("activation", ["erf", "sin", "tanh"])
def test_half_of_the_pairs_for_every_kind_of_formula(activation):
    """A quadrature has smaller tiles."""
    N = 40 if activation == "tanh" else 150
    X, V = awkward_points(N), vectors(3 * N, 1)
    G = jacobian_ntk(MLP(2, activation), X)
    assert error(jacobian_ntk(MLP(2, activation), X, memory=1) @ V, G, V) < 1e-13


@pytest.mark.parametrize(("N", "M"), [(1, 70), (70, 1), (300, 65)])
def test_between_two_sets(N, M):
    X, X2 = awkward_points(N), unit_points(M, 2, seed=4)
    X2[0] = X[0]
    G, R = jacobian_ntk(MLP(3), X, X2), jacobian_ntk(MLP(3), X, X2, memory=1)
    assert error(R @ vectors(3 * M), G, vectors(3 * M)) < 1e-14
    assert error(R.T @ vectors(3 * N), G.T, vectors(3 * N)) < 1e-14


def test_other_coordinates_than_those_of_the_scalars():
    X = np.concatenate([awkward_points(90), np.zeros((90, 2))], axis=1)
    basis, V = np.eye(4)[:, :2], vectors(270)
    G = jacobian_ntk(MLP(2), X)
    assert error(jacobian_ntk(MLP(2), X, memory=1).rotated(basis) @ V, G.rotated(basis), V) < 1e-14


def test_the_same_to_the_bit_on_any_number_of_cores(monkeypatch):
    X, V = awkward_points(3 * schedule.BLOCK + 1), vectors(3 * (3 * schedule.BLOCK + 1), 1)
    G = jacobian_ntk(MLP(1), X, memory=1)
    products = []
    for cores in (1, 5):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        products.append(G @ V)
    assert np.array_equal(*products)


@pytest.mark.parametrize(("N", "M"), [(1, 1), (3, 3 * schedule.BLOCK + 1), (TILES * SIDE + 1, 70)])
def test_values_alone(N, M):
    """Few points with many are divided by columns, many with few by rows."""
    X, X2, V = unit_points(N, 2, seed=4), awkward_points(M), vectors(3 * M)
    R, parts = jacobian_ntk(MLP(2), X, X2), V.reshape(M, 3, 2)
    values = value_products(MLP(2), X, X2, parts[:, 0], parts[:, 1:], tangent=True)
    assert np.max(np.abs(values - (R @ V)[::3])) < 1e-13 * np.abs(R.dense()).sum(axis=1).max()


# ------------------------------------------------------------------------------------------------ the order of things


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 7, schedule.BLOCKS])
def test_rounds_hold_every_pair_once_and_no_block_twice(blocks):
    found = schedule.rounds(schedule.BLOCK * blocks)
    starts = [[(first.start, second.start) for first, second in pairs] for pairs in found]
    expected = {(i, j) for i in range(blocks) for j in range(i, blocks)}
    assert sorted(itertools.chain(*starts)) == sorted((schedule.BLOCK * i, schedule.BLOCK * j) for i, j in expected)
    assert all(len({start for pair in pairs for start in pair}) == 2 * len(pairs) for pairs in starts[1:])


def test_many_points_have_few_blocks_that_cover_them():
    (diagonal, *_) = schedule.rounds(100_001)
    assert len(diagonal) <= schedule.BLOCKS
    assert [block.start for block, _ in diagonal[1:]] == [block.stop for block, _ in diagonal[:-1]]
    assert diagonal[-1][0].stop == 100_001


@pytest.mark.parametrize("size", [1, 7, 8, 9, 37])
def test_strips_cover_the_upper_half_once(size):
    block, other = slice(5, 5 + size), slice(50, 61)
    times = np.zeros((70, 70), dtype=int)
    for rows, cols in schedule.above(block, block, 16, 4):
        times[rows, cols] += 1
        assert rows.stop <= cols.start or (rows.stop == cols.stop and rows.start <= cols.start)
    inside = np.triu(times[block, block])
    assert np.array_equal(inside, np.triu(np.ones((size, size))))
    assert not times[np.tril_indices(70, -4)].any()
    for rows, cols in schedule.above(block, other, 16, 4):
        times[rows, cols] += 1
    assert (times[block, other] == 1).all()


def blas_threads():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_linear_algebra_has_its_threads_back_afterwards():
    before = blas_threads()
    inside, both = [], threading.Barrier(2, timeout=60)

    def look(_):
        both.wait()
        inside.append(blas_threads())

    schedule.on_all_cores(look, [(1,), (2,)])
    assert inside == [[1] * len(before)] * 2

    def fail(i):
        raise ValueError(f"task {i}")

    with pytest.raises(ValueError, match="task 1"):
        schedule.on_all_cores(fail, [(1,), (2,)])
    assert blas_threads() == before
