"""python-flint, an optional dependency that only high-precision certificates need."""

from contextlib import contextmanager


def load():
    """The module ``flint``, or an ImportError that says what to install."""
    try:
        import flint
    except ImportError as error:
        raise ImportError("high-precision certificates need python-flint: pip install python-flint") from error
    return flint


@contextmanager
def precision(bits):
    """python-flint's working precision, which is global, set for a while."""
    context = load().ctx
    before = context.prec
    context.prec = bits
    try:
        yield
    finally:
        context.prec = before
