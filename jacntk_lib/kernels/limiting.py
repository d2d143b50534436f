"""The two limiting kernels of a network and its input Jacobian: at initialisation, and of training."""

from .._validation import as_points, columns_of, integer
from ..architecture import MLP, handles
from .gram import JacobianGram
from .scalars import Recomputed, Stored, between, within

MEMORY = 4 << 30  # bytes that the scalars of one Gram matrix may take, unless the caller says otherwise


def jacobian_nngp(mlp: MLP, X, X2=None, *, memory=MEMORY) -> JacobianGram:
    r"""The Jacobian NNGP kernel Sigma^L (Kim and Yang 2024, Theorem 3.1), without kappa^2.

    At initialisation an infinitely wide network and its input Jacobian are jointly Gaussian with mean zero and
    covariance ``kappa**2 * Sigma``. With (u, v) ~ N(0, Sigma^{l-1}) at (x, x'), u_0 the value and u_a the derivatives,

    .. math::

        \Sigma^l_{00} &= s_w^2 E[\phi(u_0)\phi(v_0)] + s_b^2, \\
        \Sigma^l_{a0} &= s_w^2 E[\phi'(u_0) u_a\, \phi(v_0)], \\
        \Sigma^l_{ab} &= s_w^2 E[\phi'(u_0) u_a\, \phi'(v_0) v_b],

    which is also :math:`\Sigma_{ab} = \partial_{x_a}\partial_{x'_b}\Sigma_{00}` (Theorem 3.2), the form computed here.

    Parameters
    ----------
    mlp : the network.
    X : points, shape (N, d), any real dtype; computed in float64.
    X2 : other points, shape (M, d); ``None`` means X, and a symmetric matrix.
    memory : bytes that the scalars may take, 48 N^2 for a symmetric matrix and 64 N M between two sets. Where they
        do not fit, products of a symmetric matrix keep the blocks of pairs that do (32 N^2 for all), and compute the
        others anew every time; between two sets all are computed anew: slower, never larger.

    Returns
    -------
    JacobianGram of shape (N(1+d), M(1+d)), rows by point, then value and d derivatives.

    Raises
    ------
    TypeError : points that are not real numbers, or a jax tracer; ``mlp`` not an MLP.
    ValueError : a wrong shape, no points, NaN or infinity; tables with different columns; a pre-activation variance
        above 1e7, where float64 is too coarse for the derivatives, or one at which the quadrature of an activation
        without closed form does not reach its accuracy; derivatives beyond float64.
    RuntimeError : this process was forked from one that had computed a kernel.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.6, 0.8]])
    >>> np.round(jacobian_nngp(MLP(depth=1, activation="erf"), x).dense(), 3)
    array([[ 1.   ,  0.245,  0.327],
           [ 0.245,  0.873, -0.471],
           [ 0.327, -0.471,  0.598]])
    """
    return _gram(mlp, X, X2, memory, tangent=False)


def jacobian_ntk(mlp: MLP, X, X2=None, *, memory=MEMORY) -> JacobianGram:
    r"""The limiting Jacobian NTK Theta^L (Kim and Yang 2024, Theorem 4.3), without kappa^2.

    The Gram matrix of the parameter gradients of f and of every df/dx_a, divided by kappa^2, tends to it:

    .. math::

        \Theta^0_{00} &= \Sigma^0_{00}, \\
        \Theta^l_{00} &= \Sigma^l_{00} + \Theta^{l-1}_{00}\, s_w^2 E[\phi'(u_0)\phi'(v_0)], \\
        \Theta_{ab} &= \partial_{x_a}\partial_{x'_b}\Theta_{00}.

    Parameters, shapes and errors as in :func:`jacobian_nngp`.

    Examples
    --------
    >>> import numpy as np
    >>> G = jacobian_ntk(MLP(depth=3, activation="gelu"), np.eye(3))
    >>> G
    JacobianGram(points=3, dimension=3, shape=(12, 12))
    >>> (G @ np.ones(12)).shape
    (12,)
    """
    return _gram(mlp, X, X2, memory, tangent=True)


def _gram(mlp, X, X2, memory, *, tangent):
    handles(mlp, "jacobian_ntk" if tangent else "jacobian_nngp")
    memory = integer(memory, "memory", at_least=1)
    columns, X = columns_of(X), as_points(X, "X")
    if X2 is not None:
        X2 = as_points(X2, "X2", X.shape[1], columns)
    scale = mlp.column_scales(X.shape[1])
    Z, Z2 = (Y if scale is None or Y is None else Y * scale for Y in (X, X2))
    needed = 48 * len(X) ** 2 if X2 is None else 64 * len(X) * len(X2)
    if needed > memory:
        scalars = Recomputed(mlp, tangent, Z, Z if X2 is None else Z2, memory=memory)
    elif X2 is None:
        scalars = Stored(within(mlp, Z, tangent=tangent))
    else:
        scalars = Stored(between(mlp, Z, Z2, tangent=tangent))
    return JacobianGram(X, X2, scalars, source=(mlp, tangent), scale=scale)
