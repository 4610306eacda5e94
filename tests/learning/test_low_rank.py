"""The low-rank start: the exact maximum along the data's directions, exact draws, and what learning makes of it."""

import tracemalloc

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from models import groups, likelihood_of, model_of
from options import MUTED, QUIET

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.directions import leading
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.learning.low_rank import WIDTH, asked_for, climbed, low_rank_machines
from pymc_rbm.machine.machine import restricted
from pymc_rbm.machine.records import recorded_machine
from pymc_rbm.partition.along import along
from pymc_rbm.sampling.bottom import exact_draws, exact_log_z_of
from pymc_rbm.sampling.ladder import Ladder, bottom

pytestmark = pytest.mark.interpreted
MOST = 4.5
"""In standard errors."""
EARLY = pytest.mark.filterwarnings("ignore:Learning ended after")
UNITS = pmr.Bernoulli(), pmr.Spin()


def correlated(rows=400, seed=0):
    """Rows of six units with two hidden causes."""
    rng = np.random.default_rng(seed)
    causes = rng.random((rows, 2)) < (0.3, 0.6)
    return (np.repeat(causes, 3, axis=1) ^ (rng.random((rows, 6)) < 0.15)).astype("int8")


def of_rows(rows, units, **options):
    model = model_of(rows, units, 1.0, **options)
    return low_rank_machines(model, observed_machines(model))["v"]


# --------------------------------------------------------------------------------------------------- the maximum


def gradient_by_enumeration(rows, W, b, c):
    """That of the mean log-likelihood by W, b and c, by plain sums over all states of a tiny machine."""
    vh, v, h = ref.moments(W, b, c)
    on = 1 / (1 + np.exp(-(c + rows @ W)))
    return rows.T @ on / len(rows) - vh, rows.mean(0) - v, on.mean(0) - h


def test_it_is_the_maximum_in_the_span_of_the_leading_directions(monkeypatch):
    """Moments of the machine by enumeration are those of the data along the span, but for the prior."""
    for key, value in (("CHANGE", 0), ("ITERATIONS", 1000)):  # to the last digit
        monkeypatch.setattr(f"pymc_rbm.learning.low_rank.{key}", value)
    rows = correlated()
    k, counted = 2, 400.0
    W, b, c = climbed(rows.astype(float), k, counted)
    directions = leading(rows.astype(float), k)[1]
    rows = np.vstack([rows, np.full(6, 0.5)])  # that one row which keeps means from being certain
    assert np.linalg.matrix_rank(np.hstack([directions, W]), tol=1e-8) == k
    of_W, of_b, of_c = gradient_by_enumeration(rows, W, b, c)
    prior = W / WIDTH**2 / counted
    assert abs(of_b).max() < 1e-4
    assert abs(of_c).max() < 1e-4
    assert abs(directions.T @ (of_W - prior)).max() < 1e-4
    assert abs(directions.T @ gradient_by_enumeration(rows, 1.05 * W, b, c)[0]).max() > 5e-3  # it is seen


def test_it_is_much_better_than_independent_units_and_close_to_the_truth():
    rows, which, centres = groups()
    machine = of_rows(rows, 4)
    shares = np.bincount(which) / len(which)
    near = np.array([np.where(rows == x, 0.95, 0.05).prod(1) for x in centres])
    truth = np.log(shares @ near).mean()
    b, c, W = machine.parameters
    found = float(-pmr.free_energy(rows, W, b, c).mean() - pmr.log_partition(machine).estimate)
    mean = rows.mean(0)
    alone = (rows @ np.log(mean / (1 - mean)) + np.log(1 - mean).sum()).mean()
    assert alone < truth - 10
    assert abs(found - truth) < 0.15


@pytest.mark.parametrize("visible", UNITS)
@pytest.mark.parametrize("hidden", UNITS)
def test_units_do_not_matter(visible, hidden):
    """Spins are 2·Bernoulli - 1: the density of all rows is the same, by enumeration."""
    rows = correlated()
    spins = 2 * rows - 1 if isinstance(visible, pmr.Spin) else rows
    machine, plain = of_rows(spins, 2, visible=visible, hidden=hidden), of_rows(rows, 2)

    def log_p(machine, rows):
        values = np.array([ref.log_weight(machine, v) for v in np.unique(rows, axis=0)])
        return values - values.mean()

    assert np.allclose(log_p(machine, spins), log_p(plain, rows), atol=1e-8)
    assert plain.couplings[0].weights.any(0).all()


