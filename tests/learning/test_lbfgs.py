"""Learning by the exact objective: moments match to 1e-8 for every pair of units, and what L-BFGS refuses."""

import warnings

import numpy as np
import pymc as pm
import pytest
import reference as ref
import scipy
from models import model_of
from options import MUTED, QUIET
from pairs import PAIRS, UNITS, rows_of

import pymc_rbm as pmr
from pymc_rbm.learning import lbfgs
from pymc_rbm.machine.machine import logsumexp
from pymc_rbm.support.modes import INTERPRETED

# Of rows that are independent, as these are, the best machine may be, too.
pytestmark = [pytest.mark.interpreted, pytest.mark.filterwarnings("ignore:What was learned of")]

QUICK = {"progressbar": False, "random_seed": 1, "chains": 2, "compile_kwargs": {"mode": "FAST_COMPILE"}}
ASCENT = {"epochs": 500, "method": "exact", "optimizer": "lbfgs", **QUICK}
N, SPREAD = 30, 1.5


def moments_of_pair(pair, parameters, rows=None):
    """Means of v, h and v hᵀ, by the reference: of the machine or, given rows of v, with h from the conditional."""
    (_, left, n), (_, right, m) = (UNITS[x] for x in pair)
    if rows is None:
        v, h, table = ref.pair_log_joint(left, right, *parameters, (n, m))
        v, p = np.array([x for x, _ in v], float), np.exp(table - table.max())
        p /= p.sum()
    else:
        h = ref.layer_states(right, m)
        table = [[w - ref.pair_energy(left, right, row, x, *parameters) for x, w in h] for row in rows]
        v, p = np.array(rows, float), np.exp(np.array(table) - np.max(table, axis=1, keepdims=True))
        p /= p.sum(1, keepdims=True) * len(rows)
    h = np.array([x for x, _ in h], float)
    return {"b": p.sum(1) @ v, "c": p.sum(0) @ h, "W": v.T @ p @ h}


def has_exact_log_z(pair):
    return pair == ("gaussian", "gaussian") or not set(pair) <= {"gaussian", "rectified", "drelu"}


def by_quadrature(machine):
    """log Z as the integral of exp(-F) over the one visible unit: what takes its place where it has no formula."""
    left = next(left for unit, left, _ in UNITS.values() if unit.family == machine.layers[0].unit.family)
    nodes, log_weights = (np.array(x) for x in zip(*ref.values(left), strict=True))
    return logsumexp(log_weights - machine.free_energy(nodes))


NO_FORMULA = [pair for pair in PAIRS if not has_exact_log_z(pair)]
"""Real units on both sides, cut off at zero on one at least. Their log Z is that of a normal distribution in an orthant
(two for DReLU), which has no formula for more than a few units, so that ``method="exact"`` refuses them."""


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 3, None])
def test_moments_match_at_the_optimum(shift, monkeypatch):
    """All these machines at once: the moments of data and machine differ by the prior's pull.

    Each unit stands once on each side, but for pairs without a formula for log Z. None stands for all of these: there
    the integral over the visible unit takes the place of the formula.
    """
    names = list(UNITS)
    pairs = NO_FORMULA if shift is None else zip(names, names[shift:] + names[:shift], strict=True)
    pairs = [pair for pair in pairs if shift is None or has_exact_log_z(pair)]
    assert len(pairs) > 3
    if shift is None:
        monkeypatch.setattr("pymc_rbm.learning.estimators.pcd.is_tractable", lambda machine: True)
        monkeypatch.setattr("pymc_rbm.learning.exact_sums.symbolic_log_partition", by_quadrature)
    with pm.Model():
        for pair in pairs:
            (left, _, _), (right, _, m) = (UNITS[x] for x in pair)
            rows, name = rows_of(pair[0]), "-".join(pair)
            shapes = {"W": (rows.shape[1], m * right.width), "b": rows.shape[1], "c": m * right.width}
            W, b, c = (pm.Normal(f"{name}_{x}", 0, SPREAD, shape=shape) for x, shape in shapes.items())
            pmr.RBM(name, W, b, c, visible=left, hidden=right, observed=rows)
        learned = pmr.fit(**ASCENT)
    assert learned.attrs["converged"] == 1
    for pair in pairs:
        rows = rows_of(pair[0])
        parameters = {x: learned["parameters"][f"{'-'.join(pair)}_{x}"].values for x in "Wbc"}
        scales = [1 / (ref.sigma_of(UNITS[x][1]) or 1) ** 2 for x in pair]  # units with a σ enter as x/σ²
        scales = {"W": scales[0] * scales[1], "b": scales[0], "c": scales[1]}
        data, model = (moments_of_pair(pair, parameters.values(), x) for x in (rows, None))
        for x in "Wbc":
            pull = parameters[x] / (SPREAD**2 * N)
            np.testing.assert_allclose(scales[x] * (data[x] - model[x]), pull, rtol=0, atol=1e-8)
        # The test sees a gradient of 1e-6: where the parameters are that far off, moments do not match.
        beside = {x: p + 1e-5 for x, p in parameters.items()}
        data, model = (moments_of_pair(pair, beside.values(), x) for x in (rows, None))
        gap = [abs(scales[x] * (data[x] - model[x]) - beside[x] / (SPREAD**2 * N)).max() for x in "Wbc"]
        assert max(gap) > 1e-8


