"""One way to fit after another to values and gradients, each within a limit of processor time; used by gradients.py.

    python _gradient_methods.py JOBS.json [--go-on]

JOBS.json is a list of {"method", "setting", "data", "output", "limit"}: a name of METHODS, the number of a setting, a
.npz file of ``_gradient_data.py``, the .json file to write to, processor seconds. Written is {"error", "median",
"seconds", "coverage", "worst", "misses"}: root mean square error and median absolute error over the standard deviation
of the test values, processor seconds of the fit, the share of test values within 1.96 standard deviations of the
prediction (null without such), the share of the squared error that the worst test input has, and all errors over that
standard deviation; or {"ended"}: why not.
Unless ``--go-on``, the jobs after one that has ended so are not tried.
"""

import json
import signal
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np


def ours(X, y, J, limits):
    from jacntk_lib import JacobianGaussianProcessRegressor

    model = JacobianGaussianProcessRegressor().fit(X, y, jacobian=J)

    def predict(X_test):
        try:
            return model.predict(X_test, return_std=True)
        except NotImplementedError:  # too many observations for a dense matrix
            return model.predict(X_test), None

    return predict


def ours_values(X, y, J, limits):
    return ours(X, y, None, limits)


def scikit_learn(X, y, J, limits, kernel):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

    shape = np.ones(X.shape[1])
    base = {"RBF": lambda: RBF(shape, (1e-2, 1e3)), "Matern 5/2": lambda: Matern(shape, (1e-2, 1e3), nu=2.5)}[kernel]()
    covariance = ConstantKernel(1.0, (1e-3, 1e6)) * base + WhiteKernel(1e-6, (1e-12, 1.0))
    model = GaussianProcessRegressor(covariance, normalize_y=True, n_restarts_optimizer=2, random_state=0)
    mean, std = X.mean(axis=0), X.std(axis=0)
    model.fit((X - mean) / std, y)
    return lambda X_test: model.predict((X_test - mean) / std, return_std=True)


def smt(X, y, J, limits, surrogate, **options):
    from smt import surrogate_models

    if surrogate == "GEKPLS":
        options["xlimits"] = limits
    if surrogate != "KRG":
        options["theta0"] = [1e-2] * options["n_comp"]
    model = getattr(surrogate_models, surrogate)(print_global=False, **options)
    model.set_training_values(X, y)
    if surrogate == "GEKPLS":
        for k in range(X.shape[1]):
            model.set_training_derivatives(X, J[:, k : k + 1], k)
    model.train()
    return lambda X_test: (
        model.predict_values(X_test)[:, 0],
        np.sqrt(np.maximum(model.predict_variances(X_test)[:, 0], 0.0)),
    )


def jenn(X, y, J, limits, hidden, lambd, alpha):
    from jenn.core.model import NeuralNet

    net = NeuralNet([X.shape[1], *hidden, 1])
    given = {"alpha": alpha, "lambd": lambd, "max_iter": 1500, "is_normalize": True, "random_state": 0}
    net.fit(X.T, y[None], J.T[None], **given)
    return lambda X_test: (net.predict(X_test.T)[0], None)


