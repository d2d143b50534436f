"""Figures for telephones: one panel below the other, type of the same size, nothing wider than the page."""

import base64

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from jacntk_book import narrow, plotting


@pytest.fixture(autouse=True)
def house_style():
    with mpl.rc_context():
        plotting.use_house_style()
        yield
        plt.close("all")


def boxes(figure):
    """Where the panels are drawn, as shares of the figure."""
    narrow.restack(figure)
    figure.draw_without_rendering()
    return np.array([ax.get_position().extents for ax in figure.axes])


def test_panels_of_a_grid_stand_below_each_other_column_by_column():
    figure, axes = plt.subplots(2, 2, sharex=True, sharey="row", figsize=(7, 4.6))
    found = boxes(figure).reshape(2, 2, 4)
    in_order = found.transpose(1, 0, 2).reshape(4, 4)  # first column, then second
    assert (in_order[1:, 3] < in_order[:-1, 1]).all()  # top of the next below bottom of the last
    np.testing.assert_allclose(in_order[:, 0], in_order[0, 0], atol=0.02)
    assert figure.get_size_inches()[0] == narrow.WIDTH
    assert axes[0, 0].yaxis.label.get_size() == mpl.rcParams["axes.labelsize"]  # type is not shrunk


def test_panels_with_a_title_each_stand_in_the_order_of_reading():
    figure, axes = plt.subplots(2, 2, height_ratios=(1, 2), layout="none")
    for step, ax in enumerate(axes.flat):
        ax.set_title(f"step {step}")
    found = boxes(figure)
    assert (found[1:, 3] < found[:-1, 1]).all()
    heights = found[:, 3] - found[:, 1]
    assert heights / heights[0] == pytest.approx([1, 1, 2, 2])


def test_a_panel_that_shared_the_scale_at_its_left_gets_it_itself():
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    left.set_ylabel("value")
    assert not any(label.get_visible() for label in right.get_yticklabels())
    boxes(figure)
    assert right.get_ylabel() == "value"
    assert any(label.get_visible() for label in right.get_yticklabels())


def test_pictures_of_matrices_stay_side_by_side():
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.5))
    for ax in axes:
        plotting.gram_picture(ax, np.eye(4))
    left, right = boxes(figure)
    assert left[2] < right[0]
    assert figure.get_size_inches() == pytest.approx([narrow.WIDTH, narrow.WIDTH / 2])


def test_depths_stay_whole_numbers():
    figure, (left, right) = plt.subplots(1, 2)
    left.plot(range(1, 15), range(14))
    right.plot([0.0, 0.9], [0.0, 0.9])
    boxes(figure)
    assert (left.get_xticks() % 1 == 0).all()
    assert not (right.get_xticks() % 1 == 0).all()


@pytest.mark.parametrize("count", [3, 5])
def test_a_legend_takes_as_many_lines_as_it_needs(count):
    figure, axes = plt.subplots(1, 2)
    for k in range(count):
        axes[0].plot([0, k], label=f"networks of layer {k}")
    figure.legend(loc="outside right center", ncols=count, title="which")
    bottom = boxes(figure)[:, 1].min() * figure.bbox.height
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert (extent.x0 >= 0, extent.x1 <= figure.bbox.width, extent.y1 <= bottom) == (True, True, True)
    assert [text.get_text() for text in legend.get_texts()] == [f"networks of layer {k}" for k in range(count)]
    assert legend.get_title().get_text() == "which"


@pytest.mark.parametrize(("label", "below"), [("a", 0), ("the largest entry of the error", 1)])
def test_a_large_legend_leaves_its_panel(label, below):
    figure, ax = plt.subplots()
    for k in range(4):
        ax.plot([0, k], label=f"{label} {k}")
    ax.legend()
    boxes(figure)
    assert (len(figure.legends), ax.get_legend() is None) == (below, bool(below))


def test_a_legend_below_its_panel_gets_room_of_its_own():
    heights = []
    for hanging in (False, True):
        figure, axes = plt.subplots(1, 2, figsize=(7, 3))
        for ax in axes:
            ax.plot([0, 1], label="a line")
            if hanging:
                ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), title="with a title")
        boxes(figure)
        heights.append(figure.get_size_inches()[1])
    assert heights[1] - heights[0] == pytest.approx(2 * 0.5, rel=0.3)  # two legends of two lines


def test_panels_of_unequal_height_keep_their_proportion():
    figure, _ = plt.subplots(2, 1, figsize=(5.6, 5), height_ratios=(1, 2), layout="none")
    upper, lower = boxes(figure)
    assert (lower[3] - lower[1]) / (upper[3] - upper[1]) == pytest.approx(2)


def test_a_notebook_stores_both_pictures_of_a_figure():
    code = """
from jacntk_book import plotting
import matplotlib.pyplot as plt
plotting.use_house_style()
figure, axes = plt.subplots(1, 2, figsize=(7, 3))
plt.show()"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    (output,) = (one for one in notebook.cells[0].outputs if "image/png" in one.get("data", {}))
    stored = output.metadata["image/png"]
    wide, narrow_one = (base64.b64decode(png)[16:24] for png in (output.data["image/png"], stored["narrow"]["png"]))
    (w, h), (v, g) = (tuple(int.from_bytes(part) for part in (size[:4], size[4:])) for size in (wide, narrow_one))
    assert w > h  # side by side
    assert g > v  # one below the other
    assert v == pytest.approx(2 * stored["narrow"]["width"], abs=1)
    assert v == pytest.approx(200 * narrow.WIDTH, rel=0.05)
