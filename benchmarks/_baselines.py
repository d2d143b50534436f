"""The same numbers by automatic differentiation of the formulas of the value: what a user would write first."""

import jax
import jax.numpy as jnp
import numpy as np
import torch


def sphere(n, d):
    """n points of unit length in R^d, the same ones every time."""
    X = np.random.default_rng(0).standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def value_kernel(mlp):
    """Theta_00(x, x') of one pair in jax, composed layer by layer from K00 and K11 alone (no bias)."""
    formulas, gain = mlp.phi.formulas_for(1.0), mlp.phi_scale**2

    def theta(x, y):
        a, b, c = x @ x, y @ y, x @ y
        value = c
        for _ in range(mlp.depth):
            K = formulas.expectations(a, b, c)
            value = gain * (K.k00 + value * K.k11)
            a, b, c = gain * formulas.moment(a)[0], gain * formulas.moment(b)[0], gain * K.k00
        return value

    return theta


def by_autodiff(mlp):
    """The limiting Jacobian NTK as a compiled function of the points: the dense matrix, every derivative by jax."""
    theta = value_kernel(mlp)

    def block(x, y):
        by_x = jax.grad(theta, 0)
        top = jnp.concatenate([theta(x, y)[None], jax.grad(theta, 1)(x, y)])
        rest = jnp.concatenate([by_x(x, y)[:, None], jax.jacfwd(by_x, 1)(x, y)], axis=1)
        return jnp.vstack([top[None], rest])

    compiled = jax.jit(lambda X: jax.vmap(lambda x: jax.vmap(lambda y: block(x, y))(X))(X))

    def dense(X):
        with jax.enable_x64(True):
            n, d = X.shape
            return np.asarray(compiled(jnp.asarray(X))).transpose(0, 2, 1, 3).reshape(n * (1 + d), n * (1 + d))

    return dense


def explicit(net, X):
    """The finite one, J J^T / kappa^2, with J from torch.func: parameter gradients of every value and derivative."""

    def stacked(parameters):
        def f(x):
            return torch.func.functional_call(net, parameters, (x[None],))[0]

        values, jacobians = torch.func.vmap(f)(X), torch.func.vmap(torch.func.jacrev(f))(X)
        return torch.cat((values[:, None], jacobians), dim=1).flatten() / net.mlp.kappa

    gradients = torch.func.jacrev(stacked)({name: p.detach() for name, p in net.named_parameters()})
    return sum(g.flatten(1) @ g.flatten(1).T for g in gradients.values())
