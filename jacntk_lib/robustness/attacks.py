r"""Attacks on a trained model: small changes of the input that push its output to the wrong side.

For labels y = +1 or -1 and a real output f, the *margin* of a point is y f(x): the point is classified correctly where
it is positive. An attack of size eps looks for the input of least margin in a ball around the point,

.. math:: \min_{x'} \; y f(x') \quad\text{subject to}\quad |x' - x|_q \le \epsilon,

q = 2 or infinity, by projected gradient descent (PGD, Madry et al. 2018). With one step from the point itself it is
the fast gradient (sign) method of Goodfellow et al. (2015). What it finds is an upper bound of the least margin, so
accuracy under attack is an upper bound too; it is exact where f is linear.

One function, :func:`.attack`, serves every model that knows its input Jacobian:

==============================================  ====================================================================
a fitted :class:`.JacobianKernelRegressor`      its prediction; also :class:`.JacobianGaussianProcessRegressor`
a pipeline of scikit-learn that ends in one     likewise, where the steps before it are affine (scalers, PCA)
``functools.partial(flow.at, t)``               a :class:`.RobustFlow` at time t (or ``.after`` with its arguments)
``flow.feature_functions(t)``                   all p eigenfeatures at once, every feature attacked on its own
a torch module, :class:`.FiniteMLP` or other    by automatic differentiation on its own device, in its own dtype
any callable                                    from NumPy points (M, d) to rows (M, 1+d), the value, then derivatives
==============================================  ====================================================================

For regression, ``loss="error"`` looks for the largest error :math:`|f(x') - y|` instead.

The descent itself is the same few lines of NumPy for all of them, so that the same function gives the same attack
whichever framework computes it.

>>> def line(Z):  # f(x) = x_1 with its gradient: no attack does better than a step straight down
...     return np.concatenate([Z[:, :1], np.ones((len(Z), 1)), np.zeros((len(Z), 1))], axis=1)
>>> accuracy_under_attack(line, [[0.3, 0.0], [0.6, 0.0]], [1.0, 1.0], sizes=[0.0, 0.5])
array([1. , 0.5])
"""

import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._validation import as_array, as_points, integer, non_negative_number, positive_number
from ..dynamics import FeatureFunctions, Prediction, RobustFlow
from ..gaussian import JacobianGaussianProcessRegressor
from ..regression import JacobianKernelRegressor
from .threats import threat_of

_REACH = 2.5  # steps times step size, in units of the size: enough to cross the ball and settle on its far side


@dataclass(frozen=True)
class Attack:
    """Attacked points and what the attack did.

    Attributes
    ----------
    X : (M, d), or (M, p, d) for p eigenfeatures: the points of least margin that were found.
    margin : (M,) or (M, p), there; never above ``clean_margin``. With ``loss="error"`` it is :math:`-|f(x') - y|`.
    clean_margin : (M,) or (M, p), at the points as given.
    """

    X: np.ndarray
    margin: np.ndarray
    clean_margin: np.ndarray

    @property
    def accuracy(self):
        """Share of the M points whose margin is still positive, a float or (p,). A margin of zero counts as wrong."""
        return (self.margin > 0).mean(axis=0)

    @property
    def clean_accuracy(self):
        """The same without the attack."""
        return (self.clean_margin > 0).mean(axis=0)


