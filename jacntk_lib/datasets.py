"""Inputs for the experiments: spread-out points on a sphere, and small real tables.

Seven tables: wine, breast_cancer, digits and diabetes come with scikit-learn and need no network; three of the
UCI repository are downloaded once, or read from the folder named by ``JACNTK_DATA_DIR``, and either way
compared with a recorded SHA-256.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import _uci
from ._validation import as_points, integer, non_negative_number, real_number

BUNDLED = {
    "breast_cancer": "569 tumours x 30 measurements; +1 benign, -1 malignant. Wolberg, W., Mangasarian, O., "
    "Street, N. & Street, W. (1995). Breast Cancer Wisconsin (Diagnostic). UCI Machine Learning Repository. "
    "https://doi.org/10.24432/C5DW2B. Licence CC BY 4.0; bundled with scikit-learn.",
    "diabetes": "442 patients x 10 measurements, target: disease progression after one year (25 to 346). "
    "Efron, B., Hastie, T., Johnstone, I. & Tibshirani, R. (2004). Least Angle Regression. Annals of "
    "Statistics 32, 407-499. Bundled with scikit-learn (BSD 3-Clause), here in its original units.",
    "digits": "1797 images of 8 x 8 pixels, labels 0 to 9 (several classes: see Dataset.targets). Alpaydin, "
    "E. & Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning Repository. "
    "https://doi.org/10.24432/C50P49. Licence CC BY 4.0; its test part is bundled with scikit-learn.",
    "wine": "178 wines x 13 chemical measurements, labels 0 to 2 (several classes: see Dataset.targets). "
    "Aeberhard, S. & Forina, M. (1991). Wine. UCI Machine Learning Repository. "
    "https://doi.org/10.24432/C5PC7J. Licence CC BY 4.0; bundled with scikit-learn.",
}
NAMES = tuple(sorted([*BUNDLED, *_uci.SOURCES]))
SHAPES = {
    "algerian_forest_fires": (244, 11),
    "banknote_authentication": (1372, 4),
    "breast_cancer": (569, 30),
    "diabetes": (442, 10),
    "digits": (1797, 64),
    "sonar": (208, 60),
    "wine": (178, 13),
}
"""Rows and columns of each table, known without downloading it."""
REPEATED = {"banknote_authentication": 24}
"""How many rows of a table equal an earlier one, where any do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table: ``X`` (N, d) float64, ``y`` (N,) float64, ``names`` of the d columns, and a ``note``.

    ``y`` is +1/-1 where there are two classes, the class number 0, 1, ... where there are more, and the
    measured target for regression; ``task`` says which ("two classes", "several classes", "regression").
    ``scaling`` says what was done to ``X``; ``note`` gives source, licence, citation and every repair.
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    note: str
    task: str
    scaling: str = "raw"

    @property
    def targets(self) -> np.ndarray:
        """What a regressor is fitted to: ``y``, or (N, K) with +1 for the row's class and -1 for others."""
        if self.task != "several classes":
            return self.y
        return np.where(self.y[:, None] == np.unique(self.y), 1.0, -1.0)

    def rows(self, index) -> "Dataset":
        """The same table with only the rows of ``index`` (integers or a mask)."""
        return replace(self, X=self.X[index], y=self.y[index])


