"""Posterior predictive checks: groups that ArviZ takes, statistics, and checks that fail where they should."""

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

ITEMS = ["a", "b", "c", "d", "e"]
W, B, C = ref.machine(5, 2, seed=3)
MACHINE = pmr.restricted(xr.DataArray(W * 2, dims=("item", "unit"), coords={"item": ITEMS}), B, C)


@pytest.fixture(scope="module")
def draws():
    return pmr.sample_gibbs(MACHINE, draws=500, chains=8, sweeps=5, **QUIET)


@pytest.fixture(scope="module")
def data():
    found = pmr.sample_gibbs(MACHINE, draws=1, tune=50, chains=100, random_seed=7, progressbar=False)
    return pd.DataFrame(found["posterior"]["v"].values[:, 0], columns=ITEMS)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_statistics_are_those_of_the_rows(draws, data):
    tree = pmr.predictive(draws, data)
    found, seen = tree["posterior_predictive"], tree["observed_data"]
    assert dict(found["v"].sizes) == {"chain": 1, "draw": 40, "v_row": 100, "item": 5}
    np.testing.assert_array_equal(seen["v"], data)
    np.testing.assert_array_equal(seen["v_sum"], data.sum(axis=1))
    np.testing.assert_allclose(seen["v_mean"], data.mean())
    pairs = [f"{x} - {y}" for i, x in enumerate(ITEMS) for y in ITEMS[i + 1 :]]
    assert seen["v_pair"].values.tolist() == pairs
    table = data.corr()
    np.testing.assert_allclose(seen["v_correlation"], [table[x][y] for x, y in (p.split(" - ") for p in pairs)])
    one = pd.DataFrame(found["v"].values[0, 3], columns=ITEMS)
    np.testing.assert_array_equal(found["v_sum"][0, 3], one.sum(axis=1))
    np.testing.assert_allclose(found["v_mean"][0, 3], one.mean())


