"""Small real tables: four that come with scikit-learn, three of the UCI repository that come with this library."""

from dataclasses import dataclass, replace

import numpy as np

from jacntk_lib._validation import integer, positive_number, real_number

from . import _uci

SCALES = ("standard", "minmax", None)
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
FIRES = "algerian_forest_fires"
FIRES_VARIANTS = {f"{FIRES}_{column}": column for column in ("day", "month", "day_of_year")}
"""The forest fires with that column in place of the region: readings of "dimension 11" that the paper leaves open."""
NAMES = tuple(sorted([*BUNDLED, *_uci.SOURCES]))


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
        """Targets of a regressor, ``y`` or for several classes (N, K) with +1 for the row's class and -1 for others."""
        if self.task != "several classes":
            return self.y
        return np.where(self.y[:, None] == np.unique(self.y), 1.0, -1.0)

    def rows(self, index) -> "Dataset":
        """The same table with only the rows of ``index`` (integers or a mask)."""
        return replace(self, X=self.X[index], y=self.y[index])


def load(name, *, scale="standard", unit_length=True, drop_parallel=None) -> Dataset:
    """One of the tables in ``datasets.NAMES``, scaled for use with an MLP of unit-variance weights.

    Parameters
    ----------
    name : "algerian_forest_fires", "banknote_authentication", "breast_cancer", "diabetes", "digits", "sonar"
        or "wine"; "algerian_forest_fires_day", "..._month" and "..._day_of_year" have that column in place of the
        region.
    scale : "standard" shifts and scales every column to mean 0 and variance 1, "minmax" to smallest value -1 and
        largest 1, over all rows; constant columns become 0. None leaves the columns as they are.
    unit_length : afterwards divide every row by its Euclidean length (a row of zeros stays).
    drop_parallel : a cosine in (0, 1). Going through the rows in order, a row stays if its cosine with every row that
        stayed before is at most that in absolute value. None keeps all rows.

    Notes
    -----
    ``scale="minmax"`` with unit length is what Kim and Yang (2024, Appendix A) do with their tables, and
    ``drop_parallel=0.99`` (GELU) and ``0.995`` (erf) leave their 186 and 320 banknotes. For test scores load the
    table with ``scale=None, unit_length=False`` and let :func:`split` scale by the training rows alone.

    Raises
    ------
    ValueError : unknown name or scale, a cosine outside (0, 1).
    OSError : the file of a UCI table was changed (its SHA-256 is not the recorded one).

    Examples
    --------
    >>> wine = load("wine")
    >>> wine.X.shape, wine.task, wine.scaling
    ((178, 13), 'several classes', 'standard, unit length')
    >>> bool(np.allclose(np.linalg.norm(wine.X, axis=1), 1))
    True
    >>> load("banknote_authentication", scale="minmax", drop_parallel=0.99).X.shape
    (186, 4)
    """
    _require_known(name)
    name = str(name)  # that of a stored result is a np.str_, which messages should not show
    data = _raw(name)
    X = _scaling(data.X, scale, unit_length)(data.X)
    data = replace(data, X=X, scaling=_describe(scale, unit_length))
    return data if drop_parallel is None else data.rows(_not_parallel(X, drop_parallel))


