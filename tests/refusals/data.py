"""Refusals of data sets, of results and experiments, and of what draws and checks them."""

import math

import numpy as np

from jacntk_book import bootstrap, checks, datasets, experiments, plotting, results, tables
from jacntk_book.experiments import figure1, figure2, figure3, figure6

from .common import INF, NAN, R, T, V, X


def result(**changes):
    given = {"config": {"widths": [64]}, "command": "jacntk toy", "seeds": [0], "wall_time": 1.0}
    return results.make(**{"name": "toy", "arrays": {"a": np.arange(3)}} | given | changes)


def raw():
    return datasets.load("wine", scale=None, unit_length=False)


def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


LIST = {
    "datasets": [
        (lambda: datasets.load("mnist"), V, "unknown data set 'mnist'; known are algerian_forest_fires, .*, wine"),
        (lambda: datasets.load("wine", scale="no"), V, "scale must be 'standard', 'minmax' or None, got 'no'"),
        (lambda: datasets.load("wine", unit_length=1), T, "unit_length must be True or False, got 1"),
        (lambda: datasets.load("wine", drop_parallel=1), V, r"drop_parallel must be a cosine in \(0, 1\), got 1"),
        (lambda: datasets.load("sonar"), OSError, r"sonar.raw.csv is not UCI's file: .*restore it with `git checkout`"),
        (lambda: datasets.note("x"), V, "unknown data set 'x'; known are algerian_forest_fires, .*, wine"),
        (lambda: datasets.split(None), T, r"data must be a Dataset, .* gives, got None"),
        (lambda: datasets.split(datasets.load("wine")), V, "already .* by statistics of all rows"),
        (lambda: datasets.split(raw(), test=0), V, r"test must be a share in \(0, 1\) or a number .* got 0"),
        (lambda: datasets.split(raw(), test=178), V, "number of rows below 178, got 178"),
        (lambda: datasets.split(raw(), test=1e-4), V, "test=0.0001 leaves one part of the 178 rows empty; choose"),
        (lambda: datasets.sphere_net(0, 3), V, "n must be at least 1, got 0"),
        (lambda: datasets.sphere_net(3, 0), V, "d must be at least 1, got 0"),
        (lambda: datasets.sphere_net(2.5, 3), T, "n must be an integer, got 2.5"),
        (lambda: datasets.sphere_net(3, 3, -1), V, "seed must be at least 0, got -1"),
        (lambda: datasets.sphere_net(2, 1), V, "an antipodal pair: n must be 1, got 2"),
        (lambda: datasets.sphere_net(3, 3, antipodal_range=-0.5), V, "antipodal_range must not be negative, got -0.5"),
        (lambda: datasets.sphere_net(3, 3, antipodal_range=1.5), V, r"antipodal_range must be in \[0, 1\], got 1.5"),
        (lambda: datasets.separation(X[0]), V, r"X has shape \(3,\)"),
        (lambda: datasets.fibonacci_sphere(0, 3), V, "n must be at least 1, got 0"),
        (lambda: datasets.fibonacci_sphere(3, 1), V, "d must be at least 2, got 1"),
        (lambda: datasets.fibonacci_sphere(3, 4.0), T, "d must be an integer, got 4.0"),
        (lambda: datasets.covering_radius(2 * X), V, "rows of unit length .* are needed; divide each by its length"),
        (lambda: datasets.covering_radius(X), V, "must surround the origin; take more points"),
        (lambda: datasets.covering_radius([[1.0, 0], [0, 1], [0.6, 0.8]]), V, "must surround the origin"),
        (lambda: datasets.covering_radius(np.tile(X[:1], (9, 1))), V, "must surround the origin; take more"),
    ],
    "results": [
        (lambda: results.load("other"), FileNotFoundError, "no result 'other' in .*there: .*whole.*JACNTK_RESULTS_DIR"),
        (lambda: results.load("../whole"), V, "needs letters, digits, .* got '../whole'"),
        (lambda: results.load("half"), R, "half.json is missing though half.npz is there; restore both"),
        (lambda: results.load("cut"), R, "cut.npz is truncated or damaged .* restore both files"),
        (lambda: results.load("edited"), R, "edited.json is malformed: 'source' .* has no 'commit'; restore both"),
        (
            lambda: results.load("mixed"),
            R,
            "arrays in .*mixed.npz are not those that mixed.json lists: .* restore both",
        ),
        (lambda: results.load("foreign"), R, "foreign.json was not written by jacntk"),
        (lambda: results.load("newer"), R, "newer.json has schema 99, .* install the jacntk that wrote it"),
        (lambda: results.load("renamed"), R, "is the record of 'whole': the file was renamed"),
        (lambda: results.load("whole")["b"], KeyError, "result 'whole' has no array 'b'; it has a"),
        (lambda: result(name=".toy"), V, "needs letters, digits, .* got '.toy'"),
        (lambda: result(arrays={"a": np.array([object()])}), T, "array 'a' has dtype object: only numbers"),
        (lambda: result(arrays=None), T, "arrays must be a mapping of names to arrays, got None"),
        (lambda: result(config={"a": math.nan}), T, "something that JSON cannot .*; use plain finite values"),
        (lambda: result(config={"a": np.zeros(2)}), T, "something that JSON cannot .*; use plain"),
        (lambda: results.Cells("here", "toy", {}).store("a/b", {}, 0.0), V, "needs letters, digits, .* got 'a/b'"),
    ],
    "experiments": [
        (lambda: experiments.figure(7), V, "no figure 7; known are 1, 2, .*, 6, B7, .*, B13"),
        (lambda: experiments.figure("B6"), V, "no figure 'B6'; known are 1, 2, 3"),
        (lambda: figure1.Config(depths=()), V, r"depths must be one or more different values, got \(\)"),
        (lambda: figure2.Config(widths=(8, 8)), V, r"widths must be one or more different values, got \(8, 8\)"),
        (lambda: figure2.Config(widths=(0,)), V, "each of widths must be at least 1, got 0"),
        (lambda: figure2.Config(activations=("relu",)), V, "activation 'relu' is not smooth"),
        (lambda: figure2.Config(seeds=0), V, "seeds must be at least 1, got 0"),
        (lambda: figure3.Config(seeds=(1, 2)), V, "must give a number for each of the 8 widths"),
        (lambda: figure3.Config(steps=(1, 2)), V, "steps must rise from 0"),
        (lambda: figure3.Config(data="iris"), V, "unknown data set 'iris'; known are"),
        (lambda: figure3.Config(lam=-1.0), V, "lam must not be negative, got -1"),
        (lambda: figure3.run(figure3.Config(data="wine")), V, "several classes"),
        (lambda: figure6.Config(data=("iris",)), V, "unknown data 'iris'; known are algerian_forest_fires"),
        (lambda: figure6.Config(depths=()), V, "depths must be one or more"),
    ],
    "bootstrap": [
        (lambda: bootstrap.fitted_slope([64, 128], [0.1, 0.2]), V, r"errors \(2,\): \(W,\) and \(W, S\) are needed"),
        (lambda: bootstrap.fitted_slope([64, 128], np.ones((3, 4))), V, r"errors \(3, 4\)"),
        (lambda: bootstrap.fitted_slope([64, 128], np.ones((2, 1))), V, "at least two widths and two seeds are needed"),
        (lambda: bootstrap.fitted_slope([64], np.ones((1, 3))), V, "at least two widths and two seeds are needed"),
        (lambda: bootstrap.fitted_slope([64, 64], np.ones((2, 3))), V, "widths are all equal: a slope needs"),
        (lambda: bootstrap.fitted_slope([64, -1], np.ones((2, 3))), V, "widths must be positive .* got -1"),
        (lambda: bootstrap.fitted_slope([64, 128], np.zeros((2, 3))), V, "errors must be positive .* got 0"),
        (lambda: bootstrap.fitted_slope([64, 128], NAN[:2]), V, "errors contains 6 non-finite"),
        (lambda: bootstrap.median_interval(3.0), V, r"samples has shape \(\): .* at least two repetitions"),
        (lambda: bootstrap.median_interval([1.0]), V, r"samples has shape \(1,\): .* at least two repetitions"),
        (lambda: bootstrap.mean_interval(np.empty((0, 4))), V, r"samples has shape \(0, 4\)"),
        (lambda: bootstrap.t_interval([1.0]), V, r"samples has shape \(1,\): .* at least two repetitions"),
        (lambda: bootstrap.mean_interval([1.0, 2.0], n_boot=0), V, "n_boot must be at least 1, got 0"),
    ],
    "plotting, tables and checks": [
        (lambda: plotting.gram_picture(None, np.ones(3)), V, r"matrix has shape \(3,\): a matrix .* is needed"),
        (lambda: plotting.gram_picture(axes(), np.ones((4, 4)), 3), V, "does not divide into blocks of 3"),
        (lambda: plotting.gram_picture(None, INF), V, "matrix contains 9 non-finite"),
        (lambda: plotting.error_by_width(None, [64, -1], np.ones((2, 3))), V, "widths must be positive"),
        (lambda: tables.table("", ["a", "b"], [["x"]]), V, r"row \['x'\] has 1 cells, and the table 2 columns"),
        (lambda: checks.check("slope", -0.2, -0.4), checks.CheckFailed, "slope: -0.2 misses the bound <= -0.4"),
        (lambda: checks.check("slope", math.nan, 1.0), checks.CheckFailed, "slope: nan misses the bound <= 1"),
    ],
}