def test_draws_are_dealt_so_that_neighbours_are_apart(draws):
    """Each data set has draws of all chains and of all times, and each draw is in one of them."""
    numbered = np.arange(8 * 500).reshape(8, 500)
    states = np.repeat(numbered[..., None], 5, axis=2)
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "unit"), states)})})
    sets = pmr.predictive(tree, np.zeros((100, 5)))["posterior_predictive"]["v"].values[0, ..., 0]
    assert sorted(sets.ravel()) == list(range(4000))
    chain, time = np.divmod(sets, 500)
    for x, when in zip(chain, time, strict=True):
        assert len(set(x)) >= 1
        assert np.bincount(when // 50, minlength=10).tolist() == [10] * 10
    for x in range(8):
        at = {(i, t) for i, own in enumerate(sets) for n in own for c, t in [divmod(n, 500)] if c == x}
        assert not [1 for i, t in at if (i, t + 1) in at]


def outside(draws, data):
    """How many statistics of the data are outside the range over all replicated data sets."""
    tree = pmr.predictive(draws, data)
    count = 0
    for name in ("v_mean", "v_correlation"):
        found, seen = tree["posterior_predictive"][name], tree["observed_data"][name]
        count += int(((seen < found.min(("chain", "draw"))) | (seen > found.max(("chain", "draw")))).sum())
    return count


def test_data_of_the_machine_pass_and_others_fail(draws, data):
    """Of 15 statistics one or two are outside of the range of 40 sets by chance (each by 2/41): 5 by one in 900."""
    assert outside(draws, data) <= 4
    alone = data.apply(lambda x: x.sample(frac=1, random_state=ITEMS.index(x.name)).to_numpy())
    assert outside(draws, alone) >= 5  # broken: the same means without correlations


@pytest.mark.parametrize("statistic", ["sum", "mean", "correlation"])
def test_arviz_draws_them(statistic, draws, data, tmp_path):
    plot = pmr.plot_ppc(draws, data, statistic=statistic)
    assert isinstance(plot, az.PlotCollection)
    ax = plot.viz["plot"][f"v_{statistic}"].item()
    assert ax.get_title() == f"v_{statistic}: data black, draws blue"
    names = [x.get_text() for x in ax.get_xticklabels()]
    if statistic == "mean":
        assert names == ITEMS
    if statistic == "correlation":
        seen = pmr.predictive(draws, data)["observed_data"]["v_correlation"].to_series()
        assert names == seen.sort_values().index.tolist()
    plot.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 2000


@pytest.mark.parametrize("statistic", ["sum", "mean", "correlation"])
def test_it_draws_into_axes_that_are_given(statistic, draws, data):
    figure, axes = plt.subplots(1, 2)
    plot = pmr.plot_ppc(draws, data, statistic=statistic, ax=axes[0])
    assert plt.get_fignums() == [figure.number]
    assert plot.viz["figure"].item() is figure
    assert axes[0].has_data()
    assert not axes[1].has_data()
    with pytest.raises(ValueError, match="ax must be 1 Axes"):
        pmr.plot_ppc(draws, data, statistic=statistic, ax=axes)


def test_other_plots_of_arviz_take_the_groups(draws, data):
    tree = pmr.predictive(draws, data)
    az.plot_ppc_tstat(tree, var_names="v_sum", t_stat="max")
    az.plot_ppc_dist(tree, var_names="v_sum", kind="ecdf", num_samples=20)


@pytest.mark.parametrize("unit", [pmr.Gaussian(1.0), pmr.Spin()])
def test_sums_of_other_units(unit):
    draws = pmr.sample_gibbs(pmr.restricted(W * 0.3, B, C, unit), draws=60, chains=2, **QUIET)
    plot = pmr.plot_ppc(draws, draws["posterior"]["v"].values[0, :20], "v")
    assert plot.viz["plot"]["v_sum"].item().get_ylabel() == ("rows" if isinstance(unit, pmr.Spin) else "density")


def test_a_posterior_predictive_is_taken_as_it_is(data):
    """PyMC's own replicated data sets, one for each draw of the weights."""
    with pm.Model(coords={"item": ITEMS}):
        b = pm.Normal("b", 0, 1, dims="item")
        pmr.RBM("v", W, b, C, observed=data)
        posterior = xr.DataTree.from_dict(
            {
                "posterior": xr.Dataset(
                    {"b": (("chain", "draw", "item"), B + np.zeros((2, 3, 5)))}, coords={"item": ITEMS}
                )
            }
        )
        found = pm.sample_posterior_predictive(posterior, random_seed=1, progressbar=False)
    tree = pmr.predictive(found, data[ITEMS[::-1]])
    assert dict(tree["posterior_predictive"]["v"].sizes) == {"chain": 2, "draw": 3, "v_row": 100, "item": 5}
    np.testing.assert_array_equal(tree["observed_data"]["v"], data)
    pmr.plot_ppc(found, data)
    with pytest.raises(ValueError, match=r"data has 50 rows and each draw of v 100\. Pass the data"):
        pmr.predictive(found, data[:50])


def test_what_is_given_is_checked(draws, data):
    with pytest.raises(ValueError, match=r"data has 5000 rows, and there are 4000 draws \(8 chains of 500\): draw at"):
        pmr.predictive(draws, pd.concat([data] * 50))
    with pytest.raises(ValueError, match=r"data has missing entries \(1 of 500\).*inpaint"):
        pmr.predictive(draws, data.astype(float).where(data.index.to_numpy()[:, None] + np.arange(5) != 0))
    with pytest.raises(ValueError, match="statistic must be one of 'sum', 'mean', 'correlation', got 'median'"):
        pmr.plot_ppc(draws, data, statistic="median")
    with pytest.raises(ValueError, match="neither posterior_predictive nor posterior among the groups"):
        pmr.predictive(xr.DataTree(), data)
    with pytest.raises(ValueError, match=r"v_free_energy must have dims .*got \('chain', 'draw'\)"):
        pmr.predictive(draws, data, "v_free_energy")
    with pytest.raises(TypeError, match="Expected a DataTree, draws of"):
        pmr.plot_ppc(data, draws)
