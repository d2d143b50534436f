"""What a preconditioner of a given memory is worth: ours beside low ranks of the whole matrix.

    python benchmarks/preconditioners.py [--points 100]

Values and gradients of a smooth function on R^16 whose columns differ a hundredfold in relevance, GELU, depth 3, ridge
1e-3, solved to 1e-4, once with columns scaled by relevance (``columns``) and once by ``input_scale`` (``scales``). A
low rank L L^T + ridge I is given as many numbers as the triangle of our Cholesky factor; "eigenvectors" is the best
there is of its rank, "points" the Nystroem approximation from some of the points with their gradients. The matrix is
formed, for these alone. Counts of products, no times: they hold on any machine.
"""

import argparse

import numpy as np
import scipy.linalg
from _timing import table

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.solve import Iterative
from jacntk_lib.solve.conjugate_gradients import conjugate_gradients
from jacntk_lib.solve.preconditioner import Preconditioner

RIDGE, TOLERANCE, D = 1e-3, 1e-4, 16


def problems(N):
    """``{name: (Gram matrix, right-hand side)}``."""
    rng, relevance = np.random.default_rng(0), np.geomspace(1.0, 0.01, D)
    X, mixing = rng.standard_normal((N, D)), np.linalg.qr(rng.standard_normal((D, D)))[0]
    slopes = np.cos(X * relevance @ mixing) @ mixing.T  # by the scaled columns
    values = np.sin(X * relevance @ mixing).sum(axis=1)
    columns = jacobian_ntk(MLP(3, "gelu", sigma_b=1.0), X * relevance)
    scales = jacobian_ntk(MLP(3, "gelu", sigma_b=1.0, input_scale=tuple(relevance)), X)
    return {
        name: (gram, np.insert(gradients, 0, values, axis=1).reshape(-1, 1))
        for name, gram, gradients in (("columns", columns, slopes), ("scales", scales, slopes * relevance))
    }


def low_ranks(S, rank):
    """``{name: L}`` with L (n, rank) and ``L L^T`` near S."""
    w, V = scipy.linalg.eigh(S, subset_by_index=[len(S) - rank, len(S) - 1])
    cholesky, pivots, _, _ = scipy.linalg.lapack.dpstrf(np.asfortranarray(S), lower=1)
    pivoted = np.zeros((len(S), rank))
    pivoted[pivots - 1] = np.tril(cholesky)[:, :rank]
    some = S[:rank, :rank] + 1e-12 * np.trace(S) * np.eye(rank)  # the points are in random order
    points = scipy.linalg.solve_triangular(np.linalg.cholesky(some), S[:rank], lower=True).T
    return {"eigenvectors": V * np.sqrt(np.maximum(w, 0.0)), "pivoted Cholesky": pivoted, "points": points}


def inverse(L):
    """x -> (L L^T + ridge I)^{-1} x."""
    factor = scipy.linalg.cho_factor(L.T @ L + RIDGE * np.eye(L.shape[1]))
    return lambda x: (x - L @ scipy.linalg.cho_solve(factor, L.T @ x)) / RIDGE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100)
    N = parser.parse_args().points
    records = []
    for name, (gram, b) in problems(N).items():
        ours = Preconditioner(gram, gram.row_factors, Iterative(exact_rows=4 * N), RIDGE)
        rank = ours.exact_rows**2 // (2 * len(b))
        S = gram.dense()
        ways = {"none": np.copy, f"ours, {ours.exact_rows} rows": ours.at(RIDGE)}
        ways |= {f"{way}, rank {rank}": inverse(L) for way, L in low_ranks(S, rank).items()}
        S[np.diag_indices_from(S)] += RIDGE
        for way, precondition in ways.items():
            _, residual, history = conjugate_gradients(
                S.__matmul__, b, precondition, tolerance=TOLERANCE, max_iterations=1000
            )
            products = len(history) if residual <= TOLERANCE else f"> {len(history)}"
            records.append({"problem": name, "preconditioner": way, "products": products})
    print(table(records, {key: key for key in records[0]}))


if __name__ == "__main__":
    main()
