"""Tables as problems of two classes, +1 and -1, and their random parts."""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import datasets


class Table(NamedTuple):
    """How a table becomes a problem of two classes."""

    rows: int  # to train on
    positive: int | None = None  # the class that is +1; None where there are two classes to begin with
    negative: int | None = None  # the class that is -1; None: all others


TABLES = {  # rows such that there are about 500 to 1600 unknowns
    datasets.FIRES: Table(100),
    "banknote_authentication": Table(100),
    "breast_cancer": Table(50),
    "sonar": Table(40),
    "wine": Table(100, positive=1),
    "digits": Table(32, positive=3, negative=8),
}


@lru_cache(maxsize=len(TABLES))
def table(name):
    """The raw table as a problem of two classes, +1 and -1, without repeated rows."""
    data, which = datasets.load(name, scale=None, unit_length=False), TABLES[name]
    if which.negative is not None:
        data = data.rows((data.y == which.positive) | (data.y == which.negative))
    if which.positive is not None:
        data = replace(data, y=np.where(data.y == which.positive, 1.0, -1.0), task="two classes")
    return data.rows(np.sort(np.unique(data.X, axis=0, return_index=True)[1]))


@lru_cache(maxsize=4)
def parts(name, rows, test_rows, seed):
    """Training and test part of a split, scaled by the training rows."""
    data = table(name)
    train, test = datasets.split(data, test=len(data.X) - rows, seed=seed)
    chosen = np.random.Generator(np.random.Philox(seed)).permutation(len(test.X))[:test_rows]
    return train, test.rows(chosen)
