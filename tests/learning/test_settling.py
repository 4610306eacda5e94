"""The end of learning where nobody says how long: the measure that it rests on, and the rule."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference as ref
from models import likelihood_of, model_of
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.learning.choices import MOST_UPDATES, UPDATES
from pymc_rbm.learning.independence import sampled_gain
from pymc_rbm.learning.settling import Look, Settling, gain, quarters

N, M = 6, 3
STATES = np.array(ref.states(N), dtype="int8")


@pytest.mark.interpreted
@pytest.mark.parametrize("in_chains", [False, True])
def test_gain_against_enumeration(in_chains):
    """The error is the spread of the estimates, and particles that stayed with the first machine are noticed."""
    first, second = ref.machine(N, M, seed=1, scale=0.5), ref.machine(N, M, seed=2, scale=0.5)
    logs = [np.array(ref.log_p(*x)) for x in (first, second)]
    rng = np.random.default_rng(3)
    rows = rng.integers(0, len(STATES), 50)
    weights = rng.uniform(0.5, 2, 50)
    exact = np.average((logs[1] - logs[0])[rows], weights=weights)
    machines = [pmr.restricted(*x) for x in (first, second)]
    looks = [Look({"v": machine}, {"v": STATES[:2]}) for machine in machines]  # what lags does not matter
    [(value, error)] = gain(*looks, {"v": STATES[rows]}, {"v": weights}, exact=True)
    assert value == pytest.approx(exact, abs=1e-12)
    assert error == 0
    errors, said, lagging = [], [], []
    for _ in range(200):
        draws = [STATES[rng.choice(len(STATES), 100, p=np.exp(x))] for x in logs]
        if in_chains:  # of one machine 300 draws of each chain, always three in a row the same, of the other 150
            more = [STATES[rng.choice(len(STATES), (100, 100), p=np.exp(x))] for x in logs]
            draws = [np.repeat(more[0], 3, axis=0), np.repeat(more[1][:50], 3, axis=0)]
        for found, order in ((errors, (0, 1)), (lagging, (0, 0))):
            looks = [Look({"v": machine}, {"v": draws[i]}) for machine, i in zip(machines, order, strict=True)]
            [(value, error)] = gain(*looks, {"v": STATES[rows]}, {"v": weights})
            found.append(value - exact)
            if order == (0, 1):
                said.append(error)
    spread = np.std(errors)
    assert abs(np.mean(errors)) < 4 * spread / np.sqrt(200)
    assert abs(spread / np.mean(said) - 1) < 4 / np.sqrt(400)  # a standard deviation of 200 values
    assert abs(np.mean(lagging)) > 10 * np.std(lagging) / np.sqrt(200)


class Climbing:
    """What stands for a learner here: machines that rise until they are at their data's, with exact particles."""

    def __init__(self, steps):
        self.target, self.steps, self.done = ref.machine(N, M, seed=4, scale=1.0), steps, 0
        self.rng = np.random.default_rng(5)
        rows = STATES[self.rng.choice(len(STATES), 400, p=np.exp(ref.log_p(*self.target)))]
        self.observed = [SimpleNamespace(name="v", weights=np.ones(400), kept=np.arange(400))]
        self.some_rows, self.statistical_error = (lambda: {"v": rows}), (N * M + N + M) / 800

    def _now(self):
        share = min(1.0, self.done / self.steps)
        return tuple(share * x for x in self.target)

    def parameters(self, averaged):
        return {}, {"v": pmr.restricted(*self._now())}

    def particle_states(self):
        p = np.exp(ref.log_p(*self._now()))
        return {"v": STATES[self.rng.choice(len(STATES), 400, p=p)].astype("int8")}

    def draws(self, n, sweeps, averaged):
        assert sweeps == 7
        return {"v": np.array([self.particle_states()["v"] for _ in range(n)])}


def passed(done, horizon):
    """How many of the first two quarters are over."""
    return sum(done >= n for n in quarters(horizon))


@pytest.mark.interpreted
@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize(("steps", "expected"), [(1, 100), (50, 200), (2000, 400)])
def test_the_horizon_doubles_while_it_rises(steps, expected, steady):
    learner, horizon, done = Climbing(steps), 100, 0
    settling = Settling(learner, 400, asked=False, steady=steady)
    while done < horizon:
        done += 1
        learner.done = done
        before, horizon = horizon, settling.horizon(passed(done, horizon), horizon, 50 * done, 7)
        assert horizon == before or done == before // 2  # only where the rate has not fallen yet
    assert horizon == expected
    assert settling.rising == (steps > 200)
    assert settling.gain[1] < (0.02 if steady else 0.1)