@pytest.mark.filterwarnings("ignore:L-BFGS", "ignore:Learning ended", "ignore:What was learned")
def test_small_climbs_are_not_compiled(monkeypatch):
    """Numba took half a minute for an objective that NumPy sums in milliseconds; a large one is compiled."""
    modes, compiled = [], lbfgs.compiled
    monkeypatch.setattr(
        lbfgs, "compiled", lambda *x, **options: modes.append(options.get("mode")) or compiled(*x, **options)
    )
    for few in (False, True):
        monkeypatch.setattr("pymc_rbm.learning.update.LITTLE", 2**18 if few else 0)
        with pm.Model():
            W = pm.Normal("W", shape=(3, 2))
            pmr.RBM(
                "v", W, np.zeros(3), np.zeros(2), visible=pmr.Binomial(2), observed=[[0, 1, 2], [2, 2, 1], [1, 0, 0]]
            )
            pmr.fit(3, method="exact", optimizer="lbfgs", chains=2, progressbar=False)
    assert modes == [None, INTERPRETED]


@pytest.mark.parametrize("pair", NO_FORMULA, ids="-".join)
def test_pairs_without_a_formula_for_log_z_are_refused(pair):
    (left, _, _), (right, _, m) = (UNITS[x] for x in pair)
    with pm.Model(), pytest.raises(ValueError, match="method='exact' enumerates the smaller side"):
        W = pm.Normal("W", shape=(1, m))
        pmr.RBM("v", W, np.zeros(1), np.zeros(m), visible=left, hidden=right, observed=rows_of(pair[0]))
        pmr.fit(1, method="exact", **QUICK)


@pytest.fixture(scope="module")
def learned():
    with model_of(rows_of("bernoulli"), 2, 2.0):
        return pmr.fit(**ASCENT)


def test_what_comes_back(learned):
    assert learned.attrs["largest_gradient"] <= 1e-9
    assert 3 < learned.attrs["epochs_done"] < 500
    for x, value in learned["parameters"].data_vars.items():
        np.testing.assert_array_equal(value, learned["averaged_parameters"][x])
    # The particles ran along, and did not move the parameters.
    assert learned["particles"]["v_free_energy"].shape == (2, learned.attrs["epochs_done"])


def test_few_iterations_warn_and_can_be_resumed():
    rows = np.repeat(pmr.datasets.bars_and_stripes(3).values, 5, axis=0)
    with model_of(rows, 2, 2.0):
        with pytest.warns(UserWarning, match="did not reach the maximum in 2 iterations. Raise epochs"):
            half = pmr.fit(**ASCENT | {"epochs": 2})
        whole, again = pmr.fit(**ASCENT | {"resume": half}), pmr.fit(**ASCENT)
    assert (half.attrs["converged"], whole.attrs["converged"]) == (0, 1)
    assert half.attrs["epochs_done"] == 2
    found, expected = (pmr.log_likelihood(rows, x)["mean_log_likelihood"] for x in (whole, again))
    assert float(found["mean"]) == pytest.approx(float(expected["mean"]), abs=1e-7)


@pytest.mark.slow
def test_a_climb_has_converged_where_nothing_that_matters_is_left():
    """What is left to gain is measured against where it ends; a gradient of 1e-10 is not asked for."""
    rows = np.repeat(pmr.datasets.bars_and_stripes(3).values, 50, axis=0)
    likelihoods, left, converged, gradients = [], [], [], []
    with model_of(rows, 6, 1.0):
        for most in (5, 35, 60, 120, 180, 500):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = pmr.fit(**ASCENT | {"epochs": most})
            penalty = float((found["parameters"]["W"] ** 2).sum()) / 2 / len(rows)
            mean = float(pmr.log_likelihood(rows, found, **MUTED)["mean_log_likelihood"]["mean"])
            likelihoods.append(mean - penalty)
            for kept, key in ((left, "left_to_gain"), (converged, "converged"), (gradients, "largest_gradient")):
                kept.append(found.attrs[key])
    missing, converged = likelihoods[-1] - np.array(likelihoods), np.array(converged, bool)
    error = (6 * 9 + 6 + 9) / 2 / len(rows)
    assert (missing[converged] < 0.1 * error).all()
    assert (missing[:3] > error).all()
    assert not converged[:3].any()
    assert np.isnan(left[0])  # its memory was not full
    assert (converged & (np.array(gradients) > 1e-9)).any()


def test_it_can_be_stopped():
    with model_of(rows_of("bernoulli"), 2, 2.0):
        stopped = pmr.fit(**ASCENT, on_epoch=lambda status: status.epoch >= 3)
    assert (stopped.attrs["stopped"], stopped.attrs["epochs_done"]) == (1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pcd"}, "'lbfgs', which needs method='exact'; got 'lbfgs' with method 'persistent'"),
        ({"optimizer": "adam"}, "one of PyMC's, such as pm.adam, or 'lbfgs'"),
        ({"learning_rate": 0.1}, "leave learning_rate out"),
    ],
)
def test_refusals(options, message):
    with model_of(rows_of("bernoulli"), 2, 2.0), pytest.raises(ValueError, match=message):
        pmr.fit(**ASCENT | options)


@pytest.mark.filterwarnings("ignore:L-BFGS did not")
def test_newtons_method_has_a_budget(monkeypatch):
    """Where it never arrives, as where weights grow without end, it ends nevertheless."""

    def endless(slope, x, **_):
        for _ in range(2 * lbfgs.EVALUATIONS):
            slope(x)
        pytest.fail("Newton's method went on.")

    monkeypatch.setattr(scipy.optimize, "newton_krylov", endless)
    monkeypatch.setattr(lbfgs, "TOLERANCES", {"float64": 0.0})
    rows = np.random.default_rng(0).integers(0, 2, (20, 3))
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(3, 2)), pm.Flat("b", shape=3), pm.Flat("c", shape=2), observed=rows)
        learned = pmr.fit(**QUIET)
    assert learned.attrs["largest_gradient"] < 1e-5
