"""bootstrap and plotting: slopes with intervals, plots that draw what they get, colours that keep apart."""

import base64

import matplotlib as mpl
import matplotlib.colors
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from jacntk_book import bootstrap, plotting

WIDTHS = 2.0 ** np.arange(6, 12)


@pytest.fixture
def ax():
    with mpl.rc_context():
        plotting.use_house_style()
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def test_slope_is_the_least_squares_slope():
    errors = np.random.default_rng(0).lognormal(size=(6, 5))
    slope, low, high = bootstrap.fitted_slope(WIDTHS, errors)
    oracle = np.polyfit(np.repeat(np.log(WIDTHS), 5), np.log(errors).ravel(), 1)[0]
    assert slope == pytest.approx(oracle, abs=1e-12)
    assert low < slope < high


def test_seeds_that_share_noise_across_widths_give_a_narrow_interval():
    shared = np.random.default_rng(2).lognormal(size=(1, 10))
    slope, low, high = bootstrap.fitted_slope(WIDTHS, WIDTHS[:, None] ** -0.5 * shared)
    assert (slope, low, high) == pytest.approx((-0.5, -0.5, -0.5), abs=1e-12)


def test_resampling_is_reproducible_and_follows_the_seed():
    errors = np.random.default_rng(3).lognormal(size=(6, 8))
    assert bootstrap.fitted_slope(WIDTHS, errors, seed=5) == bootstrap.fitted_slope(WIDTHS, errors, seed=5)
    assert bootstrap.fitted_slope(WIDTHS, errors, seed=5) != bootstrap.fitted_slope(WIDTHS, errors, seed=6)


def test_median_interval_works_along_the_last_axis():
    samples = np.random.default_rng(4).normal(size=(3, 4, 50))
    median, low, high = bootstrap.median_interval(samples)
    assert median.shape == low.shape == high.shape == (3, 4)
    np.testing.assert_array_equal(median, np.median(samples, axis=-1))
    assert (low <= median).all()
    assert (median <= high).all()


def test_error_by_width_draws_the_median_a_band_and_one_reference(ax):
    errors = np.random.default_rng(5).lognormal(size=(6, 9))
    line = plotting.error_by_width(ax, WIDTHS, errors, label="depth 1", colour="depth 1")
    plotting.error_by_width(ax, WIDTHS, 2 * errors, label="depth 2", colour="#ff0000")
    np.testing.assert_array_equal(line.get_ydata(), np.median(errors, axis=1))
    assert line.get_color() == plotting.COLOURS["depth 1"]
    assert ax.get_legend_handles_labels()[1] == ["depth 1", "depth 2", "slope $-1/2$"]
    references = [one for one in ax.lines if one.get_gid() == "half-slope"]
    assert len(references) == 1
    np.testing.assert_allclose(np.diff(np.log(references[0].get_ydata())), -0.5 * np.log(2))
    assert len(ax.collections) == 2
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_gram_picture_is_symmetric_about_zero_and_parts_the_blocks(ax):
    matrix = np.array([[1.0, -3.0, 0.0, 0.5], [0.0, 1.0, 2.0, 0.1]])
    image = plotting.gram_picture(ax, matrix, block=2)
    np.testing.assert_array_equal(image.get_array(), matrix)
    assert image.get_clim() == (-3.0, 3.0)
    assert len(ax.lines) == 1
    assert plotting.gram_picture(ax, np.zeros((2, 2))).get_clim() == (-1.0, 1.0)


def test_house_style_has_a_white_canvas_of_the_text_width(ax):
    assert mpl.colors.to_hex(ax.figure.get_facecolor()) == "#ffffff"
    assert mpl.rcParams["savefig.facecolor"] == "white"
    assert ax.figure.get_size_inches()[0] == plotting.TEXT_WIDTH


def test_in_a_notebook_figures_are_sharp_on_fine_screens():
    """A PNG has twice the pixels of the width that it is shown at: 100 dots per inch."""
    code = """
from jacntk_book import plotting
import matplotlib.pyplot as plt
plotting.use_house_style()
figure, ax = plt.subplots(figsize=(7, 3))
plt.show()"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    (output,) = (one for one in notebook.cells[0].outputs if "image/png" in one.get("data", {}))
    pixels = int.from_bytes(base64.b64decode(output.data["image/png"])[16:20], "big")  # the width in IHDR
    shown = output.metadata["image/png"]["width"]
    assert pixels == pytest.approx(2 * shown, abs=1)
    assert shown == pytest.approx(700, rel=0.03)  # the margins are cut off


# What readers with colour blindness see: Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TOGETHER = [
    ("limit", "network"),
    ("limit", "reference"),
    ("value", "jacobian"),
    ("erf", "gelu"),
    ("penalised", "plain"),
    ("train", "test"),
    ("depth 1", "depth 2", "depth 3"),
]


def lightness(colour, sight):
    """CIE L* (0 black, 100 white) of a colour as seen with ``sight``."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = np.clip(sight @ linear, 0, 1) @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("names", TOGETHER, ids="-".join)
def test_colours_that_meet_differ_in_lightness(names, sight):
    seen = sorted(lightness(plotting.COLOURS[name], SIGHT[sight]) for name in names)
    assert min(np.diff(seen)) > 15
    assert seen[-1] < 75  # stands out from white


@pytest.mark.parametrize("sight", SIGHT)
def test_the_first_three_lines_without_a_name_differ_in_lightness(ax, sight):
    drawn = [ax.plot([0, 1])[0].get_color() for _ in range(3)]
    seen = sorted(lightness(colour, SIGHT[sight]) for colour in drawn)
    assert min(np.diff(seen)) > 15
    assert seen[-1] < 75


def test_every_colour_is_in_a_tested_group():
    assert {name for group in TOGETHER for name in group} == set(plotting.COLOURS)
