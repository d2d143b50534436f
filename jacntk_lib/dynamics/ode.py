"""The linear ODE by an ODE solver. The only module that imports diffrax; used to check the closed form."""

import jax.numpy as jnp
import numpy as np

from .._float64 import float64
from .._optional import diffrax
from ..errors import ConvergenceError


def integrate(*, theta, start, targets, weights, rate, ridge, t, rtol, atol, max_steps):
    """Rows (N+M, 1+d, K) at time t of ``z' = -rate [Theta Lam (u - y*) + ridge (z - z_0)]``, u the first N of them.

    theta is ((N+M)(1+d), N(1+d)), start (N+M, 1+d, K), targets (N, 1+d, K), weights (N, 1+d), the diagonal of Lam.
    """
    N, d1, K = targets.shape
    with float64():
        theta, weight, ridge = jnp.asarray(theta), jnp.asarray(weights.reshape(-1, 1)), jnp.asarray(ridge)
        targets = jnp.asarray(targets.reshape(-1, K))
        start = jnp.asarray(start.reshape(-1, K))

        def slope(_, z, __):
            misfit = weight * (z[: N * d1] - targets)
            return -rate * (theta @ misfit + ridge * (z - start))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri8(),
            t0=0.0,
            t1=float(t),
            dt0=None,
            y0=start,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=max_steps,
            throw=False,
        )
        if solution.result != diffrax.RESULTS.successful:
            raise ConvergenceError(
                f"the ODE solver did not reach t = {t:g} in {max_steps} steps at rtol={rtol:g}, atol={atol:g}: "
                "the system is stiff; take a smaller time, looser tolerances or more steps"
            )
        return np.asarray(solution.ys[-1]).reshape(-1, d1, K)