@pytest.mark.interpreted
@pytest.mark.parametrize(("steps", "unfinished"), [(1, False), (50, True)])
def test_an_horizon_that_was_asked_for_stays(steps, unfinished):
    learner = Climbing(steps)
    settling = Settling(learner, 100, asked=True, steady=True)
    for done in range(1, 101):
        learner.done = done
        assert settling.horizon(passed(done, 100), 100, 50 * done, 7) == 100
    assert settling.unfinished == unfinished


class Between(Climbing):
    """A learner at ``here``, with an average at ``average``: shares of the way to the machine of its data."""

    def __init__(self, here, average):
        super().__init__(1)
        self.done, self.average, self.moved = here, average, []

    def parameters(self, averaged):
        here, self.done = self.done, self.average if averaged else self.done
        try:
            return super().parameters(averaged)
        finally:
            self.done = here

    def draws(self, n, sweeps, averaged):
        here, self.done = self.done, self.average if averaged else self.done
        try:
            return super().draws(n, sweeps, averaged)
        finally:
            self.done = here

    def go_to_the_average(self, n, sweeps):
        self.moved.append((n, sweeps))


@pytest.mark.interpreted
@pytest.mark.parametrize(("here", "average", "expected"), [(0.5, 0.9, True), (0.9, 0.5, False), (0.9, 0.9, True)])
def test_the_better_of_last_and_average(here, average, expected):
    learner = Between(here, average)
    settling = Settling(learner, 100, asked=False, steady=True)
    assert settling.take_the_better(5000, 7) == expected
    assert learner.moved == [(50, 7)] * expected
    assert not settling.take_the_better(150, 7)  # too short for draws
    assert not Settling(learner, 100, asked=False, steady=False).take_the_better(5000, 7)


