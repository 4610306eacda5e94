"""Draws that are not the free machine's: compared within a row, or refused, wherever the machine comes from."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from options import MASKED, QUIET

import pymc_rbm as pmr
from pymc_rbm.distributions.lookup import held_entries, model_of

pytestmark = pytest.mark.interpreted

RNG = np.random.default_rng(1)
W, B, C = 0.7 * RNG.standard_normal((6, 4)), 0.3 * RNG.standard_normal(6), 0.3 * RNG.standard_normal(4)
DATA, MASK = RNG.integers(0, 2, (80, 6)), RNG.random((80, 6)) < 0.1
MACHINE = pmr.restricted(W, B, C)
FEW = {"draws": 300, "tune": 10, "chains": 2, "cores": 1, "quiet": True, "compute_convergence_checks": False}


def model_with_gaps(data, mask):
    with pm.Model() as model:
        pmr.RBM("t", W, B, C, observed=np.ma.MaskedArray(data, mask))
    return model


def as_pymc(completed, mask):
    """Draws of a masked variable in the form that ``pm.sample`` returns: the whole rows, and what was missing."""
    dims = [f"t_dim_{i}" for i in range(completed.ndim - 2)]
    return xr.DataTree.from_dict({
        "posterior": xr.Dataset({
            "t": (("chain", "draw", *dims), completed),
            "t_unobserved": (("chain", "draw", "t_unobserved_dim_0"), completed[..., mask]),
        })
    })  # fmt: skip


@pytest.fixture(scope="module")
def completed():
    """Draws of rows that have something missing; their autocorrelation time is 1.2."""
    rows = np.flatnonzero(MASK.any(1))[:3]
    drawn = pmr.inpaint(np.ma.MaskedArray(DATA[rows], MASK[rows]), MACHINE, draws=500, tune=50, **QUIET)
    return drawn, rows


@MASKED
def test_rows_that_hold_different_values_are_compared_by_row(completed):
    drawn, rows = completed
    draws, model = as_pymc(drawn["posterior"]["v"].values, MASK[rows]), model_with_gaps(DATA[rows], MASK[rows])
    found = pmr.diagnose(draws, model, **QUIET)
    assert found.verdict == "mixed", str(found)
    assert "within each of 3 rows" in found.reasons[0]
    assert found.measures["verdict_by_row"].values.tolist() == ["mixed"] * 3
    assert float(found.measures["rhat_by_row"].max()) < 1.01
    for idata, target in ((draws, model["t"]), (draws, MACHINE), (drawn, MACHINE)):  # what inpaint returns is the same
        again = pmr.diagnose(idata, target, probes=False, **QUIET)
        assert again.verdict == "cannot tell"  # without probes
        xr.testing.assert_equal(again.measures["rhat_by_row"], found.measures["rhat_by_row"])
    with model:
        again = pmr.diagnose(draws, probes=False, **QUIET)
    xr.testing.assert_equal(again.measures["rhat_by_row"], found.measures["rhat_by_row"])
    assert pmr.diagnose(draws, **QUIET).verdict == "cannot tell"


@MASKED
def test_a_single_row(completed):
    drawn, rows = completed
    row = drawn["posterior"]["v"].values[:, :, 0]
    draws, model = as_pymc(row, MASK[rows[0]]), model_with_gaps(DATA[rows[0]], MASK[rows[0]])
    for target in (model, MACHINE):
        found = pmr.diagnose(draws, target, **QUIET)
        assert found.verdict == "mixed", str(found)


@MASKED
def test_one_stuck_row_is_found(completed):
    """In one of three rows a unit stays what it was in each chain; then all chains agree on what is not likely."""
    drawn, rows = completed
    states, (row, unit) = drawn["posterior"]["v"].values.copy(), np.argwhere(MASK[rows])[0]
    states[:2, :, row, unit], states[2:, :, row, unit] = 0, 1
    found = pmr.diagnose(as_pymc(states, MASK[rows]), model_with_gaps(DATA[rows], MASK[rows]), **QUIET)
    assert found.verdict == "not mixed"
    assert f"In 1 of 3 rows, where chains are compared within a row; for example t, row {row}" in found.reasons[0]
    assert found.measures["verdict_by_row"].values.tolist().count("not mixed") == 1
    states[:, :, row, unit] = 0
    with pytest.raises(ValueError, match=r"the draws alone do not say which\. Pass the model"):
        pmr.diagnose(as_pymc(states, MASK[rows]), MACHINE, **QUIET)
    found = pmr.diagnose(as_pymc(states, MASK[rows]), model_with_gaps(DATA[rows], MASK[rows]), **QUIET)
    assert found.verdict == "not mixed"
    assert "1 visible unit never changes, though the machine would" in found.reasons[0]


@MASKED
def test_all_chains_of_a_row_in_one_mode():
    """Two patterns that no chain leaves; one unit is known and fits both: only probes within the row see the other."""
    patterns = np.array([[1, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1, 1]])
    weights = 12.0 * (2 * patterns.T - 1)
    weights[6] = 0.0
    held = np.array([False] * 6 + [True])
    states = np.tile(patterns[0].astype("int8"), (4, 300, 1))
    states[:, ::7, 0] = 0  # something to compare
    with pm.Model() as model:
        row = np.ma.MaskedArray(patterns[0], ~held)
        pmr.RBM("t", weights, np.zeros(7), np.zeros(2), hidden=pmr.Categorical(2), observed=row)
    found = pmr.diagnose(as_pymc(states, ~held), model, **QUIET)
    assert found.verdict == "not mixed", str(found)


@MASKED
@pytest.mark.parametrize("whole", [True, False])
def test_which_entries_pymc_holds(whole):
    mask = np.zeros((5, 6), bool)
    mask[[1, 3] if whole else [0, 0, 1, 2, 3, 4], slice(None) if whole else [0, 1, 2, 3, 4, 5]] = True
    model = model_with_gaps(DATA[:5], mask)
    if not whole:  # as many as a row has units: not to be taken for one
        np.testing.assert_array_equal(held_entries(model, "t", mask.sum()), ~mask)
        np.testing.assert_array_equal(held_entries(model["t"], "t", mask.sum()), ~mask)
    trace = pm.sample(model=model, **FEW, **QUIET)
    found = pmr.diagnose(trace, model, **QUIET)
    assert found.verdict == "mixed", str(found)
    assert ("4 chains" in found.reasons[0]) if whole else ("within each of 5 rows" in found.reasons[0])


def test_rows_with_biases_of_their_own():
    """One machine a row: compared by row; the chains of rows that differ were called not mixed, or refused."""
    biases = B + 3 * np.random.default_rng(2).standard_normal((3, 1))
    with pm.Model() as model:
        pmr.RBM("t", W, biases, C, shape=(3, 6))
        trace = pm.sample(**FEW, **QUIET)
        assert pmr.diagnose(trace, **QUIET).verdict == "mixed"
    found = pmr.diagnose(trace, pmr.machine_of(model), **QUIET)
    assert found.verdict == "mixed", str(found)
    assert "within each of 3 rows" in found.reasons[0]
    # With the machine of one row the others' draws are not its own, but nothing shows that they did not mix.
    doubled = xr.DataTree.from_dict({
        "posterior": xr.concat([trace["posterior"].dataset] * 2, "chain").assign_coords(chain=range(4))
    })  # fmt: skip
    found = pmr.diagnose(doubled, pmr.machine_of_row(model, row=0), **QUIET)
    assert found.verdict == "cannot tell"
    assert "The chains of each row agree" in found.reasons[0]
    with pytest.raises(ValueError, match="for 3 rows, but the draws have 2"):
        pmr.diagnose(trace.isel(t_dim_0=slice(2)), model, **QUIET)


def test_dependants_are_refused_wherever_the_machine_comes_from():
    with pm.Model() as model:
        v = pmr.RBM("t", W, B, C)
        pm.Normal("y", v.sum(), 1.0, observed=6.0)
        trace = pm.sample(**FEW, **QUIET)
    assert (trace["sample_stats"]["dependants"] == 1).all()
    for target in (model, model["t"]):
        with pytest.raises(ValueError, match=r"in this model \['y'\] depend on \['t'\]"):
            pmr.diagnose(trace, target, **QUIET)
        with pytest.raises(ValueError, match=r"in this model \['y'\] depend on \['t'\]"):
            pmr.sample_gibbs(target, draws=2, **QUIET)
    with pytest.raises(ValueError, match="1 terms depended on the units"):
        pmr.diagnose(trace, MACHINE, **QUIET)
    assert pmr.diagnose(trace, **QUIET).verdict != "mixed"


def test_a_variable_finds_its_model():
    with pm.Model() as model:
        v = pmr.RBM("t", W, B, C)
    with pm.Model() as other:
        u = pmr.RBM("t", W, B, C)
        assert model_of(u) is other
        assert model_of(v) is model
    assert model_of(v) is model
    done = pm.do(model, {})
    assert model_of(done["t"]) is done
    assert model_of(pmr.RBM.dist(W, B, C)) is None
    assert model_of(MACHINE) is None


@MASKED
@pytest.mark.slow
def test_eighty_rows_sampled_by_pymc():
    """Perfect draws, R-hat of every unit at most 1.0013, were "not mixed: 320 chains …, do not use"."""
    model = model_with_gaps(DATA, MASK)
    trace = pm.sample(model=model, **(FEW | {"chains": 4, "draws": 2000}), **QUIET)
    for target in (model, model["t"], MACHINE):
        assert pmr.diagnose(trace, target, **QUIET).verdict == "mixed"
