"""Machines that are grown: hidden units come one after the other, and the exact objective is climbed each time."""

import signal

import numpy as np
import pymc as pm
import pytest
import reference as ref
from models import model_of
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.growing import MOST_UNITS, Growing, alike, can_grow
from pymc_rbm.learning.restarts import CLOSE

LINES = pmr.datasets.bars_and_stripes(4).values
BOUND = -np.log(len(LINES))


def likelihood(learned, rows):
    W, b, c = (learned["parameters"][x].values for x in "Wbc")
    log_z = np.logaddexp.reduce(-pmr.free_energy(np.array(ref.states(rows.shape[1])), W, b, c))
    return float(-pmr.free_energy(rows, W, b, c).mean() - log_z)


def clusters(seed=0):
    """Rows of 18 bits around 30 centres of unequal weight: more than the hidden units, so that these must be shared."""
    rng = np.random.default_rng(seed)
    centres, shares = rng.integers(0, 2, (30, 18)), rng.dirichlet(np.ones(30))
    rows = centres[rng.choice(30, 600, p=shares)]
    return rows ^ (rng.random(rows.shape) < 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_plain_learning_reaches_the_bound(seed):
    """30 patterns, 16 hidden units: no machine is better than the rows' own distribution, and this one is as good."""
    learned = pmr.fit(model=model_of(LINES, 16), progressbar=False, random_seed=seed)
    assert BOUND - 1e-3 < likelihood(learned, LINES) <= BOUND
    assert learned.attrs["method"] == "exact" and learned.attrs["converged"] == 1


@pytest.mark.slow
def test_growing_ends_higher_than_a_climb_of_all_units_at_once():
    """Of three seeds all; without it the same call climbs from small weights of all units."""
    rows = clusters()
    gains = []
    for seed in range(3):
        grown = pmr.fit(model=model_of(rows, 8), progressbar=False, random_seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pymc_rbm.learning.fit.can_grow", lambda *_: False)
            at_once = pmr.fit(model=model_of(rows, 8), progressbar=False, random_seed=seed)
        assert at_once.attrs["method"] == "exact" and "growing_seed" not in at_once.attrs
        gains.append(likelihood(grown, rows) - likelihood(at_once, rows))
    assert min(gains) > 0.05, gains  # nats a row


def stopped_after(units, **options):
    return pmr.fit(on_epoch=lambda status: status.epoch == units, **options, progressbar=False)


def test_units_come_one_after_the_other_and_a_run_that_was_left_goes_on():
    """After k epochs there are k units with weights; resumed growth is to the bit that of a run that nobody left."""
    model = model_of(LINES, 7, 1.0)
    left, whole = (stopped_after(n, model=model, random_seed=3) for n in (3, 7))
    assert np.flatnonzero(left["parameters"]["W"].values.any(0)).tolist() == [0, 1, 2]
    assert (left["parameters"]["c"].values[3:] == 0).all()
    assert left.attrs["converged"] == 0
    again = stopped_after(7, model=model, resume=left)
    for x in "Wbc":
        np.testing.assert_array_equal(again["parameters"][x], whole["parameters"][x])


@pytest.fixture
def never_alike(monkeypatch):
    monkeypatch.setattr("pymc_rbm.learning.growing.alike", lambda ends: False)


def objective(learned):
    """By an enumeration, with the standard normal prior on W."""
    W = learned["parameters"]["W"].values
    return likelihood(learned, LINES) - ((W**2).sum() / 2 + W.size * np.log(2 * np.pi) / 2) / len(LINES)


def test_the_best_of_several_machines_is_kept(never_alike):
    """One is grown an epoch after the first, none of them is lost when learning is resumed."""
    model = model_of(LINES, 3, 1.0)
    left, whole = (stopped_after(n, model=model, random_seed=4) for n in (4, 6))
    assert [len(x.attrs["growing_ends"]) for x in (left, whole)] == [3, 5]
    for x in (left, whole):
        assert objective(x) == pytest.approx(max(x.attrs["growing_ends"]), abs=CLOSE)
    again = stopped_after(6, model=model, resume=left)
    assert again.attrs["growing_ends"] == whole.attrs["growing_ends"]
    for x in "Wbc":
        np.testing.assert_array_equal(again["parameters"][x], whole["parameters"][x])


def test_a_unit_that_gains_nothing_ends_growth_after_a_resume_too():
    """Rows without structure, and a tight prior: a unit gains nothing, and the others come at small weights."""
    model = model_of(np.random.default_rng(0).integers(0, 2, (80, 5)), 5, 0.3)
    left, whole = (stopped_after(n, model=model, random_seed=3) for n in (1, 2))
    assert whole["parameters"]["W"].values.any(0).all()
    again = stopped_after(2, model=model, resume=left)
    for x in "Wbc":
        np.testing.assert_array_equal(again["parameters"][x], whole["parameters"][x])


def test_time_that_is_over_while_machines_grow_is_told():
    with pytest.warns(UserWarning, match="seconds"):
        learned = pmr.fit(model=model_of(LINES, 12, 1.0), seconds=0.05, **QUIET)
    assert learned.attrs["spent"] == "0.05 seconds"


@pytest.mark.filterwarnings("ignore:Learning was interrupted")
def test_what_is_interrupted_leaves_the_best(never_alike, monkeypatch):
    real = Growing._best

    def pressed(self, point, unit, rng):
        if len(self.ends) == 2 and unit == 1:
            signal.raise_signal(signal.SIGINT)
        return real(self, point, unit, rng)

    monkeypatch.setattr(Growing, "_best", pressed)
    learned = pmr.fit(model=model_of(LINES, 3, 1.0), progressbar=False, random_seed=4)
    assert learned.attrs["interrupted"] == 1
    assert len(learned.attrs["growing_ends"]) == 2
    assert objective(learned) == pytest.approx(max(learned.attrs["growing_ends"]), abs=CLOSE)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([], False),
        ([-4.0], False),
        ([-4.0, -3.97], True),
        ([-4.0, -3.9], False),
        ([-9.0, -4.0, -3.97], True),
        ([-9.0, -4.3, -4.0, -3.97], False),  # a tenth of what they are apart
        ([-9.0, -4.3, -4.0, -3.99], True),
        ([-9.0, -5.0, -4.01, -3.93], False),
        ([-np.inf, -4.0], False),
    ],
)
def test_when_ends_are_alike(ends, expected):
    assert alike(ends) == expected