def attack(model, X, y, size, *, norm="l2", loss="margin", steps=10, step_size=None, restarts=1, seed=0) -> Attack:
    r"""The points of least margin within ``size`` of X that projected gradient descent finds.

    .. math:: x' &\leftarrow P\Bigl(x' - s\, \frac{g}{|g|_2}\Bigr) \;(\text{l2}), \\
              x' &\leftarrow P(x' - s\, \mathrm{sign}\, g) \;(\text{linf}), \quad g = \nabla_{x'}\, y f(x'),

    P being the Euclidean projection onto the ball. A point with g = 0 stays.

    Parameters
    ----------
    model : see the module's text. Rows of a batch must not influence each other (a torch module with batch
        normalisation belongs in evaluation mode).
    X : points, (M, d).
    y : labels, (M,): -1 and +1 for a model with one output. With K > 1 outputs the classes 0 to K-1, and the margin is
        the output of the own class less the largest other one. With ``loss="error"`` real numbers, for one output.
    size : eps >= 0, in units of X.
    norm : "l2" or "linf".
    loss : "margin", or "error" for regression: the margin is then :math:`-|f - y|`.
    steps : descent steps k >= 1; one step of one start is FGSM ("linf") or the fast gradient method ("l2").
    step_size : s > 0; ``None`` is the size for one step, else 2.5 size / k.
    restarts : starts. The first is the point itself, the others are uniform in the ball; further starts leave the
        earlier ones as they are.
    seed : of the random starts, which are the same for every feature.

    Returns
    -------
    Attack. The best point over all steps and starts, the clean one included, so more restarts never make it weaker.
    Within the ball up to rounding of x.

    Raises
    ------
    TypeError, ValueError : what is none of these models; wrong shapes, non-finite entries, here or in what the model
        returns; labels of another kind; a negative size, an unknown norm or loss; a pipeline with a step that is not
        affine.

    Examples
    --------
    >>> linear = lambda Z: np.column_stack([Z @ [3.0, 4.0], np.tile([3.0, 4.0], (len(Z), 1))])
    >>> found = attack(linear, [[1.0, 0.0]], [1], size=0.5)
    >>> found.X, found.margin, found.clean_margin  # 3 - 0.5 * |(3, 4)|
    (array([[ 0.7, -0.4]]), array([0.5]), array([3.]))
    """
    X = as_points(X)
    y = as_array(y, "y", X.shape[:1])
    size = non_negative_number(size, "size")
    steps = integer(steps, "steps", at_least=1)
    restarts = integer(restarts, "restarts", at_least=1)
    seed = integer(seed, "seed", at_least=0)
    if step_size is None:
        step_size = size if steps == 1 else _REACH * size / steps
    else:
        step_size = positive_number(step_size, "step_size")
    threat = threat_of(norm)(X[:, None], size)
    if loss not in ("margin", "error"):
        raise ValueError(f"loss must be 'margin' or 'error', got {loss!r}")
    margins = _Margins(model, y, of_errors=loss == "error")

    # everywhere (M, p, d), p = 1 but for eigenfeatures; the points of a start are the same for all features, (M, 1, d)
    clean, clean_slope = margins(X[:, None])
    best, least = np.broadcast_to(X[:, None], clean_slope.shape).copy(), clean.copy()
    for restart in range(restarts if size > 0 else 0):
        Z, margin, slope = X[:, None], clean, clean_slope
        if restart > 0:
            Z = threat.sample(np.random.default_rng([seed, restart]))
            margin, slope = margins(Z)
        for step in range(steps + 1):
            if step > 0:
                Z = threat.project(Z - step_size * threat.direction(slope))
                margin, slope = margins(Z)
            better = margin < least
            least[better] = margin[better]
            best[better] = np.broadcast_to(Z, best.shape)[better]
    if margins.single:
        return Attack(best[:, 0], least[:, 0], clean[:, 0])
    return Attack(best, least, clean)


def one_step(model, X, y, size, *, norm="l2", on_sphere=False) -> np.ndarray:
    r"""The points one step of descent away, all of them: inputs that several models can be asked about.

    .. math:: x' &= x - \epsilon\, \frac{g}{|g|_2} \;(\text{l2}), \\
              x' &= x - \epsilon\, \mathrm{sign}\, g \;(\text{linf}), \\
              x' &= x + \epsilon\, (f(x) - y)\, \nabla f(x) \;(\text{gradient}),

    g being the gradient of the margin y f. The third is a step of size eps up the loss :math:`(f - y)^2 / 2` itself,
    and as long as the gradient makes it. Unlike :func:`attack`, which keeps the better of start and end, this goes
    where the step leads: a point may end with a larger margin than it had.

    Parameters
    ----------
    model, X, y : as for :func:`attack`; one output, labels -1 and +1.
    size : eps >= 0.
    norm : "l2", "linf" or "gradient".
    on_sphere : bring every point back to the length it had.

    Returns
    -------
    Array (M, d).

    Raises
    ------
    TypeError, ValueError : as for :func:`attack`.

    Examples
    --------
    >>> linear = lambda Z: np.column_stack([Z @ [3.0, 4.0], np.tile([3.0, 4.0], (len(Z), 1))])
    >>> one_step(linear, [[1.0, 0.0]], [1], size=0.5)
    array([[ 0.7, -0.4]])
    """
    X = as_points(X)
    y = signs(as_array(y, "y", X.shape[:1]))
    size = non_negative_number(size, "size")
    value, slope = _as_function(model)(X)
    if np.ndim(value) != 1:
        raise ValueError(f"a shared step needs a model with one output, got values of shape {np.shape(value)}")
    if norm == "gradient":
        moved = X + size * (value - y)[:, None] * slope
    else:
        moved = X - size * threat_of(norm).direction(y[:, None] * slope)
    if on_sphere:
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        moved = moved * np.linalg.norm(X, axis=1, keepdims=True) / np.where(length > 0, length, 1.0)
    return moved


