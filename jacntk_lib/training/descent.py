r"""Robust training of a finite network: full-batch gradient descent on values and Jacobians together.

The loss is equation (1) of Kim and Yang (2024), with any lambda >= 0 where theirs is in (0, 1], and its gradient that
of :class:`.RobustObjective`: four sweeps of N rows, whatever the input dimension.
"""

import contextlib
import math
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from .. import finite
from .._optional import torch
from .._validation import as_array, integer, positive_number
from ..errors import ConvergenceError
from ..networks import full_precision
from .objective import RobustObjective, Sweep, chunks, refuse_unstable


@dataclass(frozen=True)
class TrainingHistory:
    """What :func:`train` saw at R recorded steps; NumPy float64 arrays.

    Attributes
    ----------
    steps : (R,) integers, the number of updates made.
    loss : (R,)
    values, jacobians : (R, N) and (R, N, d), f and Jf at the training points.
    test_values, test_jacobians : (R, M) and (R, M, d) at ``X_test``, or None.
    distances : (R,) relative Frobenius distance of the finite JNTK from ``reference``, or None.
    """

    steps: np.ndarray
    loss: np.ndarray
    values: np.ndarray
    jacobians: np.ndarray
    distances: np.ndarray | None = None
    test_values: np.ndarray | None = None
    test_jacobians: np.ndarray | None = None


def train(
    net,
    X,
    y,
    lam,
    learning_rate,
    steps,
    record=None,
    *,
    reference=None,
    X_test=None,
    progress=False,
    allow_unstable=False,
    memory=finite.MEMORY,
) -> TrainingHistory:
    """Train ``net`` in place by full-batch gradient descent on the robust loss, in float32 or float64 as the net is.

    Parameters
    ----------
    net : a :class:`~jacntk_lib.networks.FiniteMLP`; on return it holds the trained parameters.
    X, y : points (N, d) and targets (N,); the targets of the Jacobian are zero.
    lam : lambda >= 0, the weight of the squared Jacobian.
    learning_rate : positive. At or above the stability limit of :func:`max_learning_rate` it is refused.
    steps : the number of updates.
    record : the numbers of updates after which to record, from 0 to ``steps``; None means 0, 1, 2, 4, ..., ``steps``.
    reference : an (N(1+d), N(1+d)) matrix, or a :class:`~jacntk_lib.JacobianGram` (the limit Theta, say): at every
        recorded step the distance of the network's own JNTK from it is measured.
    X_test : points (M, d) at which values and Jacobians are recorded too.
    progress : True for a bar with the expected time on stderr, or a function ``(step, loss)`` called before the first
        step and after every step.
    allow_unstable : do not compute the stability limit, accept every learning rate.
    memory : bytes for the arrays of the points in hand, as in :func:`jacntk_lib.finite.jacobian_ntk`.

    Returns
    -------
    TrainingHistory

    Raises
    ------
    ValueError, TypeError : an argument is out of range (the message says which), or the learning rate is at or above
        the limit.
    ConvergenceError : the loss is no longer finite; the message names the step.

    Examples
    --------
    >>> from jacntk_lib.architecture import MLP
    >>> from jacntk_lib.networks import FiniteMLP
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    >>> net = FiniteMLP(MLP(depth=2, kappa=1.0), width=64, input_dim=2)
    >>> history = train(net, X, [1.0, -1.0, 1.0], lam=0.1, learning_rate=0.2, steps=8)
    >>> history.steps, history.jacobians.shape, bool(history.loss[-1] < history.loss[0])
    (array([0, 1, 2, 4, 8]), (5, 3, 2), True)
    """
    objective = RobustObjective(net, X, y, lam, memory=memory)
    learning_rate = positive_number(learning_rate, "learning_rate")
    steps = integer(steps, "steps", at_least=0)
    record = _record_steps(record, steps)
    recorder = _Recorder(objective, reference, X_test, memory)
    if not allow_unstable and steps > 0:
        refuse_unstable(net, objective, learning_rate, memory)

    with _progress(progress, steps) as report:
        for step in range(steps + 1):
            loss, outputs = objective.evaluate(gradient=step < steps)
            if not math.isfinite(loss):
                raise ConvergenceError(
                    f"training diverged: after {step} steps the loss is {loss} (learning_rate {learning_rate:g}); "
                    "use a rate well below training.max_learning_rate of the untrained network"
                )
            if step in record:
                recorder.record(step, loss, outputs)
            report(step, loss)
            if step < steps:
                objective.descend(learning_rate)
    return recorder.history()


def _record_steps(record, steps):
    if record is None:
        record = [0, *(2**k for k in range(steps.bit_length())), steps]
    record = sorted({integer(step, "record[...]", at_least=0) for step in np.atleast_1d(record).tolist()})
    if record and record[-1] > steps:
        raise ValueError(f"record asks for step {record[-1]}, but training ends after steps={steps}: give more steps")
    return record


class _Recorder:
    """Collects the history, from the objective's own pass wherever it can."""

    def __init__(self, objective, reference, X_test, memory):
        net = objective.net
        self._net, self._X, self._memory = net, objective.X, memory
        self._X_test = None if X_test is None else net.as_input(X_test, "X_test").detach()
        size = objective.weights.numel()
        if hasattr(reference, "dense"):
            reference = reference.dense()
        if isinstance(reference, torch.Tensor):
            reference = reference.detach().cpu()
        if reference is not None:
            reference = torch.from_numpy(as_array(reference, "reference", (size, size))).to(net.device)
        self._reference = reference
        self._rows = []  # one dictionary of float64 arrays per recorded step

    @torch.no_grad()
    def record(self, step, loss, outputs):
        net = self._net
        row = {"steps": step, "loss": loss, **_split(outputs, "")}
        if self._X_test is not None:
            with full_precision(net.device):
                parts = [Sweep(net, self._X_test[part]).outputs for part in chunks(net, self._X_test, self._memory)]
            row |= _split(torch.cat(parts), "test_")
        if self._reference is not None:
            gap = finite.jacobian_ntk(net, self._X, memory=self._memory).double().sub_(self._reference)
            row["distances"] = (gap.norm() / self._reference.norm()).item()
        self._rows.append({name: np.asarray(value) for name, value in row.items()})

    def history(self):
        N, d = self._X.shape
        nothing = {"steps": np.empty(0, int), "loss": np.empty(0)}
        nothing |= {"values": np.empty((0, N)), "jacobians": np.empty((0, N, d))}
        names = self._rows[0] if self._rows else ()
        return TrainingHistory(**nothing | {name: np.stack([row[name] for row in self._rows]) for name in names})


def _split(outputs, prefix):
    outputs = outputs.double().cpu().numpy()
    return {f"{prefix}values": outputs[:, 0], f"{prefix}jacobians": outputs[:, 1:]}


@contextlib.contextmanager
def _progress(progress, steps):
    """A function of (step, loss) to call before the first step and after every step."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda step, loss: None
    else:
        with tqdm(total=steps, unit="step") as bar:

            def show(step, loss):
                bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
                bar.update(step - bar.n)

            yield show