def gpytorch(X, y, J, limits, steps, rate, least_noise):
    """RBFKernelGrad with a scale per column and a noise per derivative, Adam on the likelihood; all standardised."""
    import gpytorch as gp
    import torch

    mean, std, y_mean, y_std = X.mean(axis=0), X.std(axis=0), y.mean(), y.std()
    tensor = lambda a: torch.as_tensor(a, dtype=torch.float64)  # noqa: E731
    inputs = tensor((X - mean) / std)
    targets = tensor(np.concatenate([((y - y_mean) / y_std)[:, None], J * std / y_std], axis=1))
    d = X.shape[1]

    class Model(gp.models.ExactGP):
        def __init__(self, likelihood):
            super().__init__(inputs, targets, likelihood)
            self.mean_module = gp.means.ConstantMeanGrad()
            self.covar_module = gp.kernels.ScaleKernel(gp.kernels.RBFKernelGrad(ard_num_dims=d))

        def forward(self, x):
            return gp.distributions.MultitaskMultivariateNormal(self.mean_module(x), self.covar_module(x))

    noise = {"has_global_noise": False, "noise_constraint": gp.constraints.GreaterThan(least_noise)}
    likelihood = gp.likelihoods.MultitaskGaussianLikelihood(num_tasks=1 + d, rank=0, **noise).double()
    model = Model(likelihood).double()
    model.covar_module.base_kernel.lengthscale = d**0.5
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    evidence = gp.mlls.ExactMarginalLogLikelihood(likelihood, model)
    with gp.settings.max_cholesky_size(100_000), gp.settings.fast_computations(False, False, False):
        for _ in range(steps):
            optimiser.zero_grad()
            loss = -evidence(model(inputs), targets)
            loss.backward()
            optimiser.step()
        model.eval()

    def predict(X_test):
        means, deviations = [], []
        with torch.no_grad(), gp.settings.max_cholesky_size(100_000):
            for part in np.array_split((X_test - mean) / std, max(1, len(X_test) // 50)):
                found = model(tensor(part))
                means.append(found.mean[:, 0].numpy())
                deviations.append(found.variance[:, 0].clamp(min=0).sqrt().numpy())
        return y_mean + y_std * np.concatenate(means), y_std * np.concatenate(deviations)

    return predict


def _gekpls(d):
    """Extra points first, then components and the step to the extra points."""
    usual, most = min(3, d), min(5, d)
    shapes = [(usual, extra, 1e-4) for extra in (1, 3, 5) if extra <= d]
    shapes += [(2, most, 1e-4), (usual, most, 1e-2), *([(5, most, 1e-4)] if d >= 5 else [])]
    return [dict(zip(("n_comp", "extra_points", "delta_x"), one, strict=True)) for one in shapes]


def _jenn(d):
    """Units of both layers, regularisation, and the size of a step, of which JENN's own is 0.05."""
    shapes = [(units, lambd, 0.05) for units, lambd in product((12, 24), (0.0, 0.01, 0.1))]
    shapes += [(24, 1.0, 0.05), (24, 10.0, 0.05), (12, 1.0, 0.05), (48, 1.0, 0.05)]
    shapes += [(12, 0.1, 0.01), (24, 1.0, 0.01), (48, 1.0, 0.01)]
    return [{"hidden": [units, units], "lambd": lambd, "alpha": alpha} for units, lambd, alpha in shapes]


def _gpytorch(d):
    """Down to next to no noise, which takes more steps or larger ones, or to GPyTorch's own least variance of noise."""
    shapes = ((200, 0.1, 1e-8), (100, 0.1, 1e-4), (200, 0.3, 1e-8))
    return [{"steps": steps, "rate": rate, "least_noise": least} for steps, rate, least in shapes]


# name -> (fit, settings to choose from by dimension, whether in our own environment). Where nothing is said, the
# defaults of each library stand.
METHODS = {
    "ours": (ours, lambda d: [{}], True),
    "ours, values only": (ours_values, lambda d: [{}], True),
    "GEKPLS": (smt, lambda d: [{"surrogate": "GEKPLS", **one} for one in _gekpls(d)], False),
    "JENN": (jenn, _jenn, False),
    "GP, RBF": (scikit_learn, lambda d: [{"kernel": "RBF"}], True),
    "GP, Matern 5/2": (scikit_learn, lambda d: [{"kernel": "Matern 5/2"}], True),
    "KPLS": (smt, lambda d: [{"surrogate": "KPLS", "n_comp": c} for c in (1, 3) if c <= d], False),
    "KRG": (smt, lambda d: [{"surrogate": "KRG", "corr": corr} for corr in ("squar_exp", "matern52")], False),
    "GPyTorch": (gpytorch, _gpytorch, False),
}
WITH_GRADIENTS = {"ours", "GEKPLS", "JENN", "GPyTorch"}


class OverLimit(BaseException):
    """The limit of processor time is reached; no library catches it."""


def measured(fit, data, limit):
    """The record of one fit."""

    def stop(*_):
        raise OverLimit

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    start = time.process_time()
    try:
        predict = fit(*(data[name] for name in ("X", "y", "J", "limits")))
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        mean, std = predict(data["X_test"])
    except OverLimit:
        return {"ended": f"over {limit:g} s"}
    except ImportError as error:
        return {"ended": f"not installed ({error.name})"}
    except Exception as error:
        return {"ended": f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    y = data["y_test"]
    squares = (mean - y) ** 2
    coverage = None if std is None else float(np.mean(np.abs(mean - y) <= 1.96 * std))
    return {
        "error": float(np.sqrt(np.mean(squares)) / y.std()),
        "median": float(np.sqrt(np.median(squares)) / y.std()),
        "seconds": seconds,
        "coverage": coverage,
        "worst": float(squares.max() / squares.sum()),
        "misses": [float(f"{miss:.4g}") for miss in (mean - y) / y.std()],
    }


def main():
    for job in json.loads(Path(sys.argv[1]).read_text()):
        fit, settings, _ = METHODS[job["method"]]
        data = dict(np.load(job["data"]))
        setting = settings(data["X"].shape[1])[job["setting"]]
        record = measured(lambda *given, f=fit, s=setting: f(*given, **s), data, job["limit"])
        Path(job["output"]).write_text(json.dumps(record))
        if "ended" in record and "--go-on" not in sys.argv:
            break


if __name__ == "__main__":
    main()
