"""What a long solve says of itself: how far it is, that it will not arrive, and that it can be interrupted."""

import math

import numpy as np
import pytest
from helpers import unit_points as points
from numpy.testing import assert_allclose

from jacntk_lib import MLP, jacobian_ntk
from jacntk_lib.dynamics import RobustFlow
from jacntk_lib.errors import ConvergenceError
from jacntk_lib.kernels import JacobianGram
from jacntk_lib.solve import Iterative, preconditioner, progress


def system(ridge=1e-3, N=20, d=4):
    gram = jacobian_ntk(MLP(3), points(N, d))
    return {"gram": gram, "b": np.random.default_rng(0).standard_normal(gram.shape[0]), "ridge": ridge}


def test_the_rate_of_a_geometric_history_tells_when_it_ends():
    history = 0.9 ** np.arange(1, 61)
    expected = math.log(1e-6) / math.log(0.9) - 60
    assert_allclose(progress.products_to_come(history, 1e-6), expected)
    jagged = history * np.tile([1.0, 30.0], 30)  # conjugate gradients lower another norm than that of the residual
    assert_allclose(progress.products_to_come(jagged, 1e-6), expected, rtol=0.1)
    assert progress.products_to_come(history, 1e-2) == 0
    assert progress.products_to_come(np.full(60, 0.5), 1e-6) == math.inf
    assert progress.products_to_come([0.5], 1e-6) == math.inf


def test_hopeless_is_a_rate_that_needs_twice_the_products_allowed_after_a_quarter_of_them():
    def ends(factor, limit=1000):
        hopeless = progress.Progress(1e-6, limit, False).hopeless
        return next((k for k in range(1, limit) if hopeless(factor ** np.arange(1, k + 1))), None)

    just, too_slow = (10 ** (-6 / products) for products in (1990, 2010))
    assert ends(just) is None
    assert ends(too_slow) == 250


@pytest.mark.parametrize("preconditioned", [True, False])
def test_a_solve_that_will_not_arrive_ends_early_with_the_numbers(preconditioned):
    options = Iterative(1e-9, max_iterations=200, preconditioned=preconditioned, exact_rows=20)
    with pytest.raises(ConvergenceError) as caught:
        options.solve(**system(ridge=1e-10))
    said = str(caught.value)
    assert "ridge of 1.0e-10" in said
    assert "a larger ridge or tolerance" in said
    assert "positive ridge" not in said
    assert ("exact_rows" in said) == preconditioned
    products, needed = (int(word.split(" products")[0].split()[-1]) for word in (said, said.split("would take")[1]))
    assert 50 <= products < 150
    assert needed > 2 * 200


def test_without_ridge_the_advice_is_to_take_one():
    N = 12
    near = np.concatenate([points(N, 3), points(N, 3)[:1] + 1e-9])
    with pytest.raises(ConvergenceError, match="take a positive ridge"):
        RobustFlow(MLP(1), near, np.append(np.ones(N), -1.0), solver="iterative").at(math.inf)


def test_progress_is_told_on_stderr_where_it_is_asked_for(monkeypatch, capsys):
    def told(verbose):
        Iterative(1e-8, exact_rows=20, verbose=verbose).solve(**system())
        return capsys.readouterr().err.splitlines()

    monkeypatch.setattr(progress, "EVERY", math.inf)
    assert told(True) == []  # nothing of a solve that is over before its first line is due
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(preconditioner, "_LONG", 0.0)
    assert told(None) == told(False) == []  # no terminal here
    first, *lines = told(True)
    assert first == "jacntk: a preconditioner for 100 unknowns, exact on up to 20 of them"
    assert all("relative residual" in line and "on the way to 1e-08; at this rate" in line for line in lines)
    assert lines[0].endswith("too little is gained to tell when it ends")
    to_come = [int(line.split("rate ")[1].split(" more")[0]) for line in lines[-5:]]
    assert to_come == sorted(to_come, reverse=True)
    assert to_come[-1] < 0.2 * len(lines)


@pytest.mark.parametrize("time", [1e5, math.inf])
@pytest.mark.parametrize("product", [2, 9])
def test_after_an_interrupt_the_answer_is_the_same(monkeypatch, time, product):
    def flow():
        return RobustFlow(MLP(3), points(20, 4), np.ones(20), 0.1, ridge=1e-3, solver=Iterative(exact_rows=24))

    expected, interrupted, calls, original = flow().at(time), flow(), [], JacobianGram.__matmul__

    def multiply(gram, v):
        calls.append(1)
        if len(calls) == product:
            raise KeyboardInterrupt
        return original(gram, v)

    interrupted.at(1e3)  # whose preconditioner that of the next time replaces
    monkeypatch.setattr(JacobianGram, "__matmul__", multiply)
    with pytest.raises(KeyboardInterrupt):
        interrupted.at(time)
    assert_allclose(interrupted.at(time).value, expected.value, rtol=0, atol=1e-12)