@pytest.mark.parametrize(
    ("ends", "verdict"), [([-6.0, -4.0, -3.98], "finished"), ([-6.0, -4.5, -4.2, -4.0, -4.4], "cannot tell")]
)
def test_diagnose_says_that_there_are_several_maxima(ends, verdict):
    learned = pmr.fit(model=model_of(LINES[:, :4], 2, 1.0), **QUIET)
    learned.attrs["growing_ends"] = ends
    found = pmr.diagnose(learned, **QUIET)
    assert found.learning == verdict
    assert ("of 5 climbs from different weights the second best ended 0.2, and the worst 2 nats" in str(found)) == (
        verdict == "cannot tell"
    )


def test_every_unit_raises_the_objective():
    """By the likelihood of an enumeration, less the prior, to the last digits of a climb."""
    model, values = model_of(LINES, 6, 1.0), []

    def note(status):
        learned = status.learned()
        prior = -(learned["parameters"]["W"].values ** 2).sum() / 2
        values.append(likelihood(learned, LINES) + prior / len(LINES))
        return status.epoch == 6

    pmr.fit(model=model, on_epoch=note, **QUIET)
    assert (np.diff(values) > -1e-6).all(), values
    assert values[-1] > values[0] + 0.5


@pytest.mark.filterwarnings("ignore:L-BFGS did not reach")
def test_what_does_not_move_stays():
    with model_of(LINES[:, :6], 3) as model:
        learned = {}

        def climb(growing, after_each):
            a = growing.ascent
            start = [np.ones_like(p.get_value()) for p in a.parameters]
            moving = [np.zeros(x.shape, bool) for x in start]
            moving[0][0] = True
            a.rough(start, moving)
            learned.update({p.name: p.get_value() for p in a.parameters}, first=a.parameters[0].name)
            return after_each() or True

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Growing, "__call__", climb)
            pmr.fit(model=model, **QUIET)
    first = learned.pop("first")
    assert (learned[first][0] != 1).any() and (learned[first][1:] == 1).all()
    assert all((x == 1).all() for name, x in learned.items() if name != first)


def test_units_that_help_only_together_are_learned_by_another_start():
    """Three bits of even parity: no single unit gains anything, and the machine stays at the start that was better."""
    rows = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]).repeat(50, axis=0)
    learned = pmr.fit(model=model_of(rows, 4, 3.0), **QUIET)
    assert likelihood(learned, rows) > -1.6  # independent units have -2.08, the rows -1.39


def made(W=None, c=None, hidden=6):
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(16, hidden)) if W is None else W()
        pmr.RBM("v", W, pm.Flat("b", shape=16), pm.Flat("c", shape=hidden) if c is None else c, observed=LINES)
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: made(), True),
        (lambda: made(hidden=MOST_UNITS), True),
        (lambda: made(hidden=MOST_UNITS + 1), False),
        (lambda: made(c=np.zeros(6)), False),
        (lambda: made(lambda: 2 * pm.Normal("half", 0, 1, shape=(16, 6))), False),
        (lambda: made(lambda: pm.HalfNormal("W", shape=(16, 6))), False),
    ],
)
def test_of_which_machines(model, expected):
    built = model()
    assert can_grow(built, observed_machines(built)) == expected
