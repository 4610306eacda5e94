"""Missing units given the observed ones, against enumeration; masked data in sampling; what is refused."""

import signal
from itertools import product

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import MASKED, QUIET
from pairs import UNITS

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

NAN = np.nan
PAIRS = [("categorical", "spin"), ("gaussian", "binomial")]


def exact_conditional(machine, families, row, missing):
    """States of the missing entries of a row and their probabilities given the rest, by the reference."""
    (b, c, W), (left, right), width = machine.parameters[:3], families, machine.layers[0].unit.width
    units = [
        ref.values(left) if hole.any() else [(tuple(own), 0.0)]
        for own, hole in zip(row.reshape(-1, width).tolist(), missing.reshape(-1, width), strict=True)
    ]
    all_v = [([x for own, _ in unit for x in own], sum(w for _, w in unit)) for unit in product(*units)]
    hidden = ref.layer_states(right, len(c) // (3 if right[0] == "categorical" else 1))
    log_p = np.array([
        w + ref.log_sum([x - ref.pair_energy(left, right, v, h, W, b, c) for h, x in hidden]) for v, w in all_v
    ])  # fmt: skip
    p = np.exp(log_p - log_p.max())
    return np.array([v for v, _ in all_v], float), p / p.sum()


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_draws_are_of_the_conditional(pair):
    (visible, left, _), (hidden, right, _) = (UNITS[x] for x in pair)
    real = pair[0] == "gaussian"
    rng = np.random.default_rng(6)
    n = 2 if real else 3
    W, b, c = (
        0.8 * rng.standard_normal((n * visible.width, 2 * hidden.width)),
        *(rng.standard_normal(k) for k in (n * visible.width, 2 * hidden.width)),
    )
    machine = pmr.restricted(W, b, c, visible, hidden)
    full = np.array([v for v, _ in ref.layer_states(left, n)], float) if not real else np.array([[0.7, -1.0]])
    rows = full[rng.integers(len(full), size=2)].copy()
    missing = np.zeros(rows.shape, bool)
    missing[0, : visible.width] = missing[1, visible.width :] = True
    found = pmr.inpaint(np.ma.masked_array(rows, missing), machine, draws=2000, tune=20, **QUIET)
    v = found["posterior"]["v"].values
    assert v.dtype == visible.dtype
    for i, (row, hole) in enumerate(zip(rows, missing, strict=True)):
        np.testing.assert_array_equal(v[:, :, i][..., ~hole], np.broadcast_to(row[~hole], v[:, :, i][..., ~hole].shape))
        states, p = exact_conditional(machine, (left, right), row, hole)
        mean = p @ states
        ess = float(found["convergence"]["ess"][i])
        error = np.sqrt(p @ (states - mean) ** 2 / min(ess, 8000))
        drawn = v[:, :, i].reshape(-1, len(row))
        assert (abs(drawn.mean(0) - mean) < 5 * error + 1e-12).all()
        assert (abs(found["mean"]["v"].values[i] - mean) < 5 * error + 1e-12).all()
        if not real:  # coherent: jointly, not only in the mean
            index = {tuple(x): k for k, x in enumerate(states)}
            counts = np.bincount([index[tuple(x)] for x in drawn.astype(float)], minlength=len(p))
            assert ref.total_variation(counts, p) < 4 * ref.total_variation_floor(p, min(ess, 8000))
            # Draws that ignore the observed units would not pass.
            _, q = exact_conditional(machine, (left, right), rows[1 - i], missing[i])
            if len(q) == len(p) and ref.total_variation(q, p) > 0.1:
                assert ref.total_variation(counts, q) > 4 * ref.total_variation_floor(p, min(ess, 8000))
    assert found["convergence"]["converged"].all()


@pytest.mark.parametrize("n", [31, 32, 70])
def test_known_entries_stay_whatever_the_size(n):
    """Masks are packed 32 entries at a time, the rest one by one."""
    rng = np.random.default_rng(1)
    machine = pmr.restricted(0.3 * rng.normal(size=(n, 40)), np.zeros(n), np.zeros(40))
    rows = np.ma.MaskedArray(rng.integers(0, 2, (6, n)), rng.random((6, n)) < 0.5)
    drawn = pmr.inpaint(rows, machine, draws=400, tune=10, chains=8, **QUIET)
    known = np.broadcast_to(~rows.mask, drawn["posterior"]["v"].shape)
    np.testing.assert_array_equal(drawn["posterior"]["v"].values[known], np.broadcast_to(rows.data, known.shape)[known])
    assert (drawn["posterior"]["v"].values.std((0, 1)) > 0)[rows.mask].all()


def test_dims_coords_and_rows_without_holes():
    data = xr.DataArray(
        [[1.0, NAN, 0.0], [1.0, 1.0, 0.0]],
        dims=("image", "pixel"),
        coords={"image": [5, 9], "label": ("image", [1, 2])},
    )
    machine = pmr.restricted(*ref.machine(3, 2))
    found = pmr.inpaint(data, machine, draws=200, tune=5, name="x", **QUIET)
    assert found["posterior"]["x"].dims == ("chain", "draw", "image", "pixel")
    np.testing.assert_array_equal(found["posterior"]["label"], [1, 2])
    np.testing.assert_array_equal(found["mean"]["x_missing"], np.isnan(data))
    np.testing.assert_array_equal(found["mean"]["x"][1], data[1])
    assert np.isnan(found["convergence"]["rhat"][1])
    assert found["convergence"]["converged"][1]
    again = pmr.inpaint(data, machine, draws=200, tune=5, name="x", states=False, **QUIET)
    assert "x" not in again["posterior"]
    xr.testing.assert_equal(again["mean"].to_dataset(), found["mean"].to_dataset())


def test_chains_in_two_modes_are_called_so():
    """All units alike, with a barrier that no chain crosses: each chain stays where it began."""
    machine = pmr.restricted(np.full((12, 12), 8.0), np.full(12, -48.0), np.full(12, -48.0))
    with pytest.warns(UserWarning, match="1 of 1 rows have not converged"):
        found = pmr.inpaint(np.full(12, NAN), machine, draws=500, chains=8, **QUIET)
    assert found["convergence"]["rhat"][0] > 1.5  # beyond √2, of chains as far apart as the draws of each


@pytest.mark.compiled
def test_labels_held_and_a_learned_model():
    """Four patterns, each with a label of two units: pattern given label, and label given pattern."""
    patterns = np.array([[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]])
    data = np.repeat(patterns, 30, axis=0)
    with pm.Model() as model:
        W = pm.Normal("W", 0, 2, shape=(6, 2))
        b, c = pm.Normal("b", 0, 2, shape=6), pm.Normal("c", 0, 2, shape=2)
        pmr.RBM("digit", W, b, c, observed=data)
        learned = pmr.fit(200, method="exact", optimizer="lbfgs", compile_kwargs={"mode": "FAST_COMPILE"}, **QUIET)
    given_label = np.array([[NAN] * 4 + [1, 0], [NAN] * 4 + [0, 1]])
    for target in ((model, learned), (learned, None)):
        found = pmr.inpaint(given_label, *target, draws=4000, tune=50, **QUIET)
        mean = found["mean"]["digit"].values[:, :4]
        assert (abs(mean - patterns[:, :4]) < 0.2).all()  # without the label, or with the other one, ½ or 1 off
    with pm.Model():
        assert pmr.inpaint(given_label, model, learned, draws=4000, tune=50, **QUIET).equals(found)


def test_rows_with_biases_of_their_own():
    W, b, c = ref.machine(3, 2)
    b = b + np.array([[4.0], [-4.0]])
    found = pmr.inpaint([[NAN, 0, 1], [NAN, 0, 1]], pmr.restricted(W, b, c), draws=500, tune=10, **QUIET)
    for i in range(2):
        states, p = exact_conditional(
            pmr.restricted(W, b[i], c), (("bernoulli", None),) * 2, np.array([0, 0, 1]), np.array([True, False, False])
        )
        # 4.5 binomial errors of 2,000 draws.
        assert float(found["mean"]["v"][i, 0]) == pytest.approx(float(p @ states[:, 0]), abs=0.05)
    assert abs(float(found["mean"]["v"][0, 0] - found["mean"]["v"][1, 0])) > 0.3
    with pytest.raises(ValueError, match="for 2 rows, but data have 1"):
        pmr.inpaint([NAN, 0, 1], pmr.restricted(W, b, c), **QUIET)


def test_interrupted(monkeypatch):
    """Ctrl-C in the middle: what was drawn so far comes back."""
    count, original = iter(range(10**6)), pmr.inpaint.__wrapped__.__globals__["track"]

    def track(steps, *args, **kwargs):
        for x in original(steps, *args, **kwargs):
            if next(count) == 30:
                signal.raise_signal(signal.SIGINT)
            yield x

    monkeypatch.setitem(pmr.inpaint.__wrapped__.__globals__, "track", track)
    with pytest.warns(UserWarning, match="Interrupted after .. of 500 draws"):
        found = pmr.inpaint([NAN, 0, 1], pmr.restricted(*ref.machine(3, 2)), draws=500, tune=100, **QUIET)
    assert found.attrs["interrupted"] == 1
    assert found["posterior"].sizes["draw"] == 30


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 0, 1], "0 missing entries"),
        ([NAN, 2, 1], "only 0 and 1, got 1 other"),
        ([NAN, 0], r"data has shape \(2,\), but the machine has 3 visible units"),
        (np.ma.masked_array([[[1, 0, 1]]], [[[1, 0, 0]]]), r"shape \(rows, 3\), got \(1, 1, 3\)"),
    ],
)
def test_refusals(data, message):
    with pytest.raises(ValueError, match=message):
        pmr.inpaint(data, pmr.restricted(*ref.machine(3, 2)), **QUIET)


