"""The one description of a network that the kernels and the finite networks share."""

import math
from dataclasses import KW_ONLY, dataclass, fields

import numpy as np

from . import activations
from ._validation import integer, non_negative_number, positive_number

PLAIN = ("depth", "activation", "kappa", "sigma_w", "sigma_b", "normalise", "input_scale")


@dataclass(frozen=True)
class MLP:
    r"""A multilayer perceptron in the NTK parametrisation, described but not sampled.

    .. math::

        g^1 &= s_w W^1 x + s_b b^1, \quad h^l = \phi(g^l), \\
        g^{l+1} &= \frac{s_w}{\sqrt{n_l}} W^{l+1} h^l + s_b b^{l+1}, \\
        f(x) &= \kappa \Bigl[\frac{s_w}{\sqrt{n_L}} \langle w, h^L\rangle + s_b b\Bigr]

    with every weight and bias standard normal and trained. The defaults are the setting of Kim and Yang (2024,
    Section 2 and, for kappa, the experiments); the bias, s_w and ``input_scale`` are additions.

    Parameters
    ----------
    depth : number L >= 1 of hidden layers.
    activation : a name (``"erf"``, ``"gelu"``, ``"sin"``, ``"tanh"``, ``"softplus"``) or an
        :class:`~jacntk_lib.activations.Activation`.
    kappa : output scale > 0; it enters as kappa^2 in time scales and covariances, never in a kernel.
    sigma_w, sigma_b : standard deviations s_w > 0 of the weights and s_b >= 0 of the biases.
    normalise : rescale phi so that E[phi(z)^2] = 1 for standard normal z.
    input_scale : positive; multiplies x before the first layer, a number, or one per column of x (kept as a tuple).
        Nothing else ever rescales the inputs, and Jacobians are with respect to the x that is passed in.

    Raises
    ------
    ValueError, TypeError : a parameter is out of range or the activation is unknown or not smooth.

    Examples
    --------
    >>> MLP(depth=3, activation="gelu", kappa=0.5)
    MLP(depth=3, activation='gelu', kappa=0.5, sigma_w=1.0, sigma_b=0.0, normalise=True, input_scale=1.0)
    """

    depth: int
    activation: "str | activations.Activation" = "erf"
    _: KW_ONLY
    kappa: float = 0.1
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    normalise: bool = True
    input_scale: float | tuple[float, ...] = 1.0

    def __post_init__(self):
        checked = {
            "depth": integer(self.depth, "depth", at_least=1),
            "kappa": positive_number(self.kappa, "kappa"),
            "sigma_w": positive_number(self.sigma_w, "sigma_w"),
            "sigma_b": non_negative_number(self.sigma_b, "sigma_b"),
            "input_scale": _number_or_tuple(self.input_scale, "input_scale"),
        }
        if not isinstance(self.normalise, bool):
            raise TypeError(f"normalise must be True or False, got {self.normalise!r}")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        activations.get(self.activation)  # an unknown or non-smooth one is refused here, not at first use

    @property
    def phi(self) -> "activations.Activation":
        """The activation itself, before normalisation."""
        return activations.get(self.activation)

    @property
    def phi_scale(self) -> float:
        """Factor in front of phi, ``1 / sqrt(E[phi(z)^2])`` for standard normal z if ``normalise``, else 1."""
        return 1.0 / math.sqrt(self.phi.second_moment) if self.normalise else 1.0

    def column_scales(self, d):
        """``input_scale`` as an array (d,) where it is one number per column, ``None`` where it is a single number.

        Raises
        ------
        ValueError : it is one number per column of points with other than ``d`` columns.
        """
        if not isinstance(self.input_scale, tuple):
            return None
        if len(self.input_scale) != d:
            raise ValueError(
                f"input_scale has {len(self.input_scale)} numbers, one per column, but the points have {d} columns: "
                "give it as many, or a single number"
            )
        return np.array(self.input_scale)

    @property
    def common_scale(self) -> float:
        """``input_scale`` where it is a single number; 1 where :meth:`column_scales` have it all."""
        return 1.0 if isinstance(self.input_scale, tuple) else self.input_scale


def handles(mlp, consumer, *others):
    """Refuse a network that ``consumer`` would take for another one: its formulas know ``PLAIN`` and ``others`` alone.

    Whatever reads fields of an :class:`MLP` calls this first, so that a field added to the class or to a subclass is
    refused until the formulas have it.

    Raises
    ------
    TypeError : ``mlp`` is not an MLP.
    NotImplementedError : a field with another name is not at its default.
    """
    if not isinstance(mlp, MLP):
        raise TypeError(f"mlp must be an MLP, got {mlp!r}; for example MLP(depth=3, activation='erf')")
    for field in fields(mlp):
        value = getattr(mlp, field.name)
        if field.name not in PLAIN + others and value != field.default:
            raise NotImplementedError(
                f"{consumer} does not know {field.name}={value!r} and would leave it out: set {field.name} to its "
                f"default, {field.default!r}"
            )


def _number_or_tuple(value, name):
    if np.ndim(value) == 0:
        return positive_number(value, name)
    if not len(value):
        raise ValueError(f"{name} is empty: give a positive number, or one per column")
    return tuple(positive_number(number, f"{name}[{i}]") for i, number in enumerate(value))