def test_rows_count_as_often_as_they_stand_there():
    rows, rng = correlated(), np.random.default_rng(0)
    weights = rng.integers(0, 4, len(rows))
    model = model_of(rows, 3, 1.0)
    weighted = low_rank_machines(model, observed_machines(model, weights))["v"]
    repeated = of_rows(np.repeat(rows, weights, axis=0), 3)
    probability = [np.exp(ref.log_p(W, b, c)) for b, c, W in (weighted.parameters, repeated.parameters)]
    assert abs(probability[0] - probability[1]).max() < 2e-3
    unweighted = np.exp(ref.log_p(*(of_rows(rows, 3).parameters[i] for i in (2, 0, 1))))
    assert abs(unweighted - probability[1]).max() > 5e-3


@pytest.mark.parametrize("rows", [np.ones((1, 5), "int8"), np.ones((7, 5), "int8"), np.eye(1, dtype="int8")])
def test_nothing_to_tell_apart(rows):
    machine = of_rows(rows, 3)
    assert not machine.couplings[0].weights.any()
    assert all(np.isfinite(p).all() for p in machine.parameters)
    assert exact_draws(machine, 5, np.random.default_rng(0)) is None


def test_missing_entries_stand_at_their_means():
    rows = correlated()
    masked = np.ma.masked_array(rows, np.random.default_rng(1).random(rows.shape) < 0.05)
    with pytest.warns(pm.exceptions.ImputationWarning):
        machine = of_rows(masked, 3)
    assert abs(np.exp(ref.log_p(*(machine.parameters[i] for i in (2, 0, 1)))).sum() - 1) < 1e-9
    assert machine.couplings[0].weights.any()


