"""Fitting that changes an estimator completely or not at all."""

import copy
import functools


def all_or_nothing(fit):
    """Decorate ``fit`` so that an exception or an interrupt within it leaves the estimator as it was before.

    The method works on a shallow copy of the estimator, and its attributes are taken over in one assignment at the end.
    A refit that is refused or interrupted therefore keeps the earlier model, and a first fit leaves none.

    >>> class Half:
    ...     @all_or_nothing
    ...     def fit(self, slope):
    ...         self.slope_ = slope
    ...         self.inverse_ = 1 / slope
    >>> half = Half().fit(2)
    >>> half.fit(0)
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    >>> half.slope_, half.inverse_
    (2, 0.5)
    """

    @functools.wraps(fit)
    def wrapped(self, *arguments, **named):
        fitted = copy.copy(self)
        fit(fitted, *arguments, **named)
        self.__dict__ = fitted.__dict__
        return self

    return wrapped
