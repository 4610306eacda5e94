"""Machines that are grown: hidden units come one after the other, and the exact objective is climbed each time."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
from models import model_of
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.growing import MOST_UNITS, Growing, can_grow

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
