r"""Points whose networks are tied to each other exactly, merged before any eigendecomposition.

Equal points share value and Jacobian. Without bias antipodes share them up to a sign: with odd phi f(-x) = -f(x) and
Jf(-x) = Jf(x), with even phi f(-x) = f(x) and Jf(-x) = -Jf(x). In either case rows of the Gram matrix repeat,
Theta_XX = E Theta_UU E^T with one signed entry per row of E (U the P distinct points), and for
S = Lam^{1/2} Theta_XX Lam^{1/2}

.. math:: E^\top \Lambda^{1/2}\, g(S)\, \Lambda^{1/2} R = D^{1/2} g(D^{1/2} \Theta_{UU} D^{1/2}) D^{1/2} \bar R,
          \quad D = E^\top \Lambda E \text{ (diagonal)}, \quad \bar R = D^{-1} E^\top \Lambda R,

because Lam^{1/2} E D^{-1/2} has orthonormal columns: tied points act as one whose weight is their sum and whose target
is their weighted mean. It is exact for every function g, and it takes the null space that ties cause out of the
problem instead of leaving it to rounding.
"""

from dataclasses import dataclass

import numpy as np

from ..architecture import handles
from ..kernels.ties import Ties, reaching

_AGREE = 1e-10  # tied targets that differ by less, relative to the largest, differ by rounding of the start


@dataclass(frozen=True)
class Distinct(Ties):
    """The ties among the points of a linear system, and what they do to sums, means and targets.

    Attributes
    ----------
    even : whether the sign of an antipode is that of its derivatives, phi being even, and not that of its value.
    """

    even: bool = False

    @classmethod
    def among(cls, mlp, X):
        """The ties among the rows of X that all networks of the architecture ``mlp`` have."""
        handles(mlp, "the search for tied points")
        phi = reaching(mlp, X).phi
        tied = Ties.of(X, antipodes=mlp.sigma_b == 0 and (phi.odd or phi.even))
        return cls(tied.first, tied.group, tied.sign, even=phi.even)

    def sum(self, values):
        """Sums over ties: (N, ...) -> (P, ...)."""
        out = np.zeros((len(self.first), *values.shape[1:]))
        np.add.at(out, self.group, values)
        return out

    def mean(self, R, weights):
        """Means of R (N, 1+d, K), weighted by (N, 1+d), over ties, (P, 1+d, K); 0 on rows without weight."""
        if len(self.first) == len(self.group):
            return R
        weight = self.sum(weights)[:, :, None]
        total = self.sum(weights[:, :, None] * self._aligned(R))
        return np.divide(total, weight, np.zeros_like(total), where=weight > 0)

    def spread(self, rows):
        """From the first points to all: (P, 1+d, ...) -> (N, 1+d, ...)."""
        return self._aligned(rows[self.group])

    def tied_pair(self):
        """Two tied points (i, j), i < j, or ``None``."""
        later = np.setdiff1d(np.arange(len(self.group)), self.first)
        return (int(self.first[self.group[later[0]]]), int(later[0])) if later.size else None

    def conflict(self, R, weights):
        """``(i, j, a)`` where the targets R (N, 1+d, K) of tied points i < j contradict each other most, in row a, or
        ``None``. Only what carries weight (N, 1+d) counts.
        """
        if len(self.first) == len(self.group):
            return None
        observed = np.broadcast_to(weights[:, :, None] > 0, R.shape)
        R = self._aligned(R)
        highest, lowest = np.full((2, len(self.first), *R.shape[1:]), np.array([-np.inf, np.inf])[:, None, None, None])
        np.maximum.at(highest, self.group, np.where(observed, R, -np.inf))
        np.minimum.at(lowest, self.group, np.where(observed, R, np.inf))
        bound = _AGREE * np.abs(R[observed]).max(initial=0.0)
        apart = highest - lowest
        p, a, k = np.unravel_index(apart.argmax(), apart.shape)
        if not apart[p, a, k] > bound:
            return None
        tied = np.flatnonzero((self.group == p) & observed[:, a, k])
        i, j = sorted((tied[R[tied, a, k].argmin()], tied[R[tied, a, k].argmax()]))
        return int(i), int(j), int(a)

    def _aligned(self, rows):
        """Values, or derivatives if phi is even, multiplied by the sign; its own inverse."""
        if (self.sign > 0).all():
            return rows
        sign = self.sign.reshape(-1, *[1] * (rows.ndim - 1))
        value, slopes = rows[:, :1], rows[:, 1:]
        return np.concatenate([value, sign * slopes] if self.even else [sign * value, slopes], axis=1)