def split(data, *, test=0.3, seed=0, scale="standard", unit_length=True, drop_parallel=None) -> tuple[Dataset, Dataset]:
    """A random training and test part, stratified by class, with equal rows kept on one side.

    Parameters
    ----------
    data : a raw Dataset, from ``load(name, scale=None, unit_length=False)``.
    test : share (0 < test < 1) or number of test rows. It is met to within a row for each class, plus
        whatever keeping copies of one row together costs (copies on both sides would leak labels).
    seed : non-negative integer; the split depends on it alone (NumPy's Philox generator).
    scale, unit_length : as in :func:`load`, but with the means and variances, or the extremes, of the training rows.
    drop_parallel : as in :func:`load`, before the rows are divided: which rows stay is decided once, by the scaling of
        all rows, so that every split is one of the same table.

    Raises
    ------
    ValueError : the data are scaled already, or a part would be empty; and those of :func:`load`.

    Examples
    --------
    >>> train, test = split(load("breast_cancer", scale=None, unit_length=False), test=0.25, seed=1)
    >>> train.X.shape, test.X.shape
    ((427, 30), (142, 30))
    """
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset, as load(name, scale=None, unit_length=False) gives, got {data!r}")
    if data.scaling != "raw":
        raise ValueError(
            f"the data are scaled already ({data.scaling}) by statistics of all rows; give split() the raw "
            "table, load(name, scale=None, unit_length=False), and it scales by the training rows alone"
        )
    if drop_parallel is not None:
        data = data.rows(_not_parallel(_scaling(data.X, scale, unit_length)(data.X), drop_parallel))
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
    scaled_by_training_rows = _scaling(data.X[~in_test], scale, unit_length)
    scaled = replace(
        data, X=scaled_by_training_rows(data.X), scaling=_describe(scale, unit_length, " by the training rows")
    )
    return scaled.rows(~in_test), scaled.rows(in_test)


def note(name) -> str:
    """What a table is, its source, licence and repairs, without loading it.

    Examples
    --------
    >>> note("diabetes")[:12]
    '442 patients'
    """
    _require_known(name)
    if name in BUNDLED:
        return BUNDLED[name]
    if name in FIRES_VARIANTS:
        return f"{note(FIRES)} Here with the {FIRES_VARIANTS[name].replace('_', ' ')} in place of the region."
    source = _uci.SOURCES[name]
    return f"{source.about} {source.citation} Licence {_uci.LICENCE}."


def _require_known(name):
    known = sorted((*NAMES, *FIRES_VARIANTS))
    if name not in known:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(known)}")


def _raw(name):
    if name in BUNDLED:
        return _from_scikit_learn(name)
    table = _uci.fires_with(FIRES_VARIANTS[name]) if name in FIRES_VARIANTS else _uci.read(name)
    return Dataset(*table, note(name), "two classes")


def _from_scikit_learn(name):
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


def _scaling(X, scale, unit_length):
    """The map that :func:`load` promises, with the statistics of the rows of ``X``."""
    if scale not in SCALES:
        raise ValueError(f"scale must be 'standard', 'minmax' or None, got {scale!r}")
    if not isinstance(unit_length, bool):
        raise TypeError(f"unit_length must be True or False, got {unit_length!r}")
    if scale == "standard":
        centre, size = X.mean(axis=0), X.std(axis=0)
        constant = size <= 1e-12 * np.abs(centre)  # its deviation is rounding error of its mean, not exactly zero
    else:
        low, high = X.min(axis=0), X.max(axis=0)
        centre, size, constant = (low + high) / 2, (high - low) / 2, low == high
    size = np.where(constant, 1.0, size)

    def scaled(Z):
        if scale is not None:
            Z = np.where(constant, 0.0, (Z - centre) / size)
        if unit_length:
            length = np.linalg.norm(Z, axis=1, keepdims=True)
            Z = Z / np.where(length == 0, 1.0, length)
        return Z

    return scaled


def _not_parallel(X, cosine):
    """Indices of the rows that stay: greedily, in order, those with |cosine| at most this with all that stayed."""
    if positive_number(cosine, "drop_parallel") >= 1:
        raise ValueError(f"drop_parallel must be a cosine in (0, 1), got {cosine}")
    length = np.linalg.norm(X, axis=1, keepdims=True)
    U = X / np.where(length == 0, 1.0, length)
    kept = []
    for i, u in enumerate(U):
        if (np.abs(U[kept] @ u) <= cosine).all():
            kept.append(i)
    return np.array(kept)


def _describe(scale, unit_length, by=""):
    done = [scale + by] if scale is not None else []
    return ", ".join(done + ["unit length"] * unit_length) or "raw"
