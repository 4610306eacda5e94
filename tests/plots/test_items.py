"""Figures of tables of named items: names, order, correlations, and axes that users bring."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.plots.items import alike_together, correlations

pytestmark = pytest.mark.interpreted

ITEMS = ["tired", "forgets", "sad", "loses", "sleeps", "restless"]
"""Those of two groups take turns."""
GROUP = np.array([0, 1, 0, 1, 0, 1])


def answers(n, seed, items=ITEMS):
    rng = np.random.default_rng(seed)
    traits = rng.random((n, 2)) < 0.5
    rows = rng.random((n, 6)) < np.where(traits[:, GROUP], 0.9, 0.1)
    return pd.DataFrame(rows.astype("int8"), columns=ITEMS)[list(items)]


@pytest.fixture(scope="module")
def draws():
    states = answers(400, 1).to_numpy().reshape(4, 100, 6)
    data = xr.Dataset({"answer": (("chain", "draw", "item"), states)}, coords={"item": ITEMS})
    return xr.DataTree.from_dict({"posterior": data})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def axis(plot, panel):
    return plot.viz["plot"].sel(panel=panel).item()


def ticks(ax, side="y"):
    return [x.get_text() for x in getattr(ax, f"get_{side}ticklabels")()]


def test_correlations_are_those_of_the_rows_that_know_both():
    x = np.random.default_rng(1).normal(size=(40, 4)) @ np.random.default_rng(2).normal(size=(4, 4))
    np.testing.assert_allclose(correlations(x), np.corrcoef(x.T), atol=1e-12)
    holes = np.random.default_rng(3).random(x.shape) < 0.2
    found = correlations(np.ma.MaskedArray(x, holes))
    for i in range(4):
        for j in range(4):
            both = ~holes[:, i] & ~holes[:, j]
            assert found[i, j] == pytest.approx(np.corrcoef(x[both, i], x[both, j])[0, 1])
    x[:, 1] = 1
    assert np.isnan(correlations(x)[1]).all()


def test_items_that_go_together_stand_together():
    order = alike_together(correlations(answers(300, 2).to_numpy()), correlation=True)
    assert abs(np.diff(GROUP[order])).sum() == 1
    assert abs(np.diff(GROUP)).sum() == 5  # as they came
    assert sorted(alike_together(np.full((4, 4), np.nan), correlation=True).tolist()) == [0, 1, 2, 3]


def test_tables_are_shown_by_items(draws):
    data = answers(300, 2)
    plot = pmr.plot_fantasies(draws, data)
    assert plot.viz["panel"].values.tolist() == ["data", "draws", "means", "correlations"]
    names = ticks(axis(plot, "data"))
    assert names == ticks(axis(plot, "draws"))
    assert sorted(names) == sorted(ITEMS)
    matrix = axis(plot, "data").images[0].get_array()
    np.testing.assert_allclose(matrix, data[names].corr().to_numpy(), atol=1e-12)
    points = axis(plot, "means").lines[1].get_xydata()
    np.testing.assert_allclose(points[:, 0], data.mean())
    np.testing.assert_allclose(points[:, 1], draws["posterior"]["answer"].mean(("chain", "draw")))


def test_columns_in_another_order_are_the_same_data(draws):
    one, other = (pmr.plot_fantasies(draws, answers(300, 2, order)) for order in (ITEMS, ITEMS[::-1]))
    assert ticks(axis(one, "data")) == ticks(axis(other, "data"))
    np.testing.assert_array_equal(*(axis(x, "data").images[0].get_array() for x in (one, other)))
    np.testing.assert_array_equal(*(axis(x, "means").lines[1].get_xydata() for x in (one, other)))
    with pytest.raises(ValueError, match=r"The names of data are not those of the draws: without \['tired'\]"):
        pmr.plot_fantasies(draws, answers(300, 2).rename(columns={"tired": "weary"}))


def test_missing_answers_are_left_out(draws):
    data = answers(300, 2).astype(float)
    data.iloc[::3, 0] = np.nan
    points = axis(pmr.plot_fantasies(draws, data), "means").lines[1].get_xydata()
    np.testing.assert_allclose(points[:, 0], data.mean())


def test_chains_that_disagree_have_a_wide_range(draws):
    states = draws["posterior"]["answer"].values.copy()
    states[0, :, 0] = 1
    apart = xr.DataTree.from_dict({"posterior": draws["posterior"].to_dataset().assign(answer=(
        ("chain", "draw", "item"), states))})  # fmt: skip

    def widest(tree):
        _, bars = axis(pmr.plot_fantasies(tree, answers(300, 2)), "means").collections[:2]
        return max(np.ptp(x[:, 1]) for x in bars.get_segments())

    assert widest(draws) < 0.25 < 0.4 < widest(apart)


def test_names_of_columns_do_for_draws_without_names(draws):
    bare = xr.DataTree.from_dict({"posterior": draws["posterior"].to_dataset().drop_vars("item")})
    assert sorted(ticks(axis(pmr.plot_fantasies(bare, answers(300, 2)), "data"))) == sorted(ITEMS)
    assert pmr.plot_fantasies(bare, answers(300, 2).to_numpy(), shape=(2, 3)).viz["panel"].size == 2  # pictures
    assert pmr.plot_fantasies(draws, kind="pictures").viz["panel"].values.tolist() == ["draws"]


def test_constant_items_and_a_single_one():
    states = np.zeros((2, 20, 3), "int8")
    states[..., 0] = np.arange(20) % 2
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "u"), states)})})
    pmr.plot_fantasies(tree, states[0])
    one = xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "u"), states[..., :1])})})
    pmr.plot_fantasies(one, states[0, :, :1], kind="items")


def test_loadings_have_names(draws):
    coords = {"item": ITEMS, "trait": ["mood", "mind"]}
    with pm.Model(coords=coords):
        W = pm.Normal("W", 0, 2, dims=("item", "trait"))
        pmr.RBM("answer", W, pm.Normal("b", 0, 3, dims="item"), pm.Normal("c", 0, 3, dims="trait"),
                observed=answers(200, 2))  # fmt: skip
        learned = pmr.fit(**QUIET)
    ax = axis(pmr.plot_filters(learned), "weights")
    names, units = ticks(ax), ticks(ax, "x")
    assert sorted(names) == sorted(ITEMS)
    assert sorted(units) == ["mind", "mood"]
    np.testing.assert_allclose(ax.images[0].get_array(), learned["parameters"]["W"].sel(item=names, trait=units))
    assert abs(np.diff([GROUP[ITEMS.index(x)] for x in names])).sum() == 1


def test_a_frame_names_the_items_where_no_coords_do():
    """Neither W nor the model knows names: the frame's columns become coords, and plots find them."""
    with pm.Model() as model:
        W, b = pm.Normal("W", 0, 2, shape=(6, 2)), pm.Normal("b", 0, 3, shape=6)
        pmr.RBM("answer", W, b, pm.Normal("c", 0, 3, shape=2), observed=answers(100, 2))
        learned = pmr.fit(**QUIET)
    assert list(model.coords["answer_unit"]) == ITEMS
    assert model.named_vars_to_dims["answer"] == ("answer_row", "answer_unit")
    assert sorted(ticks(axis(pmr.plot_filters(learned), "weights"))) == sorted(ITEMS)
    draws = pmr.sample_gibbs(model, learned, draws=20, chains=2, **QUIET)
    assert sorted(ticks(axis(pmr.plot_fantasies(draws), "draws"))) == sorted(ITEMS)