def accuracy_under_attack(model, X, y, sizes, **options) -> np.ndarray:
    """Share of the points that no attack of a size turns, for each of ``sizes``: (S,), or (S, p) for eigenfeatures.

    A point that an attack of some size turns counts as turned at every larger size, whose ball contains that
    attack: so accuracy never rises with size. Size 0 is the ordinary accuracy.

    Parameters
    ----------
    sizes : eps >= 0, (S,), in any order.
    model, X, y, options : as for :func:`attack`, which raises the same errors.
    """
    if options.get("loss", "margin") != "margin":
        raise ValueError("accuracy is of labels: for loss='error' take attack(...).margin, which is minus the error")
    sizes = np.asarray(sizes)
    if sizes.ndim != 1 or not sizes.size:
        raise ValueError(f"sizes has shape {sizes.shape}: one or more sizes in a row are needed")
    accuracy, least = [None] * len(sizes), np.inf
    for k in np.argsort(sizes, kind="stable"):
        least = np.minimum(least, attack(model, X, y, sizes[k].item(), **options).margin)
        accuracy[k] = (least > 0).mean(axis=0)
    return np.array(accuracy)


# --------------------------------------------------------------------------------------------------------------
# What an attack may ask


class _Margins:
    """Margins (M, p) and their gradients (M, p, d) at points (M, 1 or p, d)."""

    def __init__(self, model, y, of_errors):
        self.y, self._of_errors = y, of_errors
        self.single = not isinstance(model, FeatureFunctions)
        self._model = _as_function(model) if self.single else model

    def __call__(self, Z):
        if self.single:
            value, jacobian = (part[:, None] for part in self._model(Z[:, 0]))
        else:
            value, jacobian = self._model(Z[:, 0] if Z.shape[1] == 1 else Z)
        if not (np.isfinite(value).all() and np.isfinite(jacobian).all()):
            raise ValueError("the model returned non-finite values or derivatives; it cannot be attacked there")
        if value.ndim == 3 and value.shape[2] == 1:
            value, jacobian = value[..., 0], jacobian[..., 0, :]
        if self._of_errors:
            if value.ndim == 3:
                raise ValueError(f"loss='error' needs a model with one output, got {value.shape[2]}")
            error = value - self.y[:, None]
            side = np.where(error < 0, -1.0, 1.0)
            return -np.abs(error), -side[..., None] * jacobian
        if value.ndim == 2:
            y = signs(self.y)
            return y[:, None] * value, y[:, None, None] * jacobian
        own = _classes(self.y, value.shape[2])[:, None, None]
        rivals = value.copy()
        np.put_along_axis(rivals, np.broadcast_to(own, (*value.shape[:2], 1)), -np.inf, axis=2)
        rival = rivals.argmax(axis=2)[:, :, None]
        of_own, of_rival = (np.take_along_axis(value, index, 2)[..., 0] for index in (own, rival))
        slope_own, slope_rival = (np.take_along_axis(jacobian, index[..., None], 2)[:, :, 0] for index in (own, rival))
        return of_own - of_rival, slope_own - slope_rival


