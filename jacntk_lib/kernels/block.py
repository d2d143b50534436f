r"""Dense blocks of a kernel in jax: of one pair of points as a function, for those who use jax, and of several."""

from functools import partial

from .._float64 import jitted, jnp
from ..activations import names_in_closed_form
from ..architecture import MLP, handles
from .recursion import _constants, first_layer, hidden_layer, jets


def block_function(mlp: MLP, *, tangent=True):
    r"""``block(x, x2, scale=None)``: values and derivatives of a kernel between two points, to be differentiated again.

    .. math:: \begin{pmatrix} k & \partial_{x'_b} k \\ \partial_{x_a} k & \partial_{x_a} \partial_{x'_b} k
              \end{pmatrix}, \qquad k = \Theta^L_{00}(x, x') \text{ or } \Sigma^L_{00}(x, x')

    The entries are those of :func:`jacntk_lib.jacobian_ntk` and :func:`jacntk_lib.jacobian_nngp`, from the same closed
    forms, which contain no square root of a difference: derivatives of every order, forwards and backwards, are right
    at x = x' and at the origin. The depth is unrolled.

    Parameters
    ----------
    mlp : the network; its activation has a closed form: a built-in one, or one of
        :meth:`~jacntk_lib.activations.Activation.from_formulas`.
    tangent : True for Theta, False for Sigma, without kappa^2.

    Returns
    -------
    A function of two points (d,), jax or NumPy arrays, that returns (1+d, 1+d) and may be jitted, mapped with ``vmap``
    and differentiated. ``scale``, a number or (d,), takes the place of ``mlp.input_scale``; derivatives are by x all
    the same. It computes in the precision of its arguments: for float64 call it inside ``jax.enable_x64(True)``.

    Raises
    ------
    TypeError : ``mlp`` is not an MLP.
    ValueError : its activation has no closed form; at the call, a number of scales that is not the number of columns.

    Examples
    --------
    The point of largest upper confidence bound of a Gaussian process, by its gradient:

    >>> import jax
    >>> from jacntk_lib import MLP
    >>> block = block_function(MLP(1, "gelu", sigma_b=1.0))
    >>> kernel = jax.jit(jax.vmap(jax.vmap(lambda x, z: block(x, z)[0, 0], (None, 0)), (0, None)))
    >>> with jax.enable_x64(True):
    ...     X, y = jnp.array([[0.0], [0.4], [1.0]]), jnp.array([0.0, 1.0, 0.2])
    ...     K = kernel(X, X) + 1e-6 * jnp.eye(3)
    ...     def bound(x):
    ...         *k, variance = kernel(x[None], jnp.vstack([X, x]))[0]
    ...         mean, explained = jnp.array(k) @ jnp.linalg.solve(K, jnp.array([y, k]).T)
    ...         return mean + 2 * jnp.sqrt(variance - explained)
    ...     x, rise = jnp.array([0.5]), jax.jit(jax.grad(bound))
    ...     for _ in range(200):
    ...         x = x + 0.01 * rise(x)
    ...     place, slope = float(x[0]), float(rise(x)[0])
    >>> 0.4 < place < 1.0, abs(slope) < 1e-6
    (True, True)

    The kernel of a Gaussian process in another jax library, tinygp::

        class Wide(tinygp.kernels.Kernel):
            def evaluate(self, x, z):
                return block(x, z)[0, 0]

        with jax.enable_x64(True):
            process = tinygp.GaussianProcess(Wide(), X, diag=1e-6)
            mean = process.condition(y, jnp.array([[0.5]])).gp.loc
    """
    handles(mlp, "block_function")
    if not mlp.phi.has_closed_form:
        raise ValueError(
            f"the expectations of {mlp.phi.name!r} come from quadrature, which cannot be differentiated at x = x'; a "
            f"block function needs closed forms: take one of {', '.join(names_in_closed_form())}, or give yours to "
            "Activation.from_formulas"
        )
    formulas = mlp.phi.formulas_for(0.0)
    first, gain, bias = _constants(mlp)

    def block(x, x2, scale=None):
        x, x2 = 1.0 * jnp.asarray(x), 1.0 * jnp.asarray(x2)  # integers become floats
        if scale is None:
            weight, own = first, mlp.column_scales(len(x))
            scale = 1.0 if own is None else own
        else:
            weight = mlp.sigma_w**2
        scale = jnp.broadcast_to(jnp.asarray(scale, x.dtype), x.shape)
        z, z2 = scale * x, scale * x2
        *points, S = first_layer(z @ z, z2 @ z2, z @ z2, weight, bias)
        state = (*points, S, S if tangent else None)
        for _ in range(mlp.depth):
            state = hidden_layer(formulas, tangent, gain, bias, state)
        s = state[-1] if tangent else state[-2]
        slopes = jnp.outer(z, 4 * s.AB * z2 + 2 * s.AC * z) + jnp.outer(z2, 2 * s.BC * z2 + s.CC * z)
        top = jnp.concatenate([s.k[None], scale * (2 * s.B * z2 + s.C * z)])
        left = scale * (2 * s.A * z + s.C * z2)
        rest = jnp.outer(scale, scale) * (slopes + s.C * jnp.eye(len(x)))
        return jnp.concatenate([top[None], jnp.concatenate([left[:, None], rest], axis=1)])

    return block


@partial(jitted, static_argnames=("formulas", "tangent"))
def blocks(formulas, constants, depth, tangent, C, Y, G):
    """Values and derivatives along directions F (d, r) among n points X, (n, 1+r, n, 1+r), and k_C (n, n).

    C = X X^T, Y = X F and G = F^T F: x, x' and the unit matrix become those in the block formula. ``formulas`` and
    ``constants`` are ``prepared``.
    """
    lengths = jnp.diagonal(C)
    jet = jets(formulas, tangent, lengths[:, None], lengths[None, :], C, depth, *constants)
    k, A, B, C, AB, AC, BC, CC = (x[:, :, None] for x in jet)
    left, right = Y[:, None], Y[None]
    top = jnp.concatenate([k, 2 * B * right + C * left], axis=2)  # (i, j, b)
    first = jnp.concatenate([2 * A, 4 * AB * right + 2 * AC * left], axis=2)  # what multiplies y_ia
    second = jnp.concatenate([C, 2 * BC * right + CC * left], axis=2)  # and y_ja
    rows = Y[:, :, None, None] * first[:, None] + Y.T[None, :, :, None] * second[:, None]
    rows = rows + C[:, None] * jnp.pad(G, ((0, 0), (1, 0)))[None, :, None]
    return jnp.concatenate([top[:, None], rows], axis=1), jet.C