def test_part_of_a_unit_is_missing():
    machine = pmr.restricted(np.zeros((3, 1)), np.zeros(3), np.zeros(1), pmr.Categorical(3))
    with pytest.raises(ValueError, match="mask all of them or none"):
        pmr.inpaint([NAN, 0, 1], machine, **QUIET)


# ----------------------------------------------------------------------------------------- masked data in pm.sample


@MASKED
@pytest.mark.parametrize("missing", [1, 2])
def test_the_machine_behind_masked_observations(missing):
    """PyMC joins what is missing and what is not in another graph where one entry is missing."""
    W, b, c = ref.machine(3, 2)
    mask = np.zeros((2, 3), bool)
    mask[0, :missing] = True
    with pm.Model() as model:
        pmr.RBM("v", W, b, c, observed=np.ma.masked_array(np.ones((2, 3), int), mask))
    np.testing.assert_array_equal(pmr.machine_of(model).parameters[2], W)


@pytest.mark.slow
@pytest.mark.interpreted
@MASKED
@pytest.mark.parametrize("name", ["spin", "gaussian"])
@pytest.mark.parametrize("whole", [True, False], ids=["rows", "entries"])
def test_masked_observations_of_other_units(name, whole):
    """pm.sample and inpaint agree, entries or whole rows masked."""
    unit = UNITS[name][0]
    W, b, c = ref.machine(2, 2, 0.7, seed=3)
    rows = np.array([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    mask = np.array([[True, True], [False, False], [False, False]]) if whole else np.eye(3, 2) == 1
    masked = np.ma.masked_array(rows, mask)
    with pm.Model() as model:
        pmr.RBM("v", W, b, c, visible=unit, observed=masked)
        trace = pm.sample(3000, tune=50, chains=2, cores=1, quiet=True, compute_convergence_checks=False, **QUIET)
    name_of_free = next(x.name for x in model.free_RVs)
    drawn = trace.posterior[name_of_free].values.reshape(6000, -1).astype(float)
    found = pmr.inpaint(masked, pmr.restricted(W, b, c, unit), draws=3000, tune=50, **QUIET)
    expected = found["posterior"]["v"].values[..., mask].reshape(12000, -1).astype(float)
    error = np.sqrt(drawn.var(0) / 600 + expected.var(0) / 1200)  # an effective size of a tenth
    assert (abs(drawn.mean(0) - expected.mean(0)) < 5 * error).all()