def _as_function(model):
    """``model`` as a function from points (M, d) to values (M,) or (M, K) and Jacobians (M, d) or (M, K, d)."""
    if isinstance(model, JacobianKernelRegressor):
        check_is_fitted(model)
        return model.prediction
    if isinstance(model, JacobianGaussianProcessRegressor):
        check_is_fitted(model)
        return lambda Z: (model.predict(Z), model.predict_jacobian(Z))
    if isinstance(model, Pipeline):
        check_is_fitted(model)
        last = _as_function(model[-1])
        return partial(_through_pipeline, model[:-1], last) if len(model) > 1 else last
    torch = sys.modules.get("torch")  # a module exists only where torch was imported
    if torch is not None and isinstance(model, torch.nn.Module):
        return lambda Z: _by_autograd(torch, model, Z)
    if isinstance(model, RobustFlow):
        raise TypeError(
            "a RobustFlow is a model at every time: attack functools.partial(flow.at, t), or flow.feature_functions(t)"
        )
    if not callable(model):
        raise TypeError(
            f"model must be a fitted JacobianKernelRegressor, feature functions, a torch module or a callable from "
            f"points (M, d) to rows (M, 1+d), got {model!r}"
        )
    return lambda Z: _from_rows(model(Z.copy()), Z)


def _through_pipeline(transform, function, Z):
    """Value and Jacobian behind an affine map, whose matrix is what it makes of unit steps."""
    d = Z.shape[1]
    probes = np.concatenate([Z, Z[:1] + np.arange(2, d + 2)])  # the last, so that one point alone is a test, too
    mapped = np.asarray(transform.transform(np.concatenate([probes, Z[:1] + np.eye(d)])), dtype=np.float64)
    mapped, stepped = mapped[:-d], mapped[-d:]
    matrix = stepped - mapped[:1]
    if not np.allclose(mapped, mapped[:1] + (probes - Z[:1]) @ matrix, rtol=1e-6, atol=1e-6 * np.abs(stepped).max()):
        raise ValueError(
            f"{transform!r} is not affine, so that the Jacobian behind it is not known: pass a callable from points "
            "(M, d) to rows (M, 1+d) that has its derivatives"
        )
    value, jacobian = function(mapped[:-1])
    return value, jacobian @ matrix.T


def _by_autograd(torch, module, Z):
    from ..networks import full_precision

    tensors = (tensor for group in (module.parameters(), module.buffers()) for tensor in group)
    at = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(0, dtype=torch.float64))
    with torch.enable_grad(), full_precision(at.device):
        points = torch.from_numpy(Z.copy()).to(at.device, at.dtype).requires_grad_()
        value = module(points)
        if value.ndim not in (1, 2) or value.shape[0] != len(Z):
            raise ValueError(
                f"the module returned shape {tuple(value.shape)} for {len(Z)} points: (M,) or (M, K) is needed"
            )
        # one backward pass per output: row m depends on point m alone, so that the sum's gradient is every point's own
        columns = value[:, None] if value.ndim == 1 else value
        slopes = [torch.autograd.grad(column.sum(), points, retain_graph=True)[0] for column in columns.unbind(1)]
        slopes = slopes[0] if value.ndim == 1 else torch.stack(slopes, dim=1)
    return tuple(part.detach().cpu().numpy().astype(np.float64) for part in (value, slopes))


def _from_rows(returned, Z):
    if isinstance(returned, Prediction):
        return returned
    if hasattr(returned, "detach"):  # a torch tensor
        returned = returned.detach().cpu().numpy()
    M, d = Z.shape
    outputs = np.shape(returned)[1:-1][:1]  # () or (K,)
    rows = as_array(returned, "what the model returned", (M, *outputs, 1 + d))
    return rows[..., 0], rows[..., 1:]


# --------------------------------------------------------------------------------------------------------------
# Checks at the edge


def signs(y):
    """Labels, if they are -1 and +1."""
    wrong = np.flatnonzero(np.abs(y) != 1)
    if wrong.size:
        raise ValueError(
            f"labels must be -1 or +1 for a model with one output, got {y[wrong[0]]:g} at index {wrong[0]}"
        )
    return y


def _classes(y, K):
    wrong = np.flatnonzero((y != np.round(y)) | (y < 0) | (y >= K))
    if wrong.size:
        raise ValueError(
            f"labels must be classes 0 to {K - 1} for a model with {K} outputs, got {y[wrong[0]]:g} at index {wrong[0]}"
        )
    return y.astype(int)
