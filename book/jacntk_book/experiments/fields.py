"""Checks that the configurations of several figures share."""

from .. import datasets


def as_tuples(config, *names, repeats=(), empty=()):
    """Turn fields of a frozen configuration into tuples of one or more values, which differ but in ``repeats``.

    Those in ``empty`` may hold none.

    Raises
    ------
    ValueError : a field is empty or repeats a value.
    TypeError : a field is a single value, or holds something else than numbers, names and lists of them.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, str | dict) or not hasattr(value, "__iter__"):
            raise TypeError(f"{name} must be a list of values, got {value!r}")
        values = tuple(value)
        try:
            different = len(set(values)) == len(values)
        except TypeError as error:
            raise TypeError(f"{name} must be a list of numbers or names, got {value!r}") from error
        if (not values and name not in empty) or (not different and name not in repeats):
            raise ValueError(f"{name} must be one or more different values, got {values}")
        object.__setattr__(config, name, values)


def known_table(name):
    """Refuse what :func:`jacntk_book.datasets.load` does not know.

    Raises
    ------
    ValueError : it lists the known ones.
    """
    if name not in (*datasets.NAMES, *datasets.FIRES_VARIANTS):
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(datasets.NAMES)}")
