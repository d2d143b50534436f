"""Running error bounds: every exact result must lie in its ball, and the ball must not be needlessly wide."""

import numpy as np
import pytest

from jacntk_lib.spectrum import arb, balls
from jacntk_lib.spectrum.balls import Ball

pytest.importorskip("flint", reason="python-flint is the exact oracle of this file")


@pytest.fixture(autouse=True)
def high_precision():
    with arb.precision(200):
        yield


OPERATIONS = {
    "sum": lambda x, y, f: x + y,
    "difference": lambda x, y, f: x - y,
    "negative": lambda x, y, f: -x + 0.1,
    "number minus ball": lambda x, y, f: 0.3 - x,
    "product": lambda x, y, f: x * y,
    "product with a number": lambda x, y, f: 0.7 * x,
    "quotient": lambda x, y, f: x / y,
    "number over ball": lambda x, y, f: 0.1 / y,
    "square root": lambda x, y, f: f.sqrt(x),
    "angle": lambda x, y, f: f.atan2(x, -y),
    "exponential": lambda x, y, f: f.exp(x - y),
    "pi": lambda x, y, f: f.pi() * x,
    "chain": lambda x, y, f: f.atan2(f.sqrt(x * y + 1) / (x + y), y - x) * x / (1 + y * y) - 1 / x,
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("width", [0.0, 1e-12, 1e-5])
def test_exact_result_lies_in_the_ball(name, width):
    # operands are themselves balls: any number within them must lead into the result
    rng = np.random.default_rng(0)
    x, y = np.exp(rng.uniform(-3, 3, (2, 300)))
    x_inside, y_inside = x + width * x * rng.uniform(-1, 1, 300), y + width * y * rng.uniform(-1, 1, 300)
    operation = OPERATIONS[name]
    got = operation(Ball(x, width * x * (1 + 1e-9)), Ball(y, width * y * (1 + 1e-9)), balls)
    field = arb.field()
    for k in range(300):
        exact = operation(field.exact(x_inside[k]), field.exact(y_inside[k]), field)
        assert abs(exact - field.exact(got.mid[k])) <= field.exact(got.rad[k]), (name, x[k], y[k])
    assert (got.rad <= 40 * (width + 2e-16) * (np.abs(got.mid) + np.abs(x) + np.abs(y) + 1 / x + 1 / y)).all()


def test_operand_at_the_edge_of_its_ball():
    x = Ball([2.0], 0.5)
    for edge in (1.5, 2.5):
        assert abs(edge * edge - (x * x).mid) <= (x * x).rad
        assert abs(1 / edge - (1 / x).mid) <= (1 / x).rad
        assert abs(np.sqrt(edge) - balls.sqrt(x).mid) <= balls.sqrt(x).rad
        assert abs(np.exp(edge) - balls.exp(x).mid) <= balls.exp(x).rad


@pytest.mark.parametrize(
    "result",
    [
        lambda: 1 / Ball([0.1], 0.2),
        lambda: balls.sqrt(Ball([0.1], 0.2)),
        lambda: balls.atan2(Ball([0.1], 0.2), Ball([-1.0], 0.1)),
        lambda: balls.atan2(Ball([0.1], 0.2), Ball([0.1], 0.2)),
    ],
    ids=["divisor may vanish", "root of a negative number", "cut of the angle", "angle of the origin"],
)
def test_no_bound_where_there_is_none(result):
    assert np.isinf(result().rad).all()


def test_underflow_is_covered():
    tiny = Ball([1e-200])
    product = tiny * tiny
    assert product.mid == 0
    assert 0 < product.rad < 1e-300
    exact = arb.field().exact
    assert exact(1e-200) * exact(1e-200) <= exact(float(product.rad[0]))


def test_array_on_the_left_makes_a_ball():
    assert isinstance(np.ones(3) * Ball(np.ones(3)), Ball)
    assert isinstance(np.float64(2.0) - Ball(np.ones(3)), Ball)
