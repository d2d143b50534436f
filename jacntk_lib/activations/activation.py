r"""Activations and their Gaussian expectations.

For (u, v) centred Gaussian with Var u = a, Var v = b, Cov(u, v) = c, every kernel of this library is made of

.. math:: K^{ij}(a, b, c) = E[\phi^{(i)}(u)\, \phi^{(j)}(v)].

By Price's theorem (1958) their derivatives are again such expectations,

.. math:: \partial_c K^{ij} = K^{i+1,j+1}, \quad \partial_a K^{ij} = \tfrac12 K^{i+2,j}, \quad
          \partial_b K^{ij} = \tfrac12 K^{i,j+2},

so ten of them suffice for every second derivative of a kernel with respect to its inputs, and nothing is ever
differentiated through the square root of ``ab - c^2``, which is where autodiff fails at x = x'.

An expectation is computed in closed form (erf, GELU, sin) or, for any other smooth activation (tanh and softplus are
built in, :meth:`Activation.from_derivatives` takes yours), by the trapezoidal rule of
:mod:`jacntk_lib.activations.quadrature`.

>>> names()
('erf', 'gelu', 'sin', 'tanh', 'softplus')
>>> phi, slope, *_ = tanh_derivatives()
>>> float(phi(0.0)), float(slope(0.0))
(0.0, 1.0)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from .arctan import arctan2
from .quadrature import Expectations, Formulas, GaussianRule


@dataclass(frozen=True, eq=False)
class Activation:
    r"""A smooth activation phi, before any normalisation.

    Use :func:`get` for a built-in one and :meth:`from_derivatives` for your own.

    Attributes
    ----------
    name : what error messages and plots call it.
    second_moment : E[phi(z)^2] for standard normal z.
    odd : phi(-z) = -phi(z), hence f(-x) = -f(x) without bias.
    odd_part_linear : phi(z) - phi(-z) is linear in z (GELU, SiLU, softplus).
    homogeneity : q where phi(s z) = s^q phi(z) for s > 0, else None.
    vanishes_at_zero : phi(0) = 0.
    """

    name: str
    second_moment: float
    odd: bool = False
    odd_part_linear: bool = False
    homogeneity: float | None = None
    vanishes_at_zero: bool = False
    _closed: Formulas | None = None
    _rule: GaussianRule | None = None
    _torch_jet: Callable | None = None

    @classmethod
    def from_derivatives(cls, name, derivatives, *, torch_jet=None, **properties):
        r"""Your own activation, its expectations computed by quadrature.

        Parameters
        ----------
        name : what error messages and plots call it.
        derivatives : five functions (phi, phi', phi'', phi''', phi'''') of one jax array, elementwise. The
            fourth derivative is needed because the Jacobian NTK differentiates E[phi'(u) phi'(v)] twice more.
        torch_jet : a function ``(z, order) -> (phi(z), ..., phi^(order)(z))`` of a torch tensor, order <= 2;
            needed only to sample finite networks.
        properties : ``odd``, ``odd_part_linear``, ``homogeneity``, as in the class; declared, not inferred.

        Raises
        ------
        ValueError : not five functions; a declared derivative is not the derivative of the one before it (tested
            through Stein's identity); phi is not smooth enough for the quadrature to converge.

        Examples
        --------
        >>> softplus = Activation.from_derivatives("softplus", softplus_derivatives(), odd_part_linear=True)
        >>> round(softplus.second_moment, 6)
        0.921246
        """
        derivatives = tuple(derivatives)
        if len(derivatives) != 5 or not all(callable(f) for f in derivatives):
            raise ValueError(
                f"activation {name!r} needs exactly five functions: phi and its first four derivatives "
                "(the Jacobian NTK contains E[phi''''(u) phi''(v)])"
            )
        rule = GaussianRule(name, derivatives)
        rule.check_derivatives()
        with jax.enable_x64(True):
            second_moment = float(rule.formulas_for(1.0).moment(jnp.ones(()))[0])
            at_zero = float(derivatives[0](jnp.zeros(())))
        if second_moment == 0.0:
            raise ValueError(
                f"activation {name!r} is identically zero under the Gaussian: nothing to normalise by; give another"
            )
        return cls(
            name,
            second_moment,
            vanishes_at_zero=at_zero == 0.0,
            _rule=rule,
            _torch_jet=torch_jet,
            **properties,
        )

    def formulas_for(self, variances) -> Formulas:
        """What the layer recursion needs, accurate for every variance given.

        A closed form holds everywhere and is the same object every time, so that one compilation serves every call; a
        quadrature chooses its node count by the largest variance, or refuses.
        """
        return self._closed if self._closed is not None else self._rule.formulas_for(float(np.max(variances)))

    @property
    def has_closed_form(self) -> bool:
        """Whether the expectations are closed formulas (else quadrature)."""
        return self._closed is not None

    def torch_jet(self, z, order):
        """``(phi(z), phi'(z), ..., phi^(order)(z))`` of a torch tensor, order <= 2, differentiable by autograd."""
        if self._torch_jet is None:
            raise ValueError(
                f"activation {self.name!r} was given without torch_jet, which finite networks need; "
                "pass torch_jet=... to Activation.from_derivatives"
            )
        return self._torch_jet(z, order)

    def __copy__(self):
        return self  # immutable; jit knows the formulas by identity, so that a copy would be compiled anew

    def __deepcopy__(self, memo):
        return self  # sklearn.base.clone copies every parameter in this way, once a fit of a grid search

    def __repr__(self):
        return f"Activation({self.name!r})"