class Polars:
    """What a frame of polars has: columns and dtypes, no index, and None where something is missing."""

    def __init__(self, frame):
        self._frame, self.columns, self.dtypes = frame, list(frame.columns), ["Int8"] * frame.shape[1]

    def to_numpy(self):
        return self._frame.to_numpy()


def test_a_frame_without_an_index_has_names_too(draws):
    one, other = (pmr.plot_fantasies(draws, x) for x in (answers(300, 2), Polars(answers(300, 2, ITEMS[::-1]))))
    assert ticks(axis(one, "data")) == ticks(axis(other, "data"))
    np.testing.assert_array_equal(*(axis(x, "data").images[0].get_array() for x in (one, other)))
    with pm.Model() as model:
        pmr.RBM("answer", np.zeros((6, 2)), np.zeros(6), np.zeros(2), observed=Polars(answers(100, 2)))
    assert list(model.coords["answer_unit"]) == ITEMS


def test_couplings_of_a_network(draws):
    U = np.where(GROUP[:, None] == GROUP, 1.0, -0.5) - np.diag([1.0] * 6)
    plot = pmr.plot_filters({"U": xr.DataArray(U, dims=("item", "other"), coords={"item": ITEMS})}, "U")
    ax = axis(plot, "weights")
    assert ticks(ax) == ticks(ax, "x")
    np.testing.assert_array_equal(ax.images[0].get_array(), np.transpose(ax.images[0].get_array()))
    with pm.Model():
        pmr.BoltzmannMachine("x", pm.Normal("U", shape=(6, 6)), pm.Normal("b", shape=6), observed=answers(60, 2))
        learned = pmr.fit(**QUIET)
    assert sorted(ticks(axis(pmr.plot_filters(learned, "x"), "weights"))) == sorted(ITEMS)


