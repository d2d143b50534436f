"""Never silently wrong: what comes back is right to rounding, or an error says why not."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from jacntk_lib import MLP, JacobianKernelRegressor, RobustFlow, jacobian_ntk

X, Y = np.eye(3), np.array([1.0, -1.0, 0.5])


# -------------------------------------------------------------------- what goes in


def test_real_numbers_as_python_objects_are_the_numbers_everywhere():
    objects = X.astype(object)
    objects[0, 0] = np.float32(1.0)
    assert_array_equal(jacobian_ntk(MLP(2), objects).dense(), jacobian_ntk(MLP(2), X).dense())
    flow, same = (RobustFlow(MLP(2), points, labels) for points, labels in ((objects, Y.astype(object)), (X, Y)))
    assert_array_equal(flow.at(9.0, objects).value, same.at(9.0, X).value)
    reg, same = (JacobianKernelRegressor().fit(*data) for data in ((objects, Y.astype(object)), (X, Y)))
    assert_array_equal(reg.predict(objects), same.predict(X))


def test_an_unmasked_array_is_an_array():
    masked = np.ma.array(X, mask=False)
    assert_array_equal(jacobian_ntk(MLP(2), masked).dense(), jacobian_ntk(MLP(2), X).dense())


def test_columns_are_compared_where_both_have_names():
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    expected = RobustFlow(MLP(2), X, Y).at(9.0, X[:2]).value
    for points in (table[:2], X[:2], pd.DataFrame(X[:2])):
        assert_array_equal(RobustFlow(MLP(2), table, Y).at(9.0, points).value, expected)
    assert_array_equal(RobustFlow(MLP(2), X, Y).at(9.0, table[:2]).value, expected)


def test_targets_without_weight_are_ignored_with_a_word():
    with pytest.warns(UserWarning, match="jacobian_targets have no weight, because lam is 0: they are ignored"):
        flow = RobustFlow(MLP(2), X, Y, 0.0, jacobian_targets=np.ones((3, 3)))
    assert_array_equal(flow.at(9.0).value, RobustFlow(MLP(2), X, Y, 0.0).at(9.0).value)


FORK = """
    import os, sys, warnings
    import numpy as np
    from jacntk_lib import MLP, jacobian_ntk
    warnings.simplefilter("ignore")  # of jax and Python about forks
    {before}
    child = os.fork()
    if child == 0:
        try:
            print(jacobian_ntk(MLP(2), np.eye(2)).shape, flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.parametrize(
    ("before", "said"), [("", "(6, 6)"), ("jacobian_ntk(MLP(2), np.eye(2))", "jax's threads do not survive os.fork()")]
)
def test_a_forked_process_computes_or_says_why_not(before, said):
    script = textwrap.dedent(FORK).replace("{before}", before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert said in done.stdout