# --------------------------------------------------------------------------------------------------------------
# Closed forms. K^ji(a, b, c) = K^ij(b, a, c) gives the mirrored ones. Every denominator is at least 1, and
# D is formed from 1 + a + b + (ab - c^2) rather than from a difference of products, so nothing cancels at x = x'.


def _erf_expectations(a, b, c):
    """erf(z) = (2/sqrt(pi)) int_0^z exp(-t^2) dt. E[erf u erf v] is Williams (1997), eq. 11."""
    D = 1 + 2 * a + 2 * b + 4 * (a * b - c * c)
    i = 1 / D
    root = jnp.sqrt(D)
    al, be = 1 / (1 + 2 * a), 1 / (1 + 2 * b)
    p = (4 / jnp.pi) * root * i
    cp, cci = c * p, c * c * i
    return Expectations(
        k00=(2 / jnp.pi) * arctan2(2 * c, root),
        k11=p,
        k20=-2 * cp * al,
        k02=-2 * cp * be,
        k22=4 * cp * i,
        k31=-2 * p * i * (1 + 2 * b),
        k13=-2 * p * i * (1 + 2 * a),
        k33=4 * p * i * (1 + 12 * cci),
        k42=-24 * cp * i * i * (1 + 2 * b),
        k24=-24 * cp * i * i * (1 + 2 * a),
    )


def _erf_moment(a):
    root = jnp.sqrt(1 + 4 * a)
    return (2 / jnp.pi) * arctan2(2 * a, root), 4 / (jnp.pi * (1 + 2 * a) * root)


def _gelu_expectations(a, b, c):
    """GELU phi(z) = z Phi(z) (Hendrycks and Gimpel 2016); the rest follows from K00 by Price's theorem."""
    det = a * b - c * c
    al, be = 1 + a, 1 + b
    D = al + b + det
    i = 1 / D
    root = jnp.sqrt(D)
    # Divided by last, not multiplied by the reciprocal: see arctan2 on what XLA computes again for every user
    density = 2 * jnp.pi * root
    ral, rbe = 1 / al, 1 / be
    T = arctan2(root, -c) / (2 * jnp.pi)
    cc = c * c
    cci = cc * i
    s = ral + rbe
    w = 1 + al + be  # recurs in K22, K42 and K24

    def k20(b, be, ral):
        return ral * ((b + det) * (1 + be * i) - 2 * cc * ral) / density

    def k31(al, be, ral):
        return -c * (ral + 2 * ral * ral + (be * ral + 1) * i + 3 * be * i * i) / density

    def k42(be):
        return i * (2 - be - 3 * be * w * i - 15 * be * cci * i) / density

    return Expectations(
        k00=c * T + (det + cc * s) / density,
        k11=T + c * (s + i) / density,
        k20=k20(b, be, ral),
        k02=k20(a, al, rbe),
        k22=(1 + w * i + 3 * cci * i) / density,
        k31=k31(al, be, ral),
        k13=k31(be, al, rbe),
        k33=c * i * (1 + (9 + 3 * (al + be)) * i + 15 * cci * i) / density,
        k42=k42(be),
        k24=k42(al),
    )


def _gelu_moment(a):
    al, D = 1 + a, 1 + 2 * a
    root = jnp.sqrt(D)
    q = 1 / (2 * jnp.pi * root)
    T = arctan2(root, -a) / (2 * jnp.pi)
    return a * T + 2 * q * a * a / al, T + q * a * (1 / al + 2 / (al * al) + 2 / D)


def _sin_expectations(a, b, c):
    """E[sin u sin v] = exp(-(a+b)/2) sinh c and E[cos u cos v] = exp(-(a+b)/2) cosh c."""
    # |c| <= (a+b)/2, so the exponent is never positive; expm1 keeps the relative accuracy of a small sinh.
    size = jnp.exp(jnp.abs(c) - (a + b) / 2) / 2
    small = jnp.expm1(-2 * jnp.abs(c))
    sinh = -jnp.sign(c) * size * small
    cosh = size * (2 + small)
    return Expectations(
        k00=sinh,
        k11=cosh,
        k20=-sinh,
        k02=-sinh,
        k22=sinh,
        k31=-cosh,
        k13=-cosh,
        k33=cosh,
        k42=-sinh,
        k24=-sinh,
    )


def _sin_moment(a):
    return -jnp.expm1(-2 * a) / 2, jnp.exp(-2 * a)


# --------------------------------------------------------------------------------------------------------------
# The same activations for torch. Derivatives are written out, so that autograd differentiates them only once.


