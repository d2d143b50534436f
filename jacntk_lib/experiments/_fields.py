"""Checks that the configurations of several figures share."""


def as_tuples(config, *names, repeats=()):
    """Turn fields of a frozen configuration into tuples of one or more values, which differ but in ``repeats``.

    Raises
    ------
    ValueError : a field is empty or repeats a value.
    TypeError : a field is a single value.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise TypeError(f"{name} must be a list of values, got {value!r}")
        values = tuple(value)
        if not values or (name not in repeats and len(set(values)) < len(values)):
            raise ValueError(f"{name} must be one or more different values, got {values}")
        object.__setattr__(config, name, values)