def test_wide_data_need_no_matrix_of_columns_by_columns():
    columns = 4000
    rows = groups(columns, 200)[0]
    model = model_of(rows, 10, 1.0)
    observed = observed_machines(model)
    tracemalloc.start()
    machine = low_rank_machines(model, observed)["v"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < columns**2 * 8 / 2
    assert machine.couplings[0].weights.any(0).sum() >= 2


# ------------------------------------------------------------------------------------------------- bottoms of ladders


def with_idle_units(idle=2, visible=None, hidden=None):
    rng = np.random.default_rng(4)
    W = np.hstack([rng.normal(0, 1.5, (5, 3)), np.zeros((5, idle))])
    return restricted(W, rng.normal(size=5), rng.normal(size=3 + idle), visible, hidden)


@pytest.mark.parametrize("visible", UNITS)
@pytest.mark.parametrize("hidden", UNITS)
def test_log_z_and_draws_of_a_bottom(visible, hidden):
    machine, draws = with_idle_units(visible=visible, hidden=hidden), 40_000
    low = min(visible.states)
    states = np.array([[low if x == 0 else 1 for x in s] for s in ref.states(5)])
    log_weights = np.array([ref.log_weight(machine, v) for v in states])
    assert np.isclose(exact_log_z_of(machine), np.logaddexp.reduce(log_weights), atol=1e-10)
    p = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    drawn = exact_draws(machine, draws, np.random.default_rng(1))

    def worst(drawn):
        counts = np.array([(drawn == v).all(1).sum() for v in states])
        return abs((counts - draws * p) / np.sqrt(draws * p * (1 - p))).max()

    assert worst(drawn) < MOST
    other = machine.with_parameters([*machine.parameters[:2], 0.8 * machine.parameters[2]])
    assert worst(exact_draws(other, draws, np.random.default_rng(1))) > 2 * MOST


def test_log_z_along_a_ladder_with_such_a_bottom():
    rng, machine = np.random.default_rng(0), with_idle_units()
    top = machine.with_parameters([p + rng.normal(0, 0.5, p.shape) for p in machine.parameters])
    ladder = Ladder([bottom(machine, 200, rng)])
    ladder.reach(top, rng)
    found = along(ladder, 100, rng)
    b, c, W = top.parameters
    assert abs(found.estimate - ref.log_z(W, b, c)) < MOST * found.standard_error
    assert found.standard_error < 0.05


# -------------------------------------------------------------------------------------------------------- learning


@EARLY
@pytest.mark.parametrize("method", [None, "pcd"])
def test_learning_starts_at_the_machine_with_draws_of_it(method):
    rows, which, centres = groups()
    model = model_of(rows, 12, 1.0)
    with model:
        learned = pmr.fit(
            1, method=method, start="low rank", sweeps=1, batch_size=None, learning_rate=1e-9, chains=400, **QUIET
        )
    machine = low_rank_machines(model, observed_machines(model))["v"]
    on = machine.couplings[0].weights.any(0)
    assert 2 <= on.sum() < 12
    now = recorded_machine(learned)
    assert np.allclose(now.couplings[0].weights[:, on], machine.couplings[0].weights[:, on], atol=1e-5)
    assert abs(now.couplings[0].weights[:, ~on]).max() < 0.1
    assert learned.attrs["start"] == "low rank"
    assert learned.attrs["method"] == ("trajectory_tempered" if method is None else "persistent")
    particles = learned["particle_states"]["v"].values
    near = np.argmin([(particles != x).sum(1) for x in centres], axis=0)
    shares, p = np.bincount(near, minlength=3) / 400, np.bincount(which) / len(which)
    assert (abs(shares - p) < MOST * np.sqrt(p * (1 - p) / 400)).all()
    assert (np.min([(particles != x).sum(1) for x in centres], axis=0) < 15).all()  # particles are in clusters


@EARLY
@pytest.mark.slow
def test_it_learns_more_than_from_independent_units_and_modes_keep_their_weights():
    rows, which, centres = groups()
    model, found = model_of(rows, 8, 1.0), {}
    for name, start in {"low rank": None, "independent": {}}.items():  # three clusters: the first is the default
        with model:
            found[name] = pmr.fit(10, method="ptt", start=start, learning_rate=0.02, **QUIET)
        assert ("start" in found[name].attrs) == (name == "low rank")
    values = [likelihood_of(model, learned, rows) for learned in found.values()]
    assert values[0] > values[1] + 1
    averaged = recorded_machine(pmr.averaged(found["low rank"])).numeric()
    drawn = exact_draws(averaged, 20_000, np.random.default_rng(0))
    near = np.argmin([(drawn != x).sum(1) for x in centres], axis=0)
    p = np.bincount(which) / len(which)
    assert (abs(np.bincount(near) / len(near) - p) < MOST * np.sqrt(p * (1 - p) / 400)).all()


@EARLY
@pytest.mark.slow
def test_same_seed_same_draws_and_resume_and_a_checkpoint_go_on_bit_for_bit(tmp_path):
    rows = groups(12, 300)[0]
    options = {"method": "ptt", "horizon": 6, "chains": 20} | MUTED

    def fitted(epochs, **more):
        with model_of(rows, 14, 1.0):
            return pmr.fit(epochs, **options | more)

    whole = fitted(6, start="low rank", random_seed=3)
    fitted(3, start="low rank", random_seed=3, checkpoint=tmp_path / "part.nc", checkpoint_every=3)
    again = fitted(3, resume=xr.open_datatree(tmp_path / "part.nc").load())
    assert again.attrs["start"] == "low rank"
    assert again["parameters"].dataset.equals(whole["parameters"].dataset)
    assert again["ladder"].dataset.equals(whole["ladder"].dataset)
    other = fitted(6, start="low rank", random_seed=4)
    assert not other["parameters"].dataset.equals(whole["parameters"].dataset)


class ChosenError(Exception):
    """What `fit` is about to do."""


@pytest.fixture
def chosen(monkeypatch):
    """The method and whether learning starts from a low-rank machine, of a call of `fit` that does nothing else."""

    def learner(model, observed, settings, start, rng, low_rank):
        raise ChosenError(settings.method.__name__, bool(low_rank))

    def of(shares=(0.5, 0.3, 0.2), hidden=16, **options):
        with model_of(groups(shares=shares)[0], hidden, 1.0), pytest.raises(ChosenError) as caught:
            pmr.fit(**options, **QUIET)
        return caught.value.args

    monkeypatch.setattr("pymc_rbm.learning.fit.Learner", learner)
    return of


def test_its_method_unless_told_otherwise(chosen):
    assert chosen(start="low rank") == ("trajectory_tempered", True)
    assert chosen(start="low rank", method="pt") == ("tempered", True)
    assert chosen(start="low rank", shares=(1.0,)) == ("persistent", True)  # nothing is strongly correlated
    assert chosen(hidden=24) == ("trajectory_tempered", True)  # three groups
    assert chosen(hidden=24, start={}) == ("tempered", False)
    assert chosen(hidden=24, shares=(0.6, 0.4)) == ("tempered", False)
    assert chosen() == ("exact", False)  # log Z is summed


def test_a_run_goes_on_as_it_began(chosen):
    before = xr.DataTree.from_dict({"state": xr.Dataset(), "learning": xr.Dataset()})
    before.attrs = {"method": "tempered", "epochs_done": 1}
    assert chosen(resume=before) == chosen(resume=before, start="low rank") == ("tempered", False)
    before.attrs = {"method": "trajectory_tempered", "epochs_done": 1, "start": "low rank"}
    assert chosen(resume=before) == ("trajectory_tempered", False)  # its machine is in the state


def refused(rows, W=None, b=None, c=None, **options):
    n = rows.shape[1]
    with pm.Model() as model:
        W = pm.Flat("W", shape=(n, 3)) if W is None else W()
        b = pm.Flat("b", shape=n) if b is None else b()
        pmr.RBM("v", W, b, pm.Flat("c", shape=3) if c is None else c(), observed=rows, **options)
    return model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"visible": pmr.Gaussian(1.0)}, "has layers of .*Gaussian"),
        ({"hidden": pmr.Categorical(3)}, "has layers of .*Categorical"),
        ({"W": lambda: 2 * pm.Normal("W", 0, 1, shape=(6, 3))}, "expression, fixed, or transformed"),
        ({"W": lambda: pm.HalfNormal("W", 1, shape=(6, 3))}, "expression, fixed, or transformed"),
        ({"b": lambda: np.zeros(6)}, "expression, fixed, or transformed"),
        ({"b": lambda: np.ones((400, 1)) * pm.Flat("b", shape=6)}, "differ by row"),
    ],
)
def test_refuses_what_it_is_not_for(change, said):
    with (
        refused(correlated(), **change),
        pytest.raises(ValueError, match=rf"(?s)start='low rank' needs RBMs.*{said}.*Leave start out"),
    ):
        pmr.fit(1, start="low rank", **QUIET)