def test_what_is_given_is_checked(draws):
    with pytest.raises(ValueError, match="kind must be one of 'auto', 'pictures', 'items', got 'rows'"):
        pmr.plot_fantasies(draws, kind="rows")
    with pytest.raises(ValueError, match=r"shape=\(2, 3\) is the shape of a picture, and kind='items' draws none"):
        pmr.plot_fantasies(draws, kind="items", shape=(2, 3))
    with pytest.raises(ValueError, match=r"data must be rows of 6 units, as draws are, got shape \(5, 4\)"):
        pmr.plot_fantasies(draws, np.zeros((5, 4)))


# ------------------------------------------------------------------------------------------------- axes that are given


def made(draws):
    W = np.random.default_rng(1).normal(size=(9, 2))
    machine = pmr.restricted(W[:6], np.zeros(6), np.zeros(2))
    return {
        "filters": (1, lambda ax: pmr.plot_filters({"W": W}, ax=ax)),
        "loadings": (1, lambda ax: pmr.plot_filters({"W": W}, kind="items", ax=ax)),
        "pictures": (2, lambda ax: pmr.plot_fantasies(draws, answers(50, 1), kind="pictures", ax=ax)),
        "items": (4, lambda ax: pmr.plot_fantasies(draws, answers(50, 1), ax=ax)),
        "projections": (4, lambda ax: pmr.plot_projections(draws, machine, ax=ax)),
        "mixing": (2, lambda ax: pmr.plot_mixing(_energies(), ax=ax)),
        "log Z": (1, lambda ax: pmr.log_partition(machine, method="exact", progressbar=False).plot(ax=ax)),
    }


def _energies():
    values = np.random.default_rng(1).normal(size=(2, 40))
    return xr.DataTree.from_dict({"posterior": xr.Dataset({"v_free_energy": (("chain", "draw"), values)})})


@pytest.mark.parametrize("name", ["filters", "loadings", "pictures", "items", "projections", "mixing", "log Z"])
def test_plots_draw_into_axes_that_are_given(name, draws):
    n, plot = made(draws)[name]
    figure, axes = plt.subplots(1, n + 1, squeeze=False)
    before = plt.get_fignums()
    given = axes[0, 0] if n == 1 else axes[0, :n]
    found = plot(given)
    assert plt.get_fignums() == before
    assert found.viz["figure"].item() is figure
    assert found.viz["plot"].values.tolist() == axes[0, :n].tolist()
    assert all(ax.has_data() for ax in axes[0, :n])
    assert not axes[0, n].has_data()
    assert found.backend == "matplotlib"
    with pytest.raises(ValueError, match=f"ax must be {n} Axes, one for each panel .*got {n + 1}"):
        plot(axes)
    for odd in ("left", figure, [1.0] * n):
        with pytest.raises(TypeError, match=r"ax must be matplotlib's Axes.*or leave ax out"):
            plot(odd)
