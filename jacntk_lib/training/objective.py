r"""The robust loss of a finite network, its gradient, and the largest stable step.

.. math:: \text{loss} = \frac1N \sum_i \Bigl[ \tfrac12 (f(x_i) - y_i)^2 + \tfrac\lambda2 \|Jf(x_i)\|^2 \Bigr]

With u_i and v_i its derivatives in f(x_i) and Jf(x_i), the gradient of the loss in the parameters is the gradient of

.. math:: \sum_i \bigl[ u_i f(x_i) + D_{v_i} f(x_i) \bigr]

for fixed u and v: of the Jacobian only *one* directional derivative at every point is needed, not d. So a step is four
sweeps of N rows each, whatever the input dimension (notation and scales of :mod:`jacntk_lib.networks`):

1. values forwards, :math:`g^{l+1} = W h^l` (biases add theirs), :math:`h^l = \phi(g^l)`;
2. the Jacobian backwards, :math:`c^L = w`, :math:`b^l = \phi'(g^l)\, c^l`, :math:`c^{l-1} = b^l W^l`, which ends in
   :math:`Jf = \kappa\, s_0\, b^1 W^1` and gives u and v;
3. the direction forwards, :math:`\dot h^0 = s_0\, v`, :math:`\dot g^{l+1} = W \dot h^l`,
   :math:`\dot h^l = \phi'(g^l)\, \dot g^l`;
4. both backwards, :math:`e^l = \phi'(g^l)\, (e^{l+1} W^{l+1}) + \phi''(g^l)\, \dot g^l c^l`, starting from u w for
   :math:`e^{L+1} W^{L+1}`, and with them the gradients :math:`\dot W^l = e^{lT} h^{l-1} + b^{lT} \dot h^{l-1}`.

That is 6 N n^2 multiplications per layer, as few as double backpropagation takes at its best, where carrying all d
tangents through would take 3 N (1+d) n^2. It is written out rather than left to autograd, which adds the copies and the
bookkeeping of a second graph; the tests hold all of it against autograd.
"""

from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from .. import finite
from .._optional import torch
from .._validation import as_array, integer, non_negative_number
from ..architecture import handles
from ..networks.network import check_network, feature_scales, full_precision, scaled_jet

DENSE_ROWS = 4096  # up to here the step limit comes from the dense JNTK, 134 MB in float64; beyond, matrix-free


