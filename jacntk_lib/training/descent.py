r"""Robust training of a finite network: full-batch gradient descent on values and Jacobians together.

.. math:: \text{loss} = \frac1N \sum_i \Bigl[ \tfrac12 (f(x_i) - y_i)^2 + \tfrac\lambda2 \|Jf(x_i)\|^2 \Bigr]

(Kim and Yang 2024, equation (1), with lambda in (0, 1]; here any lambda >= 0).

The gradient is that of ``_objective``: four sweeps of N rows, whatever the input dimension.
"""

import contextlib
import math
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .. import finite
from .._validation import as_array, integer, non_negative_number, positive_number
from ..errors import ConvergenceError, CorruptResultError
from . import checkpoint as _checkpoint
from .objective import RobustObjective, Sweep, chunks, max_learning_rate, refuse_unstable

__all__ = ["RobustObjective", "TrainingHistory", "max_learning_rate", "train"]


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
    largest_entries : (R,) the largest entry of |JNTK - reference|, or None.
    """

    steps: np.ndarray
    loss: np.ndarray
    values: np.ndarray
    jacobians: np.ndarray
    distances: np.ndarray | None = None
    largest_entries: np.ndarray | None = None
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
    checkpoint=None,
    checkpoint_seconds=60.0,
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
    record : the numbers of updates after which to record, each in 0..``steps``; None means 0, 1, 2, 4, ..., ``steps``.
    reference : an (N(1+d), N(1+d)) matrix, or a :class:`~jacntk_lib.JacobianGram` (the limit Theta, say): at every
        recorded step the distance of the network's own JNTK from it is measured.
    X_test : points (M, d) at which values and Jacobians are recorded too.
    checkpoint : a path. The run is saved there once in ``checkpoint_seconds``, at an interrupt and at the end, and a
        call with the same arguments continues from it, with bitwise the same history as without interruption (on the
        same device with the same number of threads). Without a checkpoint an interrupt loses the history.
    progress : True for a bar with the expected time on stderr, or a function ``(step, loss)`` called after every step.
    allow_unstable : do not compute the stability limit, accept every learning rate.
    memory : bytes for the arrays of the points in hand, as in :func:`jacntk_lib.finite.jacobian_ntk`.

    Returns
    -------
    TrainingHistory

    Raises
    ------
    ValueError, TypeError : an argument is out of range (the message says which), the learning rate is at or above the
        limit, or the checkpoint belongs to another run.
    ConvergenceError : the loss is no longer finite; the message names the step.
    CorruptResultError : the checkpoint is damaged.
    KeyboardInterrupt : after the step in hand, once the checkpoint is written.

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
    checkpoint_seconds = non_negative_number(checkpoint_seconds, "checkpoint_seconds")
    recorder = _Recorder(objective, reference, X_test, memory)
    run = _Run(checkpoint, objective, recorder, learning_rate)
    start = run.resume(record, steps)
    if not allow_unstable and start == 0 and steps > 0:
        refuse_unstable(net, objective, learning_rate, memory)

    saved = time.monotonic()
    with _deferred_interrupts() as interrupted, _progress(progress, start, steps) as report:
        for step in range(start, steps + 1):
            loss, outputs = objective.evaluate(gradient=step < steps)
            if not math.isfinite(loss):
                raise ConvergenceError(
                    f"training diverged: after {step} steps the loss is {loss} (learning_rate {learning_rate:g}); "
                    "use a rate well below training.max_learning_rate of the untrained network"
                )
            if step in record and step not in recorder.steps:
                recorder.record(step, loss, outputs)
            report(step, loss)
            stop = interrupted()
            if stop or step == steps or time.monotonic() - saved >= checkpoint_seconds:
                run.save(step)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt(f"training stopped after {step} of {steps} steps")
            if step < steps:
                objective.descend(learning_rate)
    return recorder.history()


# --------------------------------------------------------------------------------------------------------------
# What a run keeps


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
        self.X_test = None if X_test is None else net.as_input(X_test, "X_test").detach()
        size = objective.weights.numel()
        if hasattr(reference, "dense"):
            reference = reference.dense()
        if isinstance(reference, torch.Tensor):
            reference = reference.detach().cpu()
        if reference is not None:
            reference = torch.from_numpy(as_array(reference, "reference", (size, size))).to(net.device)
        self.reference = reference
        self.rows = []  # one dictionary of float64 arrays a recorded step

    @property
    def steps(self):
        return [int(row["steps"]) for row in self.rows]

    @torch.no_grad()
    def record(self, step, loss, outputs):
        net = self._net
        row = {"steps": step, "loss": loss, **_split(outputs, "")}
        if self.X_test is not None:
            parts = [Sweep(net, self.X_test[part]).outputs for part in chunks(net, self.X_test, self._memory)]
            row |= _split(torch.cat(parts), "test_")
        if self.reference is not None:
            gap = finite.jacobian_ntk(net, self._X, memory=self._memory).double().sub_(self.reference)
            row["distances"] = (gap.norm() / self.reference.norm()).item()
            row["largest_entries"] = gap.abs_().max().item()
        self.rows.append({name: np.asarray(value) for name, value in row.items()})

    def arrays(self):
        names = self.rows[0] if self.rows else ()
        return {name: np.stack([row[name] for row in self.rows]) for name in names}

    def restore(self, arrays):
        count = len(arrays["steps"]) if arrays else 0
        self.rows = [{name: array[i] for name, array in arrays.items()} for i in range(count)]

    def history(self):
        N, d = self._X.shape
        nothing = {"steps": np.empty(0, int), "loss": np.empty(0)}
        nothing |= {"values": np.empty((0, N)), "jacobians": np.empty((0, N, d))}
        return TrainingHistory(**(nothing | self.arrays()))


def _split(outputs, prefix):
    outputs = outputs.double().cpu().numpy()
    return {f"{prefix}values": outputs[:, 0], f"{prefix}jacobians": outputs[:, 1:]}


class _Run:
    """A checkpoint's path and the description by which it knows its own run."""

    def __init__(self, path, objective, recorder, learning_rate):
        self.path, self._recorder = None if path is None else Path(path), recorder
        self._parameters = objective.parameters
        if self.path is None:
            return
        net = objective.net
        self._settings = {
            "network": f"{net.mlp} width={net.widths} input_dim={net.input_dim} dtype={net.dtype}",
            "lam": objective.lam,
            "learning_rate": learning_rate,
            "X and y": _checkpoint.digest(objective.X.cpu(), objective.targets.cpu()),
            "X_test": _checkpoint.digest(None if recorder.X_test is None else recorder.X_test.cpu()),
            "reference": _checkpoint.digest(None if recorder.reference is None else recorder.reference.cpu()),
            "initial parameters": self._digest(),
        }

    def resume(self, record, steps):
        """The number of steps already made, their parameters and history put in place."""
        if self.path is None or not self.path.exists():
            return 0
        saved, arrays = _checkpoint.load(self.path)
        current = {name: array for name, array in arrays.items() if name.startswith("parameter ")}
        if self._settings["initial parameters"] == saved.get("current parameters"):
            # The network that was interrupted, passed again: it need not be sampled anew.
            self._settings["initial parameters"] = saved["initial parameters"]
        for name, value in self._settings.items():
            if saved.get(name) != value:
                raise ValueError(
                    f"checkpoint {self.path} belongs to another run: its {name} differ(s); give another path, or "
                    "delete it to start again"
                )
        step = saved["step"]
        if step > steps:
            raise ValueError(f"checkpoint {self.path} holds {step} steps, more than steps={steps}")
        self._recorder.restore({name.removeprefix("history "): a for name, a in arrays.items() if name not in current})
        if self._recorder.steps != [k for k in record if k <= step]:
            raise ValueError(
                f"checkpoint {self.path} recorded steps {self._recorder.steps}, not the ones asked for now: pass the "
                "same record, or delete it to start again"
            )
        if [array.shape for array in current.values()] != [tuple(p.shape) for p in self._parameters]:
            raise CorruptResultError(f"checkpoint {self.path} lacks parameters: delete it to start again")
        for parameter, array in zip(self._parameters, current.values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
        return step

    def save(self, step):
        if self.path is None:
            return
        arrays = {f"parameter {i:03d}": p.cpu().numpy() for i, p in enumerate(self._parameters)}
        arrays |= {f"history {name}": array for name, array in self._recorder.arrays().items()}
        settings = {**self._settings, "step": step, "current parameters": self._digest()}
        _checkpoint.save(self.path, settings, arrays)

    def _digest(self):
        return _checkpoint.digest(*(parameter.cpu() for parameter in self._parameters))


# --------------------------------------------------------------------------------------------------------------
# Interrupts and progress


@contextlib.contextmanager
def _deferred_interrupts():
    """Ctrl-C waits until the step in hand is done, so parameters are never half updated; a second one does not wait."""
    pending = False

    def note(*_):
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True

    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pending
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _progress(progress, start, steps):
    """A function of (step, loss) to call after every step."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda step, loss: None
    else:
        with tqdm(total=steps, initial=start, unit="step") as bar:

            def show(step, loss):
                bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
                bar.update(step - bar.n)

            yield show
