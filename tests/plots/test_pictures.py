"""Figures of machines of images: what is drawn, file by file."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted


@pytest.fixture(scope="module", params=[(8, 8), None], ids=["images", "not images"])
def run(request):
    data = pmr.datasets.digits()[:200] if request.param else pmr.datasets.digits()[:200, 10:43]
    with pm.Model(coords={"pixel": data.pixel.values, "unit": range(5)}) as model:
        W = pm.Normal("W", dims=("pixel", "unit"))
        pmr.RBM("v", W, pm.Flat("b", dims="pixel"), pm.Flat("c", dims="unit"), observed=data)
        learned = pmr.fit(3, method="pcd", random_seed=1, progressbar=False)
    with pmr.generative(model, learned):
        draws = pm.sample(60, tune=0, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
    return learned, draws, data


def test_figures(run, tmp_path):
    learned, draws, data = run
    machine = pmr.restricted(*(learned["parameters"][x].values for x in "Wbc"))
    plots = [
        pmr.plot_filters(learned),
        pmr.plot_fantasies(draws, data),
        pmr.plot_fantasies(draws, rows=3, columns=4),
        pmr.plot_mixing(draws),
        pmr.plot_mixing(learned, group="particles"),
        pmr.plot_learning(learned),
        pmr.plot_projections(draws, machine, data=data.values),
    ]
    for i, plot in enumerate(plots):
        plot.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 2000
    with pytest.raises(ValueError, match="Pass name=, the variable of states"):
        pmr.plot_fantasies(xr.DataTree.from_dict({"posterior": xr.Dataset({"x": ("chain", [0.5])})}))


def draws_of(states):
    return xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "unit"), states)})})


def tiles(plot, panel, side):
    """The pictures of a panel, one a row."""
    [image] = plot.viz["plot"].sel(panel=panel).item().images
    image = np.ma.filled(image.get_array(), np.nan)
    rows, columns = ((n + 1) // (side + 1) for n in image.shape)
    whole = np.pad(image, ((0, 1), (0, 1)), constant_values=np.nan)
    cut = whole.reshape(rows, side + 1, columns, side + 1).transpose(0, 2, 1, 3)[..., :side, :side]
    return cut.reshape(rows * columns, side**2)


def test_every_chain_is_shown():
    states = np.stack([np.full((50, 4), k % 2, "int8") for k in range(4)])
    states[..., 0] = [[0], [0], [1], [1]]
    for rows in (4, 6, 8):
        shown = tiles(pmr.plot_fantasies(draws_of(states), rows=rows, columns=5), "draws", 2)
        assert len({tuple(x[:2]) for x in shown}) == 4


def test_a_picture_is_the_state_that_it_shows():
    states = (np.random.default_rng(1).random((2, 30, 9)) < 0.5).astype("int8")
    data = (np.random.default_rng(2).random((40, 9)) < 0.5).astype(int)
    plot = pmr.plot_fantasies(draws_of(states), data, rows=4, columns=5)
    spread = np.linspace(0, 29, 10).astype(int)
    np.testing.assert_array_equal(tiles(plot, "draws", 3), states[:, spread].reshape(-1, 9))
    np.testing.assert_array_equal(tiles(plot, "data", 3), data[np.linspace(0, 39, 20).astype(int)])


def test_filters_are_columns_of_the_weights():
    W = np.random.default_rng(1).normal(size=(16, 4)) * [1, 3, 2, 4]
    plot = pmr.plot_filters({"W": W})
    np.testing.assert_allclose(tiles(plot, "weights", 4), W[:, [3, 1, 2, 0]].T)
    with pytest.raises(ValueError, match=r"shape \(3, 3\) does not fit 16"):
        pmr.plot_filters({"W": W}, shape=(3, 3))


@pytest.mark.slow
def test_a_plot_appears_once_in_a_cell(tmp_path):
    """As the value of a cell's last line, and with a name; a figure that is returned would appear twice."""
    import nbformat
    from nbclient import NotebookClient

    cells = [
        "import numpy as np, pymc_rbm as pmr, matplotlib.pyplot as plt\n%matplotlib inline\nW = np.eye(9)[:, :4]",
        "pmr.plot_filters({'W': W})",
        "plot = pmr.plot_filters({'W': W})",
        "f, ax = plt.subplots(); ax.plot([1, 2]); f",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(x) for x in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    pictures = [sum("image/png" in o.get("data", {}) for o in cell["outputs"]) for cell in notebook.cells]
    assert pictures == [0, 1, 1, 2]


def test_free_energies_that_are_drawn_are_those_of_the_chains():
    values = np.random.default_rng(1).normal(size=(3, 40, 2))
    posterior = xr.Dataset({"v_free_energy": (("chain", "draw", "row"), values)}, coords={"row": ["a", "b"]})
    plot = pmr.plot_mixing(xr.DataTree.from_dict({"posterior": posterior}))
    assert plot.viz["panel"].values.tolist() == [
        "v_free_energy[a]: trace", "v_free_energy[a]: autocorrelation",
        "v_free_energy[b]: trace", "v_free_energy[b]: autocorrelation",
    ]  # fmt: skip
    for at, panel in enumerate(plot.viz["plot"].values[::2]):
        np.testing.assert_allclose([line.get_ydata() for line in panel.lines], values[..., at])


def test_learning_shows_the_exact_likelihood_where_it_is_climbed():
    rows = np.tile(pmr.datasets.bars_and_stripes(2).values, (5, 1))
    with pm.Model() as model:
        W = pm.Normal("W", 0, 2, shape=(4, 2))
        pmr.RBM("v", W, pm.Normal("b", 0, 3, shape=4), pm.Normal("c", 0, 3, shape=2), observed=rows)
        exact = pmr.fit(**QUIET)
        sampled = pmr.fit(3, method="pcd", **QUIET)
    told = exact["learning"]["v_log_likelihood"].values
    assert told.shape == exact["learning"]["epoch"].shape
    at_the_end = float(pmr.log_likelihood(rows, model, exact, progressbar=False)["mean_log_likelihood"]["mean"])
    assert told[-1] == pytest.approx(at_the_end, abs=1e-9)
    assert abs(told[0] - at_the_end) > 1e-3  # and not the same number all along
    grown = exact.attrs["growing_iterations"]
    assert (np.diff(exact["learning"]["objective"].values[grown:]) > -1e-9).all()
    plot = pmr.plot_learning(exact)
    assert plot.viz["panel"].values.tolist() == ["log-likelihood", "below"]
    line = plot.viz["plot"].sel(panel="log-likelihood").item().lines[0]
    np.testing.assert_array_equal(line.get_ydata(), told[grown:])
    assert "v_log_likelihood" not in sampled["learning"]
    assert pmr.plot_learning(sampled).viz["panel"].values.tolist() == [
        "pseudo log-likelihood",
        "free energies",
        "sweeps",
    ]