class RobustObjective:
    """The robust loss of ``net`` on (X, y), with the gradient of the last :meth:`evaluate` in ``gradients``.

    ``parameters`` and ``gradients`` are matching lists: the weights of every layer, then the biases, if any. The
    points are taken in chunks whose arrays fit ``memory`` bytes.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> net = FiniteMLP(MLP(depth=1, kappa=1.0), width=64, input_dim=2)
    >>> objective = RobustObjective(net, np.eye(2), [1.0, -1.0], lam=0.1)
    >>> loss, outputs = objective.evaluate()  # values and Jacobians of both points
    >>> outputs.shape, [tuple(gradient.shape) for gradient in objective.gradients]
    (torch.Size([2, 3]), [(64, 2), (1, 64)])
    """

    def __init__(self, net, X, y, lam, *, memory=finite.MEMORY):
        check_network(net)
        self.net, self.X = net, net.as_input(X).detach()
        N, d = self.X.shape
        self.lam = non_negative_number(lam, "lam")
        self.targets = self.X.new_zeros(N, 1 + d)
        self.targets[:, 0] = torch.from_numpy(as_array(y, "y", (N,)))
        self.weights = self.X.new_full((N, 1 + d), self.lam)
        self.weights[:, 0] = 1
        self.parameters = [parameter.detach() for parameter in (*net.weights, *net.biases)]
        self._chunks = chunks(net, self.X, memory)

    @cached_property
    def gradients(self):
        """One tensor per parameter, allocated when first needed and then overwritten."""
        return [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def evaluate(self, gradient=True):
        """The loss (a float) and the (N, 1+d) values and Jacobians; sweeps 1 and 2 and, for the gradient, 3 and 4."""
        N, outputs = len(self.X), []
        with full_precision(self.net.device):
            for chunk in self._chunks:
                sweep = Sweep(self.net, self.X[chunk])
                outputs.append(sweep.outputs)
                if gradient:
                    cotangent = self.weights[chunk] * (sweep.outputs - self.targets[chunk]) / N
                    sweep.pull_back(cotangent, self.gradients, accumulate=chunk.start > 0)
        outputs = torch.cat(outputs)
        loss = (self.weights.double() * (outputs.double() - self.targets.double()) ** 2).sum() / (2 * N)
        return loss.item(), outputs

    @torch.no_grad()
    def descend(self, learning_rate):
        """One step of gradient descent along the gradient of the last :meth:`evaluate`."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.sub_(gradient, alpha=learning_rate)

    @torch.no_grad()
    def kernel_product(self, v):
        """Lam^{1/2} Theta Lam^{1/2} v for a NumPy vector, through the parameters: J (J^T v), no kernel matrix."""
        root = self.weights.sqrt() / self.net.mlp.kappa
        v = torch.as_tensor(v, dtype=self.X.dtype, device=self.X.device).view_as(root)
        with full_precision(self.net.device):
            for chunk in self._chunks:
                sweep = Sweep(self.net, self.X[chunk])
                sweep.pull_back((root * v)[chunk], self.gradients, accumulate=chunk.start > 0)
            pushed = [Sweep(self.net, self.X[chunk]).push_forward(self.gradients) for chunk in self._chunks]
        return (root * torch.cat(pushed)).flatten().double().cpu().numpy()


def max_learning_rate(net, X, lam, *, memory=finite.MEMORY):
    r"""The step size at which gradient descent on the robust loss becomes unstable, for the network as it is now.

    .. math:: \eta_{\max} = \frac{2N}{\kappa^2\, w_{\max}(\Lambda^{1/2} \Theta \Lambda^{1/2})}

    with :math:`\Theta` the network's own Jacobian NTK and, at every point,
    :math:`\Lambda = \mathrm{diag}(1, \lambda, ..., \lambda)`. The largest eigenvalue comes from Lanczos
    iteration, on the dense matrix up to N(1+d) = 4096 and beyond through products with the parameter Jacobian and its
    transpose, so no N(1+d) square matrix is needed.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> net = FiniteMLP(MLP(depth=1, kappa=1.0), width=64, input_dim=2)
    >>> 0.5 < max_learning_rate(net, np.eye(2), lam=0.1) < 5.0
    True
    """
    check_network(net)
    X = net.as_input(X)
    objective = RobustObjective(net, X, np.zeros(len(X)), lam, memory=memory)
    rows = objective.weights.numel()
    if rows <= DENSE_ROWS:
        theta = finite.jacobian_ntk(net, objective.X, memory=memory).double().cpu().numpy()
        root = objective.weights.double().sqrt().flatten().cpu().numpy()
        product = (root[:, None] * theta * root).__matmul__
    else:
        product = objective.kernel_product
    operator = LinearOperator((rows, rows), matvec=product, dtype=np.float64)
    start = np.random.Generator(np.random.Philox(key=0)).standard_normal(rows)
    tolerance = 1e-6 if net.dtype == torch.float64 else 1e-4
    (largest,) = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)
    return 2 * len(objective.X) / (net.mlp.kappa**2 * float(largest))


def refuse_unstable(net, objective, learning_rate, memory):
    """Raise, naming the limit, if gradient descent with this rate would diverge from where the network is."""
    limit = max_learning_rate(net, objective.X, objective.lam, memory=memory)
    if learning_rate >= limit:
        raise ValueError(
            f"learning_rate {learning_rate:g} is not below {limit:.4g}, the stability limit 2N/(kappa^2 w_max) of this "
            "network's own Jacobian NTK at the start: gradient descent would diverge. Use a smaller one, or pass "
            "allow_unstable=True to see it happen"
        )


# --------------------------------------------------------------------------------------------------------------
# The four sweeps


def chunks(net, X, memory):
    """Slices of points whose sweeps fit ``memory`` bytes: eight (N, n) arrays per layer."""
    per_point = 8 * sum(net.widths) * X.element_size()
    points = max(1, integer(memory, "memory", at_least=1) // per_point)
    return [slice(start, start + points) for start in range(0, len(X), points)]


class Sweep:
    """Values and Jacobians at ``X``, (N, d) from ``net.as_input``, and what differentiating them takes.

    ``outputs`` is the (N, 1+d) array ``[f, Jf]``. Lists run over layers: ``slopes[l]``, ``curvatures[l]``, ``c[l]`` and
    ``cotangents[l]`` belong to hidden layer l+1. Features and their tangents share an array (2, N, n) per layer, and so
    do e and b: a weight's gradient is then one product.
    """

    @torch.no_grad()
    def __init__(self, net, X):
        handles(net.mlp, "training")
        self.mlp, self.weights, self.biases = net.mlp, [w.detach() for w in net.weights], net.biases
        self.scale, *scales = feature_scales(net)
        N = len(X)

        def pair(n):
            return X.new_empty(2, N, n)

        self.features = [pair(X.shape[1])]
        torch.mul(X, self.scale, out=self.features[0][0])
        self.slopes, self.curvatures = [], []
        for layer, (n, scale) in enumerate(zip(net.widths, scales, strict=True)):
            g = self._add_bias(layer, self.features[-1][0] @ self.weights[layer].T)
            phi, slope, curvature = scaled_jet(self.mlp, scale, g, order=2)
            self.features.append(pair(n))
            self.features[-1][0] = phi
            self.slopes.append(slope)
            self.curvatures.append(curvature)
        values = self._add_bias(len(net.widths), self.features[-1][0] @ self.weights[-1].T)  # (N, 1)

        self.c, self.cotangents = [self.weights[-1]], []
        for layer in reversed(range(len(net.widths))):
            both = pair(net.widths[layer])
            torch.mul(self.slopes[layer], self.c[0], out=both[1])
            self.cotangents.insert(0, both)
            self.c.insert(0, both[1] @ self.weights[layer])
        jacobian = self.scale * self.c.pop(0)
        self.outputs = self.mlp.kappa * torch.cat((values, jacobian), dim=1)

    @torch.no_grad()
    def pull_back(self, cotangent, gradients, accumulate=False):
        """The gradient of ``sum(cotangent * outputs)`` in the parameters, into (or added to) ``gradients``."""
        u, v = self.mlp.kappa * cotangent[:, :1], self.mlp.kappa * cotangent[:, 1:]
        L, beta, sigma_b = len(self.slopes), float(accumulate), self.mlp.sigma_b
        torch.mul(v, self.scale, out=self.features[0][1])
        moved = []  # g's tangent along v
        for layer in range(L):
            moved.append(self.features[layer][1] @ self.weights[layer].T)
            torch.mul(self.slopes[layer], moved[-1], out=self.features[layer + 1][1])

        features, tangents = self.features[L]
        gradients[L].addmm_(u.T, features, beta=beta).add_(tangents.sum(0))
        if sigma_b:
            gradients[2 * L + 1].mul_(beta).add_(u.sum(0), alpha=sigma_b)
        above = u * self.weights[L]  # e^(l+1) W^(l+1)
        for layer in reversed(range(L)):
            both = self.cotangents[layer]  # (2, N, n): e, b
            torch.mul(self.slopes[layer], above, out=both[0])
            both[0].addcmul_(self.curvatures[layer] * moved[layer], self.c[layer])
            gradients[layer].addmm_(both.flatten(0, 1).T, self.features[layer].flatten(0, 1), beta=beta)
            if sigma_b:
                gradients[L + 1 + layer].mul_(beta).add_(both[0].sum(0), alpha=sigma_b)
            if layer:
                above = both[0] @ self.weights[layer]

    @torch.no_grad()
    def push_forward(self, direction):
        """The derivative of ``outputs``, shape (N, 1+d), as the parameters move along ``direction``."""
        L, moved = len(self.slopes), []

        def added_bias(layer, g):
            return g + self.mlp.sigma_b * direction[L + 1 + layer] if len(self.biases) else g

        g = self.features[0][0] @ direction[0].T
        for layer in range(L):
            moved.append(added_bias(layer, g))
            h, tangent = self.features[layer + 1][0], self.slopes[layer] * moved[-1]
            g = tangent @ self.weights[layer + 1].T + h @ direction[layer + 1].T
        values = added_bias(L, g)

        c = direction[L]
        for layer in reversed(range(L)):
            e = self.slopes[layer] * c + self.curvatures[layer] * moved[layer] * self.c[layer]
            c = e @ self.weights[layer] + self.cotangents[layer][1] @ direction[layer]
        return self.mlp.kappa * torch.cat((values, self.scale * c), dim=1)

    def _add_bias(self, layer, g):
        return g + self.mlp.sigma_b * self.biases[layer].detach() if len(self.biases) else g
