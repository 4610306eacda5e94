"""Learning by chains that ends with an exact climb, of machines whose W is an expression and cannot be grown."""

import numpy as np
import pymc as pm
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.defaults import climbs_at_the_end
from pymc_rbm.learning.exact_sums import log_partition
from pymc_rbm.learning.goal import exact_log_z

ROWS = pmr.datasets.bars_and_stripes(4).values


def model(hidden=14, rows=ROWS, prior=lambda: 1.0):
    with pm.Model() as made:
        W = pm.Deterministic("W", pm.Normal("half", 0, prior() / 2, shape=(rows.shape[1], hidden)) * 2)
        pmr.RBM("v", W, pm.Flat("b", shape=rows.shape[1]), pm.Flat("c", shape=hidden), observed=rows)
    return made


def fit(*args, of=None, **options):
    return pmr.fit(*args, model=of or model(), progressbar=False, random_seed=1, **options)


def objective(learned, rows=ROWS):
    W, b, c = (learned["parameters"][x].values for x in "Wbc")
    log_z = np.logaddexp.reduce(-pmr.free_energy(np.array(ref.states(rows.shape[1])), W, b, c))
    return float(-pmr.free_energy(rows, W, b, c).mean() - log_z - (W**2).sum() / 2 / len(rows))


@pytest.fixture(scope="module")
def plain():
    return fit()


@pytest.mark.slow
def test_learning_by_chains_ends_at_a_maximum(plain):
    """The objective, by another sum over all states, does not rise in any of many directions."""
    assert plain.attrs["iterate"] == "climbed" and plain.attrs["converged"] and plain.attrs["climb_gain"] > 0
    assert plain.attrs["method"] == "persistent"
    here, rng, machine = objective(plain), np.random.default_rng(2), plain["parameters"]
    for _ in range(20):
        for size in (0.01, 0.1):
            moved = {x: machine[x] + size * rng.normal(size=machine[x].shape) for x in "Wbc"}
            assert objective({"parameters": moved}) < here
    assert abs(plain.attrs["left_to_gain"]) < 1e-3


@pytest.mark.slow
def test_the_climb_gains_what_it_says(plain):
    """Its start is the better of average and last iterate: what the same seed ends at without a climb."""
    unpolished = fit(method="pcd")
    gain = objective(plain) - objective(unpolished)
    assert unpolished.attrs["iterate"] != "climbed"
    np.testing.assert_allclose(plain.attrs["climb_gain"], gain, atol=0.2)


@pytest.mark.slow
def test_the_particles_follow(plain):
    """Their free energy is that of the machine, whose mean is exact, within five standard errors."""
    W, b, c = (plain["parameters"][x].values for x in "Wbc")
    F = pmr.free_energy(np.array(ref.states(16)), W, b, c)
    p = np.exp(-F - np.logaddexp.reduce(-F))
    mean, spread = p @ F, np.sqrt(p @ (F - p @ F) ** 2)
    particles = pmr.free_energy(plain["particle_states"]["v"].values, W, b, c)
    assert abs(particles.mean() - mean) < 5 * spread / np.sqrt(len(particles))


@pytest.mark.slow
def test_diagnose_finds_it_finished():
    """Where W itself is learned, and a start was given, so that nothing is grown."""
    with pm.Model() as direct:
        W, b, c = pm.Normal("W", 0, 1, shape=(16, 14)), pm.Flat("b", shape=16), pm.Flat("c", shape=14)
        pmr.RBM("v", W, b, c, observed=ROWS)
    learned = fit(of=direct, start={"c": np.zeros(14)})
    assert learned.attrs["iterate"] == "climbed"
    assert pmr.diagnose(learned, random_seed=1, progressbar=False).learning == "finished"


@pytest.mark.slow
def test_it_can_be_resumed(plain):
    more = pmr.fit(5, model=model(), resume=plain, progressbar=False)
    assert more["learning"].sizes["iteration"] == plain["learning"].sizes["iteration"] + 5