def test_a_look_changes_nothing():
    """Learning goes on bit for bit from where it was, whatever was drawn for a look."""
    model, options = model_of(survey(), 3), {"method": "pcd", **QUIET}
    learned = pmr.fit(400, model=model, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pymc_rbm.learning.settling.MOST_DRAWS", 3)
        other = pmr.fit(400, model=model, **options)
    for key in ("learning", "particles"):
        assert learned[key].to_dataset().drop_attrs().equals(other[key].to_dataset().drop_attrs())
    assert learned.attrs["iterate"] in ("average", "last")
    key = "averaged_parameters" if learned.attrs["iterate"] == "average" else "parameters"
    for x, value in learned["parameters"].data_vars.items():
        np.testing.assert_array_equal(value, learned[key][x])


@pytest.mark.interpreted
def test_gain_over_independent_units_against_enumeration():
    """By particles, with missing entries; the error is the spread of the estimates."""
    machine, rng = ref.machine(N, M, seed=2, scale=0.7), np.random.default_rng(6)
    p = np.exp(ref.log_p(*machine))
    rows, weights = STATES[rng.choice(len(STATES), 300, p=p)], rng.uniform(0.5, 2, 300)
    missing = rng.random(rows.shape) < 0.05
    rows = np.where(missing, 0, rows)
    mean = (weights @ rows + 5e-4) / (weights @ ~missing + 1e-3)
    whole = ~missing.any(1)
    logs = np.array(ref.log_p(*machine))[ref.index(rows)]
    alone = (rows * np.log(mean) + (1 - rows) * np.log1p(-mean)).sum(1)
    exact = np.average((logs - alone)[whole], weights=weights[whole])
    x = SimpleNamespace(rows=rows, weights=weights, missing=missing, judged=np.arange(300))
    found = [sampled_gain(pmr.restricted(*machine), x, STATES[rng.choice(len(STATES), 200, p=p)]) for _ in range(200)]
    values, said = np.transpose(found)
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(200) + np.mean(said**2) / 2  # and its known bias
    assert abs(values.std() / said.mean() - 1) < 4 / np.sqrt(400)


def survey():
    rng = np.random.default_rng(0)
    trait = rng.normal(size=(300, 2)) @ (1.5 * rng.normal(size=(2, 12)))
    return (rng.random((300, 12)) < 1 / (1 + np.exp(0.3 - trait))).astype("int8")


@pytest.mark.slow
@pytest.mark.filterwarnings("error:Learning ended", "error:What was learned of")
def test_learning_that_was_asked_to_be_short_says_so():
    """After some updates nothing, after some more not all is learned; after many nothing has to be said."""
    model, options = model_of(survey(), 3), {"learning_rate": 0.1, "method": "pcd", **QUIET}
    with pytest.warns(UserWarning, match=r"hardly better than independent units: by .* ± .*, after 15 updates"):
        pmr.fit(5, model=model, **options)
    with pytest.warns(UserWarning, match=r"ended after 400 epochs, as asked for.*rose by .*or leave epochs out"):
        pmr.fit(400, model=model, **options)
    pmr.fit(8000, model=model, **options)


def test_more_epochs_never_give_less():
    """A number of epochs bounds the exact climb, and does not put another method in its place."""
    rows = pmr.datasets.bars_and_stripes(3).values
    model = model_of(np.repeat(rows, 5, axis=0), 3, 1.0)
    plain = pmr.fit(model=model, **QUIET)
    bounded = pmr.fit(200, model=model, **QUIET)
    assert plain.attrs["method"] == bounded.attrs["method"] == "exact"
    np.testing.assert_array_equal(plain["parameters"]["W"], bounded["parameters"]["W"])
    with pytest.warns(UserWarning, match="did not reach the maximum in 2 iterations"):
        pmr.fit(2, model=model, **QUIET)


def test_an_exact_climb_is_resumed_as_one():
    """Nothing else is said the second time either: the method is that of the run."""
    model = model_of(np.repeat(pmr.datasets.bars_and_stripes(3).values, 5, axis=0), 3, 1.0)
    first = pmr.fit(model=model, on_epoch=lambda status: status.epoch == 5, **QUIET)
    again = pmr.fit(model=model, resume=first, **QUIET)
    assert again.attrs["method"] == "exact"
    assert again.attrs["converged"] == 1
    assert again.attrs["epochs_done"] > first.attrs["epochs_done"] == 5


@pytest.mark.slow
def test_a_run_that_was_left_ends_by_its_own_judgement(monkeypatch):
    """The rate, the looks and the choice of the iterate are those of a run that nobody left."""
    monkeypatch.setattr("pymc_rbm.learning.choices.UPDATES", 1000)
    model, ends = model_of(survey()[:100], 3), {"method": "pcd", **QUIET}
    first = pmr.fit(model=model, on_epoch=lambda status: status.epoch == 20, **ends)
    again, whole = (pmr.fit(model=model, resume=x, **ends) for x in (first, None))
    assert whole.attrs["iterate"] == again.attrs["iterate"] in ("average", "last")
    assert np.isfinite(again.attrs["average_gain"])
    np.testing.assert_array_equal(again["learning"]["learning_rate"][:50], whole["learning"]["learning_rate"][:50])


@pytest.mark.slow
def test_plain_learning_of_bars_and_stripes():
    """30 rows of 16 pixels: 50 epochs of one batch, the default of old, ended at independent units, -11.09 nats."""
    rows = pmr.datasets.bars_and_stripes(4).values
    model = model_of(rows, 16)
    exact, chains = pmr.fit(model=model, **QUIET), pmr.fit(model=model, method="pcd", **QUIET)
    assert exact.attrs["method"] == "exact" and exact.attrs["converged"] == 1
    assert chains.attrs["iterate"] == "average"
    assert chains.attrs["average_gain"] > -2 * chains.attrs["average_gain_error"]
    assert UPDATES <= chains["learning"].sizes["iteration"] <= MOST_UPDATES
    for learned, least in ((exact, 0.001), (chains, 0.1)):  # no machine is better than the rows' own distribution
        assert -np.log(30) - least < likelihood_of(model, learned, rows) <= -np.log(30)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Data in v contains missing values")
def test_plain_learning_with_a_missing_entry():
    """One missing entry of 3,600 must not cost what is learned of all others, by whichever method."""
    rows = survey()
    masked = np.ma.masked_array(rows, np.zeros(rows.shape, bool))
    masked[0, 0] = np.ma.masked
    whole, part = (model_of(x, 5, 1.0) for x in (rows, masked))
    best = likelihood_of(whole, pmr.fit(model=whole, **QUIET), rows[1:])
    climbed, chains = pmr.fit(model=part, **QUIET), pmr.fit(model=part, method="pcd", **QUIET)
    assert [x.attrs["method"] for x in (climbed, chains)] == ["exact", "persistent"]
    independent = np.mean(rows, axis=0)
    alone = (independent * np.log(independent) + (1 - independent) * np.log(1 - independent)).sum()
    assert best > alone + 0.5
    for learned, least in ((climbed, 0.01), (chains, 0.15)):
        assert abs(likelihood_of(part, learned, rows[1:]) - best) < least
