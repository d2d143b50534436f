r"""S = D^{1/2} Theta D^{1/2} for a diagonal D, made as small as is exactly possible.

With Q an orthonormal basis of the span of the points (r columns), rotating every Jacobian by [Q, Q_perp] gives

.. math:: \Theta(X) \cong \Theta(XQ) \oplus k_C \otimes I_{d-r},

so that N(1+d) unknowns become N(1+r), *inside* the span, plus d - r copies of one N x N problem *outside* it. Weights
that differ from column to column, or an ``input_scale`` per column, leave no such rotation; then all N(1+d) stay.
"""

import numpy as np

from .._validation import as_array
from ..solve import EPS, require_symmetric
from ..solve.preconditioner import Preconditioner


class WeightedGram:
    r"""The two matrices, inside and outside the span, and the maps between them and arrays (P, 1+d, K).

    Rows without weight (nothing was observed there) and rows that vanish identically (f(0) of a network without bias
    and with phi(0) = 0) are left out.

    Parameters
    ----------
    gram : symmetric and unscaled, P points in R^d.
    weights : D, (P, 1+d), >= 0, on the value and on each of the d derivatives.
    reduce : take the span of the points out first. ``False`` is for tests: the results are the same.

    Attributes
    ----------
    basis : (d, r), or ``None`` where the points span R^d.
    copies : d - r.
    silent : bool (P, 1+d), rows that carry weight but vanish identically.
    """

    def __init__(self, gram, weights, *, reduce=True):
        require_symmetric(gram)
        points = len(gram.X)
        root = np.sqrt(as_array(weights, "weights", (points, 1 + gram.d)))
        slope = root[:, 1]
        alike = gram.scale is None and bool((root[:, 1:] == slope[:, None]).all())
        self.basis = span(gram.X) if reduce and alike else None
        self.copies = 0 if self.basis is None else gram.d - self.basis.shape[1]
        self.silent = (gram.diagonal().reshape(points, -1) == 0.0) & (root > 0)
        self._values_only = not root[:, 1:].any()
        self._gram = gram
        if self.basis is not None:
            self._gram = gram.rotated(self.basis)
            root = root[:, : 1 + self._gram.d]
        self._rows = ((root > 0) & (self._gram.diagonal().reshape(root.shape) > 0)).ravel()
        self._root = root.ravel()[self._rows]
        self._rows_out = slope > 0 if self.copies else np.zeros(points, dtype=bool)
        self._root_out = slope[self._rows_out]

    def inside(self):
        """S on the active rows of values and Jacobian components in the span, (n, n)."""
        if self._values_only:  # no penalty at all: the ordinary kernel, and no need to form the rest
            rows = self._rows.reshape(len(self._gram.X), -1)[:, 0]
            matrix = self._gram.values() if rows.all() else self._gram.values()[np.ix_(rows, rows)]
        else:
            matrix = self._gram.submatrix(self._rows)
        matrix *= self._root[:, None]
        matrix *= self._root[None, :]
        return matrix

    def outside(self):
        """S on any one Jacobian component orthogonal to the span, (n_out, n_out)."""
        matrix = self._gram.k_C[np.ix_(self._rows_out, self._rows_out)]
        return self._root_out[:, None] * matrix * self._root_out[None, :]

    @property
    def unknowns(self):
        """How many rows :meth:`inside` has."""
        return len(self._root)

    def multiply(self, x):
        """``inside() @ x`` for x (n, K), without the matrix."""
        return self._root[:, None] * self._of_all(self._gram @ self._among_all(self._root[:, None] * x))

    def _among_all(self, x):
        """x (n, K) with zeros on the rows that are left out; x itself where there are none."""
        if len(x) == len(self._rows):
            return x
        full = np.zeros((len(self._rows), x.shape[1]))
        full[self._rows] = x
        return full

    def _of_all(self, full):
        """What is not left out of (P(1+d), K)."""
        return full if len(self._root) == len(full) else full[self._rows]

    def preconditioner(self, options, smallest=0.0, outputs=1):
        """A function from the ridge to an approximate inverse of S + ridge I, x -> (n, K) for x (n, K).

        Each takes the place of the last. ``options``, the ``smallest`` ridge and ``outputs`` are those of
        :class:`~jacntk_lib.solve.preconditioner.Preconditioner`.
        """
        root = np.zeros(len(self._rows))
        root[self._rows] = self._root
        root = root.reshape(len(self._gram.X), -1) * self._gram.row_factors
        whole = Preconditioner(self._gram, root, options, smallest, outputs)  # on all rows

        def at(ridge):
            precondition = whole.at(ridge)

            return lambda x: self._of_all(precondition(self._among_all(x)))

        return at

    def gather(self, R):
        """``D^{1/2} R`` for R (P, 1+d, K): rows inside (n, K), and outside (n_out, d, K) or ``None`` where all zero."""
        outside = None
        if self.basis is not None:
            slopes = R[:, 1:]
            inside = self.basis.T @ slopes  # (P, r, K)
            if self._rows_out.any() and slopes.any():
                rest = (slopes - self.basis @ inside)[self._rows_out]
                outside = self._root_out[:, None, None] * rest
            R = np.concatenate([R[:, :1], inside], axis=1)
        return self._root[:, None] * self._of_all(R.reshape(-1, R.shape[2])), outside

    def scatter(self, inside, outside=None):
        """``D^{1/2} q`` as (P, 1+d, K), from rows as :meth:`gather` gives them; its transpose."""
        points, K = len(self._rows_out), inside.shape[1]
        flat = self._among_all(self._root[:, None] * inside)
        flat = flat.reshape(points, len(self._rows) // points, K)
        if self.basis is None:
            return flat
        slopes = self.basis @ flat[:, 1:]  # (P, d, K)
        if outside is not None:
            slopes[self._rows_out] += self._root_out[:, None, None] * outside
        return np.concatenate([flat[:, :1], slopes], axis=1)


def span(X):
    """Orthonormal basis (d, r) of the span of the rows of X, or ``None`` where they span R^d.

    Directions in which the points extend less than rounding (``max(N, d) eps`` of the largest) do not count.
    """
    _, extents, directions = np.linalg.svd(X, full_matrices=False)
    r = max(1, int((extents > extents[0] * max(X.shape) * EPS).sum()))  # all points at the origin: any direction
    return None if r == X.shape[1] else np.ascontiguousarray(directions[:r].T)