@pytest.mark.parametrize(
    ("options", "climbs"),
    [({"epochs": 60}, True), ({"epochs": 40}, False), ({"updates": 40}, False), ({"learning_rate": 0.1}, False)],
)
@pytest.mark.filterwarnings("ignore:Learning ended", "ignore:L-BFGS did not", "ignore:What was learned")
def test_who_gets_a_climb(options, climbs):
    learned = fit(**({"epochs": 60} | options if "updates" not in options else options))
    assert (learned.attrs["iterate"] == "climbed") == climbs


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: model(14), True),
        (lambda: model(20), True),
        (lambda: model(21, np.zeros((9, 21), int)), False),
        (lambda: model(18, np.eye(64, dtype=int)), True),
        (lambda: model(18, np.eye(65, dtype=int)), False),
        (lambda: model(14, prior=lambda: pm.HalfNormal("scale")), False),
    ],
)
def test_of_which_machines(made, expected):
    built = made()
    assert climbs_at_the_end(built, observed_machines(built)) == expected


@pytest.mark.slow
def test_what_a_climb_ruins_is_not_taken():
    """Without a prior, two identical rows have no maximum: what comes back is finite and not absurd."""
    with pm.Model():
        W = pm.Flat("half", shape=(16, 14)) * 2
        pmr.RBM(
            "v",
            pm.Deterministic("W", W),
            pm.Flat("b", shape=16),
            np.zeros(14),
            observed=np.repeat(ROWS[:2], 30, axis=0),
        )
        learned = pmr.fit(progressbar=False, random_seed=1)
    assert np.abs(learned["parameters"]["W"]).max() < 1e6


UNITS = [pmr.Bernoulli(), pmr.Spin()]


@pytest.mark.parametrize("visible", UNITS)
@pytest.mark.parametrize("hidden", UNITS)
@pytest.mark.parametrize("size", [(5, 3), (3, 5), (4, 1)])
@pytest.mark.parametrize("scale", [1.0, 30.0, 800.0])
def test_log_z_and_its_gradient_by_plain_loops(visible, hidden, size, scale):
    rng = np.random.default_rng(3)
    W, b, c = scale * rng.normal(size=size), rng.normal(size=size[0]), rng.normal(size=size[1])
    sides = [[np.array(s) * (u.values[1] - u.values[0]) + u.values[0] for s in ref.states(n)]
             for u, n in zip((visible, hidden), size, strict=True)]  # fmt: skip
    logs = np.array([[b @ v + c @ h + v @ W @ h for h in sides[1]] for v in sides[0]])
    log_z = logs.max() + np.log(np.exp(logs - logs.max()).sum())
    p = np.exp(logs - log_z)
    v, h = np.array(sides[0]), np.array(sides[1])
    machine = pmr.restricted(W, b, c, visible, hidden)
    value, (by_b, by_c, by_W) = exact_log_z(machine)(machine)
    np.testing.assert_allclose(value, log_z, rtol=1e-12)
    np.testing.assert_allclose(by_b, p.sum(1) @ v, atol=1e-11)
    np.testing.assert_allclose(by_c, p.sum(0) @ h, atol=1e-11)
    np.testing.assert_allclose(by_W, v.T @ p @ h, atol=1e-11)
    np.testing.assert_allclose(log_partition(machine).eval(), log_z, rtol=1e-12)


@pytest.mark.parametrize("unused", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("flipped", [False, True])
def test_units_without_weights_are_summed_by_themselves(unused, flipped):
    """Against an enumeration of all states, and by finite differences for the weights that are 0."""
    rng = np.random.default_rng(4)
    W, b, c = rng.normal(size=(4, 3)), rng.normal(size=4), 3 * rng.normal(size=3)
    W[:, list(unused)] = 0
    if flipped:
        W, b, c = W.T, c, b
    parameters = [b, c, W]

    def log_z(b, c, W):
        v = np.array(list(ref.states(len(b))))
        return np.logaddexp.reduce(v @ b + np.logaddexp(0, v @ W + c).sum(1))

    value, slopes = exact_log_z(pmr.restricted(W, b, c))(pmr.restricted(W, b, c))
    np.testing.assert_allclose(value, log_z(*parameters), rtol=1e-12)
    for k, slope in enumerate(slopes):
        for i in np.ndindex(slope.shape):
            ends = [[x.copy() for x in parameters] for _ in range(2)]
            ends[0][k][i] -= 1e-5
            ends[1][k][i] += 1e-5
            low, high = (log_z(*x) for x in ends)
            np.testing.assert_allclose(slope[i], (high - low) / 2e-5, atol=1e-8)
