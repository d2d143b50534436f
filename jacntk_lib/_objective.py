r"""The robust loss of a finite network, its gradient, and the largest stable step.

.. math:: \text{loss} = \frac1N \sum_i \Bigl[ \tfrac12 (f(x_i) - y_i)^2 + \tfrac\lambda2 \|Jf(x_i)\|^2 \Bigr]

is a quadratic function of the (N, 1+d) output of the tangent pass of :mod:`jacntk_lib.networks`, so its gradient takes
one backward sweep over that pass, with two matrix products a layer for the one of the forward sweep; nothing is
differentiated twice. The sweep is written out (and tested against autograd), because it can then reuse its arrays:

.. math:: \dot g_0 = \phi'(g_0)\, \dot h_0 + \phi''(g_0) \sum_a g_a \dot h_a, \qquad \dot g_a = \phi'(g_0)\, \dot h_a,
          \qquad \dot W = \dot g^T h, \qquad \dot h = \dot g\, W .
"""

from functools import cached_property

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from . import finite
from ._validation import as_array, integer, non_negative_number
from .networks import bytes_per_point, check_network, feature_scales, first_layer, full_precision, tangent_pass

_DENSE_ROWS = 4096  # up to here the step limit comes from the dense JNTK, 134 MB in float64; beyond, matrix-free


def chunks(net, X, memory):
    """Slices of points whose passes fit ``memory`` bytes."""
    points = max(1, integer(memory, "memory", at_least=1) // bytes_per_point(net.widths, X))
    return [slice(start, start + points) for start in range(0, len(X), points)]


class RobustObjective:
    """The robust loss of ``net`` on (X, y), with the gradient of the last :meth:`evaluate` in ``gradients``.

    ``parameters`` and ``gradients`` are matching lists: the weights of every layer, then the biases, if any.
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
        return [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def evaluate(self, gradient=True):
        """The loss (a float) and the (N, 1+d) values and Jacobians; a pass forwards and, for the gradient, one back."""
        N, outputs = len(self.X), []
        for gradient_of in self.gradients if gradient else ():
            gradient_of.zero_()
        with full_precision(self.net.device):
            for chunk in self._chunks:
                layers, output = tangent_pass(self.net, self.X[chunk], order=2 if gradient else 1)
                outputs.append(output)
                if gradient:
                    cotangent = self.weights[chunk] * (output - self.targets[chunk]) / N
                    self._pull_back(self.X[chunk], layers, cotangent)
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
        for gradient in self.gradients:
            gradient.zero_()
        with full_precision(self.net.device):
            for chunk in self._chunks:
                layers, _ = tangent_pass(self.net, self.X[chunk], order=2)
                self._pull_back(self.X[chunk], layers, (root * v)[chunk])
            pushed = []
            for chunk in self._chunks:
                layers, _ = tangent_pass(self.net, self.X[chunk], order=2)
                pushed.append(self._push_forward(self.X[chunk], layers, self.gradients))
        return (root * torch.cat(pushed)).flatten().double().cpu().numpy()

    def _pull_back(self, X, layers, cotangent):
        """Add the gradient of sum(cotangent * (f, Jf)) to ``gradients``: the formulas of this module's introduction."""
        L, sigma_b = len(layers), self.net.mlp.sigma_b
        dg = (self.net.mlp.kappa * cotangent)[:, :, None]  # (N, 1+d, 1)
        for index in range(L, 0, -1):
            h, tangents, slope, curvature = layers[index - 1]
            flat = dg.flatten(0, 1)
            self.gradients[index].addmm_(flat.T, h.flatten(0, 1))
            if sigma_b:
                self.gradients[L + 1 + index].add_(dg[:, 0].sum(0), alpha=sigma_b)
            dg = (flat @ self.parameters[index]).view_as(h)  # dh, turned into dg in place
            bend = torch.zeros_like(slope)
            for a in range(X.shape[1]):  # one derivative at a time stays in the cache
                bend.addcmul_(dg[:, 1 + a], tangents[:, a])
            dg *= slope[:, None]
            dg[:, 0].addcmul_(curvature, bend)
        scale = feature_scales(self.net)[0]
        self.gradients[0].addmm_(dg[:, 0].T, X, alpha=scale).add_(dg[:, 1:].sum(0).T, alpha=scale)
        if sigma_b:
            self.gradients[L + 1].add_(dg[:, 0].sum(0), alpha=sigma_b)

    def _push_forward(self, X, layers, direction):
        """The derivative of (f, Jf), shape (N, 1+d), as the parameters move along ``direction``."""
        L, sigma_b = len(layers), self.net.mlp.sigma_b
        dg0, dtangents = first_layer(X, feature_scales(self.net)[0], direction[0])
        if sigma_b:
            dg0 = dg0 + sigma_b * direction[L + 1]
        for index, (h, tangents, slope, curvature) in enumerate(layers, start=1):
            moved = (curvature * dg0)[:, None] * tangents + slope[:, None] * dtangents
            dh = torch.cat(((slope * dg0)[:, None], moved), dim=1)
            dg = dh @ self.parameters[index].T + h @ direction[index].T
            dg0, dtangents = dg[:, 0], dg[:, 1:]
            if sigma_b:
                dg0 = dg0 + sigma_b * direction[L + 1 + index]
        return self.net.mlp.kappa * torch.cat((dg0[:, None], dtangents), dim=1).squeeze(-1)


def max_learning_rate(net, X, lam, *, memory=finite.MEMORY):
    r"""The step size at which gradient descent on the robust loss becomes unstable, for the network as it is now.

    .. math:: \eta_{\max} = \frac{2N}{\kappa^2\, w_{\max}(\Lambda^{1/2} \Theta \Lambda^{1/2})}

    with :math:`\Theta` the network's own Jacobian NTK and :math:`\Lambda = diag(1, \lambda, ..., \lambda)` at every
    point. The largest eigenvalue comes from Lanczos iteration, on the dense matrix up to N(1+d) = 4096 and beyond
    through products with the parameter Jacobian and its transpose, so no N(1+d) square matrix is needed.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> net = FiniteMLP(MLP(depth=1, kappa=1.0), width=64, input_dim=2)
    >>> 0.5 < max_learning_rate(net, np.eye(2), lam=0.1) < 5.0
    True
    """
    objective = RobustObjective(net, X, np.zeros(len(X)), lam, memory=memory)
    rows = objective.weights.numel()
    if rows <= _DENSE_ROWS:
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
    limit = max_learning_rate(net, objective.X, objective.lam, memory=memory)
    if learning_rate >= limit:
        raise ValueError(
            f"learning_rate {learning_rate:g} is not below {limit:.4g}, the stability limit 2N/(kappa^2 w_max) of this "
            "network's own Jacobian NTK at the start: gradient descent would diverge. Use a smaller one, or pass "
            "allow_unstable=True to see it happen"
        )