def _erf_torch_jet(z, order):
    import torch

    jet = [torch.erf(z)]
    if order >= 1:
        jet.append((2 / np.sqrt(np.pi)) * torch.exp(-z * z))
    if order >= 2:
        jet.append(-2 * z * jet[1])
    return tuple(jet)


def _gelu_torch_jet(z, order):
    import torch

    cdf = torch.special.ndtr(z)
    jet = [z * cdf]
    if order >= 1:
        pdf = torch.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        jet.append(cdf + z * pdf)
    if order >= 2:
        jet.append((2 - z * z) * pdf)
    return tuple(jet)


def _sin_torch_jet(z, order):
    import torch

    return (torch.sin(z), torch.cos(z), -torch.sin(z))[: order + 1]


# --------------------------------------------------------------------------------------------------------------
# Two activations without closed forms: each derivative is a polynomial in tanh z, or in the sigmoid of z.


def tanh_derivatives():
    """tanh and its first four derivatives, for jax: an example of what ``from_derivatives`` takes."""

    def of_tanh(polynomial):
        return lambda z: polynomial(jnp.tanh(z))

    return (
        jnp.tanh,
        of_tanh(lambda t: 1 - t * t),
        of_tanh(lambda t: -2 * t * (1 - t * t)),
        of_tanh(lambda t: (1 - t * t) * (6 * t * t - 2)),
        of_tanh(lambda t: (1 - t * t) * t * (16 - 24 * t * t)),
    )


def softplus_derivatives():
    """log(1 + e^z) and its first four derivatives, for jax."""

    def of_sigmoid(polynomial):
        return lambda z: polynomial(jax.nn.sigmoid(z))

    return (
        lambda z: jnp.logaddexp(z, 0.0),
        jax.nn.sigmoid,
        of_sigmoid(lambda s: s * (1 - s)),
        of_sigmoid(lambda s: s * (1 - s) * (1 - 2 * s)),
        of_sigmoid(lambda s: s * (1 - s) * (1 - 6 * s + 6 * s * s)),
    )


def _tanh_torch_jet(z, order):
    import torch

    t = torch.tanh(z)
    return (t, 1 - t * t, -2 * t * (1 - t * t))[: order + 1]


def _softplus_torch_jet(z, order):
    import torch

    s = torch.sigmoid(z)
    return (torch.logaddexp(z, torch.zeros_like(z)), s, s * (1 - s))[: order + 1]


# --------------------------------------------------------------------------------------------------------------

_BUILT_IN = {
    "erf": lambda: Activation(
        "erf",
        0.46455905439753998,
        odd=True,
        vanishes_at_zero=True,
        _closed=Formulas(_erf_expectations, _erf_moment),
        _torch_jet=_erf_torch_jet,
    ),
    "gelu": lambda: Activation(
        "gelu",
        0.42522148257029867,
        odd_part_linear=True,
        vanishes_at_zero=True,
        _closed=Formulas(_gelu_expectations, _gelu_moment),
        _torch_jet=_gelu_torch_jet,
    ),
    "sin": lambda: Activation(
        "sin",
        float(-np.expm1(-2.0) / 2),
        odd=True,
        vanishes_at_zero=True,
        _closed=Formulas(_sin_expectations, _sin_moment),
        _torch_jet=_sin_torch_jet,
    ),
    "tanh": lambda: Activation.from_derivatives("tanh", tanh_derivatives(), torch_jet=_tanh_torch_jet, odd=True),
    "softplus": lambda: Activation.from_derivatives(
        "softplus", softplus_derivatives(), torch_jet=_softplus_torch_jet, odd_part_linear=True
    ),
}
_NOT_SMOOTH = ("relu", "leaky_relu", "prelu", "abs", "elu", "selu", "hardtanh", "relu6")


@cache
def _built_in(name):
    return _BUILT_IN[name]()


def names() -> tuple[str, ...]:
    """The activations known by name: erf, GELU and sin in closed form, tanh and softplus by quadrature."""
    return tuple(_BUILT_IN)


def get(activation) -> Activation:
    """The :class:`Activation` behind a name; an ``Activation`` is returned as it is.

    Raises
    ------
    ValueError : an unknown name (the known ones are listed), or one that is not smooth enough.
    TypeError : neither a name nor an ``Activation``.

    Examples
    --------
    >>> get("gelu")
    Activation('gelu')
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be one of {', '.join(map(repr, names()))} or an Activation, got {activation!r}; "
            "build your own with Activation.from_derivatives"
        )
    if activation in _BUILT_IN:
        return _built_in(activation)
    if activation.lower() in _NOT_SMOOTH:
        raise ValueError(
            f"activation {activation!r} is not smooth: the Jacobian block of its tangent kernel is infinite at x = x' "
            "(for ReLU it grows like 1/|x - x'|), because it contains E[phi''''(u) phi''(v)]; use a smooth "
            f"activation such as {', '.join(map(repr, names()))} (GELU is the smooth relative of ReLU)"
        )
    raise ValueError(
        f"unknown activation {activation!r}; known are {', '.join(map(repr, names()))}, and any other smooth one "
        "can be built with Activation.from_derivatives"
    )