def test_refuses_other_machines_and_other_names():
    with pm.Model():
        pmr.BoltzmannMachine("v", np.zeros((6, 6)), pm.Flat("b", shape=6), observed=correlated())
        with pytest.raises(ValueError, match="'v' has layers of"):
            pmr.fit(1, start="low rank", **QUIET)
    with model_of(correlated()), pytest.raises(ValueError, match="or 'low rank', got 'high rank'"):
        pmr.fit(1, start="high rank", **QUIET)


def test_a_ladder_stands_on_it_where_data_are_correlated_in_more_than_one_direction():
    three = groups()[0]
    rng = np.random.default_rng(1)
    two = ((rng.random((500, 1)) < 0.5) ^ (rng.random((500, 40)) < 0.05)).astype("int8")

    def stands(rows, start=None, method=trajectory_tempered, b=None):
        with model_of(rows, 4, 1.0) as model:
            if b is not None:
                pmr.RBM("w", pm.Normal("W_w", shape=(rows.shape[1], 4)), b, np.zeros(4), observed=rows)
        return asked_for(model, observed_machines(model), start, method, None)

    assert stands(three)
    assert not stands(two)
    assert not stands(three, start={})
    assert not stands(three, method=None)
    assert not stands(three, b=np.zeros(three.shape[1]))  # learns no biases


def test_what_cannot_be_enumerated_is_not_drawn_exactly():
    machine = restricted(np.ones((30, 17)), np.zeros(30), np.zeros(17))
    with pytest.raises(ValueError, match="17 hidden units have weights"):
        exact_draws(machine, 5, np.random.default_rng(0))