def load(name, *, standardise=True, unit_length=True) -> Dataset:
    """One of the tables in ``datasets.NAMES``, scaled for use with an MLP of unit-variance weights.

    Parameters
    ----------
    name : "algerian_forest_fires", "banknote_authentication", "breast_cancer", "diabetes", "digits", "sonar"
        or "wine".
    standardise : shift and scale every column to mean 0 and variance 1 over all rows; constant columns
        become 0.
    unit_length : afterwards divide every row by its Euclidean length (a row of zeros stays).

    Notes
    -----
    Both are on by default. They are our reading of the setting of Kim and Yang (2024), whose theory takes
    inputs of unit length; how the paper scaled its columns beforehand is not known to us. For honest test
    scores load the table with both off and let :func:`split` scale by the training rows alone.

    Raises
    ------
    ValueError : unknown name.
    DataUnavailableError : a UCI table can be had neither from ``JACNTK_DATA_DIR`` nor from the network, or
        the file found has the wrong checksum.

    Examples
    --------
    >>> wine = load("wine")
    >>> wine.X.shape, wine.task, wine.scaling
    ((178, 13), 'several classes', 'standardised, unit length')
    >>> bool(np.allclose(np.linalg.norm(wine.X, axis=1), 1))
    True
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(NAMES)}")
    name = str(name)  # that of a stored result is a np.str_, which messages should not show
    data = _bundled(name) if name in BUNDLED else _from_uci(name)
    scale = _scaling(data.X, standardise=standardise, unit_length=unit_length)
    return replace(data, X=scale(data.X), scaling=_describe(standardise, unit_length))


def split(data, *, test=0.3, seed=0, standardise=True, unit_length=True) -> tuple[Dataset, Dataset]:
    """A random training and test part, stratified by class, with equal rows kept on one side.

    Parameters
    ----------
    data : a raw Dataset, from ``load(name, standardise=False, unit_length=False)``.
    test : share (0 < test < 1) or number of test rows. It is met to within a row for each class, plus
        whatever keeping copies of one row together costs (copies on both sides would leak labels).
    seed : non-negative integer; the split depends on it alone (NumPy's Philox generator).
    standardise, unit_length : as in :func:`load`, but with the means and variances of the training rows.

    Raises
    ------
    ValueError : the data are scaled already, or a part would be empty.

    Examples
    --------
    >>> train, test = split(load("breast_cancer", standardise=False, unit_length=False), test=0.25, seed=1)
    >>> train.X.shape, test.X.shape
    ((427, 30), (142, 30))
    """
    if data.scaling != "raw":
        raise ValueError(
            f"the data are scaled already ({data.scaling}) by statistics of all rows; give split() the raw "
            "table, load(name, standardise=False, unit_length=False), and it scales by the training rows "
            "alone"
        )
    N = len(data.X)
    share = real_number(test, "test")
    share = share / N if share >= 1 else share
    if not 0 < share < 1:
        raise ValueError(f"test must be a share in (0, 1) or a number of rows below {N}, got {test!r}")
    draw = np.random.Generator(np.random.Philox(integer(seed, "seed", at_least=0)))
    _, group = np.unique(data.X, axis=0, return_inverse=True)  # equal rows share a group
    group = group.reshape(-1)
    stratum = data.y if data.task != "regression" else np.zeros(N)
    in_test = np.zeros(N, dtype=bool)
    for label in np.unique(stratum):
        of_label = stratum == label
        # A copy of one of these rows may carry another label and sit in the test part already
        wanted = round(share * np.count_nonzero(of_label)) - np.count_nonzero(in_test & of_label)
        for g in draw.permutation(np.unique(group[of_label & ~in_test])):
            copies = group == g
            if wanted < 1:
                break
            in_test |= copies
            wanted -= np.count_nonzero(copies & of_label)
    if not in_test.any() or in_test.all():
        raise ValueError(f"test={test!r} leaves one part of the {N} rows empty; choose another size")
    scale = _scaling(data.X[~in_test], standardise=standardise, unit_length=unit_length)
    scaled = replace(data, X=scale(data.X), scaling=_describe(standardise, unit_length, " by the training rows"))
    return scaled.rows(~in_test), scaled.rows(in_test)


class Separation(NamedTuple):
    """How far a set of points is from having duplicates and from having antipodal pairs."""

    smallest_distance: float  # min over pairs of |x - x'|
    smallest_antipodal_distance: float  # min over pairs of |x + x'|


def separation(X) -> Separation:
    """The smallest ``|x - x'|`` and the smallest ``|x + x'|`` over all pairs of rows of X (N, d); inf for N = 1.

    >>> separation([[1.0, 0.0], [0.0, 1.0]])
    Separation(smallest_distance=1.4142135623730951, smallest_antipodal_distance=1.4142135623730951)
    """
    X = as_points(X)
    nearest = [np.inf, np.inf]
    for i in range(1, len(X)):
        for k, sign in enumerate((-1.0, 1.0)):
            nearest[k] = min(nearest[k], float(np.linalg.norm(X[:i] + sign * X[i], axis=1).min()))
    return Separation(*nearest)


def sphere_net(n, d, seed=0, *, antipodal_range=0.5) -> np.ndarray:
    r"""``n`` well-spread points on the unit sphere of R^d, as an (n, d) array; the same on every machine.

    Random points repel each other with the force :math:`|x-x'|^{-p}`, p rising from 3 to 65, so that in the end the
    closest pairs alone are pushed apart; and each repels the others' antipodes, at ``antipodal_range`` (0 to 1) times
    the distance. So no pair is equal or antipodal: an antipodal pair makes the Jacobian kernels of an odd activation
    singular, and a nearly antipodal one nearly so. 256 points in R^4 end with a smallest distance of 0.44 and a
    smallest distance to an antipode of 0.22 (see :func:`separation`); with ``antipodal_range=0``, plain repulsion, of
    0.45 and 0.03, and small symmetric nets (a square in the plane) are antipodal. Cost O(n^2 d) time and O(n^2)
    memory a step, 500 steps.

    After every step the coordinates are rounded to multiples of 2^-16. That costs nothing in spread, and it
    swallows the rounding errors of the machine's arithmetic, which the repulsion would otherwise amplify into
    another net.

    Raises
    ------
    ValueError : n or d below one, an antipodal range outside [0, 1]; or d = 1 with n > 1, where every pair is equal
        or antipodal.

    Examples
    --------
    >>> X = sphere_net(64, 4, seed=0)
    >>> X.shape, round(separation(X).smallest_distance, 2)
    ((64, 4), 0.7)
    """
    antipodal_range = non_negative_number(antipodal_range, "antipodal_range")
    if antipodal_range > 1:
        raise ValueError(f"antipodal_range must be in [0, 1], got {antipodal_range}")
    n, d, seed = integer(n, "n", at_least=1), integer(d, "d", at_least=1), integer(seed, "seed", at_least=0)
    if d == 1 and n > 1:
        raise ValueError(f"the sphere of R^1 is the two points -1 and 1, an antipodal pair: n must be 1, got {n}")
    X = np.random.Generator(np.random.Philox(seed)).standard_normal((n, d))
    X = _on_grid(X / np.linalg.norm(X, axis=1, keepdims=True))
    if n == 1:
        return X / np.linalg.norm(X)
    steps, first_step = 500, 0.2
    for k in range(steps):
        cosine = X @ X.T
        apart, to_antipode = (np.maximum(2 - 2 * sign * cosine, 1e-12) for sign in (1, -1))  # squared distances
        for squared in (apart, to_antipode):
            np.fill_diagonal(squared, np.inf)
        nearest = apart.min()
        if antipodal_range > 0:
            nearest = min(nearest, to_antipode.min() / antipodal_range**2)
        half_power = 2 + 31 * k / steps
        push = (nearest / apart) ** half_power
        push_from_antipode = (antipodal_range**2 * nearest / to_antipode) ** half_power
        force = push_from_antipode @ X - push @ X
        force -= np.sum(force * X, axis=1, keepdims=True) * X  # along the sphere
        strongest = np.linalg.norm(force, axis=1).max()
        if strongest == 0:
            break
        X = X + first_step * np.sqrt(nearest) * (1 - k / steps) / strongest * force
        X = _on_grid(X / np.linalg.norm(X, axis=1, keepdims=True))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def _on_grid(X):
    return np.round(X * 2.0**16) / 2.0**16


def note(name) -> str:
    """What a table is, its source, licence and repairs, without loading it.

    Examples
    --------
    >>> note("diabetes")[:12]
    '442 patients'
    """
    if name in BUNDLED:
        return BUNDLED[name]
    source = _uci.SOURCES[name]
    return f"{source.about} {source.citation} Licence {_uci.LICENCE}."


def _bundled(name):
    from sklearn import datasets as sklearn_datasets

    if name == "diabetes":
        table = sklearn_datasets.load_diabetes(scaled=False)
    else:
        table = getattr(sklearn_datasets, f"load_{name}")()
    X, y = np.asarray(table.data, dtype=float), np.asarray(table.target, dtype=float)
    task = {"diabetes": "regression", "breast_cancer": "two classes"}.get(name, "several classes")
    if task == "two classes":
        y = 2.0 * y - 1.0
    return Dataset(X, y, tuple(str(column) for column in table.feature_names), BUNDLED[name], task)


def _from_uci(name):
    X, y, names = _uci.READERS[name](_uci.raw(name))
    return Dataset(X, y, names, note(name), "two classes")


def _scaling(X, *, standardise, unit_length):
    """The map that :func:`load` promises, with means and deviations of the rows of ``X``."""
    for name, value in (("standardise", standardise), ("unit_length", unit_length)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    # A constant column's deviation is rounding error of its mean, not exactly zero
    constant = deviation <= 1e-12 * np.abs(mean)
    deviation = np.where(constant, 1.0, deviation)

    def scale(Z):
        if standardise:
            Z = np.where(constant, 0.0, (Z - mean) / deviation)
        if unit_length:
            length = np.linalg.norm(Z, axis=1, keepdims=True)
            Z = Z / np.where(length == 0, 1.0, length)
        return Z

    return scale


def _describe(standardise, unit_length, by=""):
    done = ["standardised" + by] * standardise + ["unit length"] * unit_length
    return ", ".join(done) or "raw"
