"""neural-tangents with naive input derivatives, run by peers.py in an environment of its own.

    python _neural_tangents.py JOBS.json

JOBS.json is a list of {"input", "output", "activation", "depth", "scale", "budget"}: a .npy file of points (N, d), the
.npy file to write the dense Jacobian NTK to, and E[phi(z)^2]^(-1/2). Prints a list of {"value", "first", "seconds"}:
processor times of the value kernel, and of the Jacobian NTK with compilation and without.
"""

import json
import sys
import types
from pathlib import Path

# its experimental part does not import with the pinned jax, and is not needed
sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from _processor import processor_seconds  # noqa: E402

jax.config.update("jax_enable_x64", True)


def kernel_of(activation, depth, scale):
    """The NTK of section 1 of the notation: no bias, and no factor 1/sqrt(d) in the first layer."""
    phi = {"erf": nt.stax.Erf, "gelu": nt.stax.Gelu}[activation]
    layers = [nt.stax.Dense(1, W_std=1.0, b_std=None)]
    for _ in range(depth):
        layers += [phi(), nt.stax.Dense(1, W_std=scale, b_std=None)]
    _, _, kernel = nt.stax.serial(*layers)
    return lambda X, Y: kernel(jnp.sqrt(X.shape[1]) * X, jnp.sqrt(X.shape[1]) * Y, "ntk")


def dense_kernel(kernel):
    """Autodiff of the kernel of one pair, twice, over all pairs: neural-tangents has no input derivatives."""

    def theta(x, y):
        return kernel(x[None], y[None])[0, 0]

    def block(x, y):
        by_x = jax.grad(theta, 0)
        top = jnp.concatenate([theta(x, y)[None], jax.grad(theta, 1)(x, y)])
        rest = jnp.concatenate([by_x(x, y)[:, None], jax.jacfwd(by_x, 1)(x, y)], axis=1)
        return jnp.vstack([top[None], rest])

    return jax.jit(lambda X: jax.vmap(lambda x: jax.vmap(lambda y: block(x, y))(X))(X))


def main():
    answers = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        X = jnp.asarray(np.load(job["input"]))
        n, d = X.shape
        kernel = kernel_of(job["activation"], job["depth"], job["scale"])
        compiled = jax.jit(kernel)
        _, value = processor_seconds(lambda f=compiled, X=X: jax.block_until_ready(f(X, X)), job["budget"] / 4)
        dense = dense_kernel(kernel)
        first, seconds = processor_seconds(lambda f=dense, X=X: jax.block_until_ready(f(X)), job["budget"])
        np.save(job["output"], np.asarray(dense(X)).transpose(0, 2, 1, 3).reshape(n * (1 + d), n * (1 + d)))
        answers.append({"value": value, "first": first, "seconds": seconds})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
