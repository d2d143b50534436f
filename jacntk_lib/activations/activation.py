r"""Activations and their Gaussian expectations.

For (u, v) centred Gaussian with Var u = a, Var v = b, Cov(u, v) = c, every kernel of this library is made of

.. math:: K^{ij}(a, b, c) = E[\phi^{(i)}(u)\, \phi^{(j)}(v)].

By Price's theorem (1958) their derivatives are again such expectations,

.. math:: \partial_c K^{ij} = K^{i+1,j+1}, \quad \partial_a K^{ij} = \tfrac12 K^{i+2,j}, \quad
          \partial_b K^{ij} = \tfrac12 K^{i,j+2},

so ten of them suffice for every second derivative of a kernel with respect to its inputs, and nothing is ever
differentiated through the square root of ``ab - c^2``, which is where autodiff fails at x = x'.

An expectation is computed by a formula, one of :mod:`jacntk_lib.activations.closed_forms` (erf, GELU, sine) or yours
(:meth:`.Activation.from_formulas`), or, for any other smooth activation (tanh and softplus are built in,
:meth:`.Activation.from_derivatives` takes yours), by the trapezoidal rule of :mod:`jacntk_lib.activations.quadrature`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .._float64 import float64, jax, jnp
from .own import check_formulas
from .parts import limits, parts, reach
from .quadrature import Formulas, GaussianRule


@dataclass(frozen=True, eq=False)
class Activation:
    r"""A smooth activation phi, before any normalisation.

    Use :func:`jacntk_lib.activations.get` for a built-in one and, for your own, :meth:`from_derivatives` or, where its
    expectations are known in closed form, :meth:`from_formulas`.

    Attributes
    ----------
    name : what error messages and plots call it.
    second_moment : E[phi(z)^2] for standard normal z.
    even_part, odd_part : degrees of the powers of z in the even and the odd part of phi, with an ellipsis at the end
        where the part is not a polynomial: see :mod:`jacntk_lib.activations.parts`.
    detected : those of ``"even"`` and ``"odd"`` whose part was detected from values and not stated.
    regularity : ``"analytic"`` (real-analytic on the whole line), ``"lipschitz"`` (phi' is bounded), or None where
        neither is known. Only :func:`jacntk_lib.spectrum.positivity` asks.
    enclosure : the closed forms again, for certificates: see :meth:`from_formulas`. None for built-in ones, whose
        enclosures are in :mod:`jacntk_lib.spectrum.enclosures`.
    """

    name: str
    second_moment: float
    even_part: tuple
    odd_part: tuple
    regularity: str | None = None
    _closed: Formulas | None = None
    _rule: GaussianRule | None = None
    _torch_jet: Callable | None = None
    detected: tuple[str, ...] = ()
    _detect: Callable | None = None
    _reach: float = 0.0
    enclosure: tuple[Callable, Callable] | None = None

    @classmethod
    def from_derivatives(cls, name, derivatives, *, torch_jet=None, even_part=None, odd_part=None, regularity=None):
        r"""Your own activation, its expectations computed by quadrature.

        Parameters
        ----------
        name : what error messages and plots call it.
        derivatives : five functions (phi, phi', phi'', phi''', phi'''') of one jax array, elementwise. The
            fourth derivative is needed because the Jacobian NTK differentiates E[phi'(u) phi'(v)] twice more.
        torch_jet : a function ``(z, order) -> (phi(z), ..., phi^(order)(z))`` of a torch tensor, order <= 2;
            needed only to sample finite networks.
        even_part, odd_part : as in the class; each is detected from values where it is left out, and checked against
            values where it is given. A part that may be a polynomial of a degree above four has to be given.
        regularity : as in the class; taken on trust, since no finite number of values decides it.

        Raises
        ------
        ValueError : not five functions; a declared derivative is not the derivative of the one before it (tested
            through Stein's identity); phi is not smooth enough for the quadrature to converge; a stated part
            contradicts the function, or a part has to be stated.
        TypeError : a function is not one of jax arrays.

        Examples
        --------
        >>> from jacntk_lib.activations import softplus_derivatives
        >>> softplus = Activation.from_derivatives("softplus", softplus_derivatives(), regularity="analytic")
        >>> round(softplus.second_moment, 6), softplus.odd_part  # softplus(z) - softplus(-z) = z
        (0.921246, (1,))
        """
        derivatives = tuple(derivatives)
        if len(derivatives) != 5 or not all(callable(f) for f in derivatives):
            raise ValueError(
                f"activation {name!r} needs exactly five functions: phi and its first four derivatives "
                "(the Jacobian NTK contains E[phi''''(u) phi''(v)])"
            )
        if regularity not in (None, "analytic", "lipschitz"):
            raise ValueError(
                f"activation {name!r}: regularity must be 'analytic', 'lipschitz' or None, got {regularity!r}"
            )
        for order, f in enumerate(derivatives):
            try:
                jax.eval_shape(f, jnp.zeros(3))
            except TypeError as error:
                raise TypeError(
                    f"activation {name!r}: derivatives[{order}] does not take a jax array: write it in jax.numpy, for "
                    "example jnp.tanh in place of np.tanh or torch.tanh"
                ) from error
        rule = GaussianRule(name, derivatives)
        rule.check_derivatives()
        with float64():
            second_moment = float(rule.formulas_for(1.0).moment(jnp.ones(()))[0])
        if second_moment == 0.0:
            raise ValueError(
                f"activation {name!r} is identically zero under the Gaussian: nothing to normalise by; give another"
            )
        detected = tuple(s for s, part in (("even", even_part), ("odd", odd_part)) if part is None)
        detect = partial(parts, name, derivatives, even_part, odd_part)
        even_part, odd_part = detect()
        degree = max((k for part in (even_part, odd_part) if ... not in part for k in part), default=0)
        if regularity == "lipschitz" and degree > 1:
            raise ValueError(
                f"activation {name!r} is not Lipschitz: its even or odd part is a polynomial of degree {degree}; pass "
                "regularity='analytic' if it is, else None"
            )
        return cls(
            name,
            second_moment,
            even_part,
            odd_part,
            regularity,
            _rule=rule,
            _torch_jet=torch_jet,
            detected=detected,
            _detect=detect,
            _reach=reach(),
        )

    @classmethod
    def from_formulas(cls, name, derivatives, expectations, moment, *, enclosure=None, **stated):
        r"""Your own activation, its expectations computed by closed forms that you give.

        It then has what quadrature cannot give: :func:`~jacntk_lib.kernels.block_function`, hyperparameters fitted by
        gradients and, with an enclosure, certificates.

        Parameters
        ----------
        name, derivatives : as in :meth:`from_derivatives`.
        expectations : a function of three jax arrays, the variances a and b and the covariance c, that returns
            :class:`~jacntk_lib.activations.Expectations`. It has to be differentiable at c^2 = a b as well: use no
            square root of a b - c^2.
        moment : a function of a jax array a that returns E[phi(u)^2] for u of variance a, and its derivative with
            respect to a.
        enclosure : None, or the pair ``(expectations(a, b, c, field), moment(a, field))`` of the same formulas, in the
            operations ``+ - * /`` and the functions exact, pi, sqrt, exp and atan2 of ``field`` alone: see
            :mod:`jacntk_lib.spectrum.enclosures`. A certificate is a proof if they are exact, so write 1 / exact(10)
            and not 0.1.
        stated : ``torch_jet``, ``even_part``, ``odd_part``, ``regularity``, as in :meth:`from_derivatives`.

        Raises
        ------
        ValueError : as :meth:`from_derivatives`; or a formula disagrees with quadrature of the derivatives at variances
            up to 1, or its own derivatives with Price's theorem. That finds slips; it does not prove a formula.
        TypeError : a formula is not one of jax arrays, or returns something else.

        Examples
        --------
        >>> from jacntk_lib.activations import Expectations
        >>> def expectations(a, b, c):
        ...     up, down = (jnp.exp(sign * c - (a + b) / 2) / 2 for sign in (1, -1))  # as |c| <= (a + b) / 2
        ...     cosh, sinh = up + down, up - down
        ...     return Expectations(cosh, sinh, -cosh, -cosh, cosh, -sinh, -sinh, sinh, -cosh, -cosh)
        >>> def moment(a):
        ...     return (1 + jnp.exp(-2 * a)) / 2, -jnp.exp(-2 * a)
        >>> waves = jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z), jnp.sin, jnp.cos
        >>> cosine = Activation.from_formulas("cos", waves, expectations, moment, even_part=(0, ...), odd_part=())
        >>> cosine.has_closed_form, round(cosine.second_moment, 6)
        (True, 0.567668)
        """
        phi, formulas = cls.from_derivatives(name, derivatives, **stated), Formulas(expectations, moment)
        check_formulas(name, formulas, phi.formulas_for(1.0), enclosure)
        with float64():
            second_moment = float(moment(jnp.ones(()))[0])
        return replace(phi, second_moment=second_moment, enclosure=enclosure, _closed=formulas)

    def reaching(self, variance) -> "Activation":
        """This activation, its detected parts looked for as far out as pre-activations of this variance go."""
        if not self.detected or (R := reach(variance)) <= self._reach:
            return self
        even_part, odd_part = self._detect(R=R)
        return replace(self, even_part=even_part, odd_part=odd_part, _reach=R)

    @property
    def limits(self) -> str:
        """Which parts were detected and what that can tell, in words; empty where both are stated."""
        if not self.detected:
            return ""
        noun = "parts were" if len(self.detected) > 1 else "part was"
        return f"the {' and '.join(self.detected)} {noun} detected {limits(self._reach)}"

    @property
    def odd(self) -> bool:
        """phi(-z) = -phi(z), hence f(-x) = -f(x) without bias."""
        return self.even_part == ()

    @property
    def even(self) -> bool:
        """phi(-z) = phi(z), hence f(-x) = f(x) without bias."""
        return self.odd_part == ()

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

    @property
    def takes_numpy(self) -> bool:
        """Whether its formulas take arrays of NumPy as well as of jax, as those of the built-in closed forms do."""
        return self._closed is not None and self._rule is None

    def torch_jet(self, z, order):
        """``(phi(z), phi'(z), ..., phi^(order)(z))`` of a torch tensor, order <= 2, differentiable by autograd."""
        if self._torch_jet is None:
            raise ValueError(
                f"activation {self.name!r} was given without torch_jet, which finite networks need; "
                "pass torch_jet=... to Activation.from_derivatives or from_formulas"
            )
        return self._torch_jet(z, order)

    def __copy__(self):
        return self  # immutable; jit knows the formulas by identity, so that a copy would be compiled anew

    def __deepcopy__(self, memo):
        return self  # sklearn.base.clone copies every parameter in this way, once per fit of a grid search

    def __repr__(self):
        return f"Activation({self.name!r})"
