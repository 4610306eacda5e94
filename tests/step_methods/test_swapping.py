"""BlockGibbs along a ladder: the law of the variable and of every rung, two modes in pm.sample, what is refused."""

import math
import shutil

import arviz as az
import cloudpickle
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from options import MASKED, SILENT
from pytensor.link.c import cmodule

import pymc_rbm as pmr
from pymc_rbm.step_methods import swapping
from pymc_rbm.support.modes import INTERPRETED

pytestmark = MASKED

W, B, C = ref.machine(4, 3, scale=1.5, seed=21)
A, Y, FIELD = np.array([1.0, -0.7, 0.5, 1.3]), 0.8, np.array([0.9, 0.2, 0.4, -0.3])
STATES = np.array(ref.states(4), dtype="int8")
ROWS = 4_000
KNOWN = np.array([False, True, False, False])
LOG_D = {
    "alone": lambda v: 0.0,
    "fields": lambda v: -((FIELD - v) ** 2).sum() / (2 * 0.7**2),
    "joined": lambda v: -((Y - v @ A) ** 2) / (2 * 0.5**2),
    "masked": lambda v: -((Y - v @ A) ** 2) / (2 * 0.5**2),
}


def model_of(case, rows=ROWS):
    """A model of so many independent rows of the machine, with what depends on them."""
    with pm.Model() as model:
        if case == "masked":
            data = np.ma.masked_array(np.ones((rows, 4), int), np.tile(~KNOWN, (rows, 1)))
            v = pmr.RBM("v", W, B, C, observed=data)
        else:
            v = pmr.RBM("v", W, B, C, size=rows)
        if case == "fields":
            pm.Normal("y", v, 0.7, observed=np.tile(FIELD, (rows, 1)))
        if case in ("joined", "masked"):
            pm.Normal("y", v @ A, 0.5, observed=np.full(rows, Y))
    return model


def law(case, t, base):
    """Probabilities on the rung t, by plain sums."""
    log_p = ref.log_p(t * W, (1 - t) * base + t * B, t * C)
    log_p = np.array(log_p) + [t * LOG_D[case](v) for v in STATES.astype(float)]
    if case == "masked":
        log_p[(STATES[:, KNOWN] != 1).any(1)] = -np.inf
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def exact(case, p, rng):
    """Exact draws of all rows, as values of the variable."""
    v = STATES[rng.choice(len(p), size=ROWS, p=p)]
    return v[:, ~KNOWN].ravel() if case == "masked" else v


def beyond_chance(case, value, p):
    """By how much values are farther from their law than exact draws would be, as a ratio."""
    if case == "masked":
        v = np.ones((ROWS, 4), "int8")
        v[:, ~KNOWN] = value.reshape(ROWS, 3)
    else:
        v = value
    return ref.total_variation(np.bincount(ref.index(v), minlength=16), p) / ref.total_variation_floor(p, ROWS)


def in_equilibrium(case, model, t=(0.0, 0.35, 0.7, 1.0)):
    """A step and a point with exact draws of the variable and on every rung."""
    step = pmr.BlockGibbs(method="pt", model=model, rng=1)
    point = step._swapped(model.initial_point())
    [replicas], rng = step.replicas, np.random.default_rng(2)
    replicas.t = np.array(t)
    laws = [law(case, t, replicas.base) for t in replicas.t]
    replicas.states = [exact(case, p, rng) for p in laws[:-1]]
    replicas.born, replicas.seen = (np.zeros((len(t), ROWS), x) for x in ("int64", "int8"))
    replicas.accepted = np.zeros((len(t) - 1, ROWS))
    replicas.forget()
    [name] = [x.name for x in step.vars]
    return step, {**point, name: exact(case, laws[-1], rng)}, laws, name


@pytest.mark.interpreted
@pytest.mark.parametrize(
    "case", ["alone", "masked", *(pytest.param(x, marks=pytest.mark.slow) for x in ("fields", "joined"))]
)
def test_steps_leave_the_law_of_the_variable_and_of_every_rung_as_it_is(case, monkeypatch):
    monkeypatch.setattr(swapping, "FIRST_ROUNDS", ())
    monkeypatch.setattr(swapping, "MOST_CHAINS", 2)
    step, point, laws, name = in_equilibrium(case, model_of(case))
    for _ in range(3):
        point, [stats] = step.step(point)
    [replicas] = step.replicas

    def farthest():
        values = [*replicas.states, point[name]]
        return max(beyond_chance(case, value, p) for value, p in zip(values, laws, strict=True))

    # Of 16 states: a ratio of 1.9 is more than 5 standard errors of a sum of as many binomial counts.
    assert farthest() < 1.9
    assert stats["rungs"] == 4
    assert stats["least_acceptance"] == pytest.approx(replicas.acceptances().min())
    # The acceptance of the pair at the top, against all pairs of states.
    low, high = laws[-2:]
    expected = np.minimum(np.outer(low, high), np.outer(high, low)).sum()
    assert replicas.accepted[-1].mean() / 3 == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(3 * ROWS))
    right = swapping._exchange
    monkeypatch.setattr(swapping, "_exchange", lambda f, r, k, x, y, ratio, rng: right(f, r, k, x, y, -ratio, rng))
    for _ in range(2):
        point, _ = step.step(point)
    assert farthest() > 4


@pytest.mark.slow
@pytest.mark.interpreted
def test_dependants_that_count_in_part_are_seen(monkeypatch):
    """Broken: at the top the swap forgets what depends on v."""
    monkeypatch.setattr(swapping, "FIRST_ROUNDS", ())
    monkeypatch.setattr(swapping, "MOST_CHAINS", 2)
    step, point, laws, name = in_equilibrium("joined", model_of("joined"), (0.0, 1.0))
    right = swapping._gain
    alone = pmr.BlockGibbs(method="pt", model=model_of("alone"), rng=1)._rungs[0]
    monkeypatch.setattr(swapping, "_gain", lambda f, *rest: right(alone, rest[0], *rest[1:]))
    for _ in range(3):
        step.replicas[0].rest = []
        point, _ = step.step(point)
    assert beyond_chance("joined", point[name], laws[-1]) > 4


N, WEIGHT, TILT, NOISE = 20, 0.4, 0.05, 0.35
SEEN = 0.45
"""A noisy mean of all units, which lies between the two modes and says a little."""


def two_modes(dependant):
    """A machine whose own sweeps stay in a mode, and how probable the upper one is."""
    log_p = []
    for on in range(N + 1):
        own = (TILT - N * WEIGHT / 2) * on + N * np.logaddexp(0, WEIGHT * on + TILT - N * WEIGHT / 2)
        d = -((SEEN - on / N) ** 2) / (2 * NOISE**2) if dependant else 0.0
        log_p.append(math.log(math.comb(N, on)) + own + d)
    p = np.exp(np.array(log_p) - np.logaddexp.reduce(log_p))
    with pm.Model() as model:
        v = pmr.RBM("v", *ref.curie_weiss(N, WEIGHT, TILT))
        if dependant:
            pm.Normal("y", v.mean(), NOISE, observed=SEEN)
    return model, p[N // 2 + 1 :].sum() + p[N // 2] / 2


def upper(idata):
    """By chain, how often more than half of the units are on."""
    mean = idata["posterior"]["v"].values.mean(-1)
    return ((mean > 0.5) + (mean == 0.5) / 2).mean(1)


@pytest.mark.parametrize("dependant", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "dependant"])
def test_modes_get_their_weights_and_plain_chains_stay_in_one(dependant):
    model, share = two_modes(dependant)
    assert 0.6 < share < 0.95
    with model:
        drawn = pm.sample(2500, tune=400, chains=4, cores=1, random_seed=1, block_gibbs={"method": "pt"}, **SILENT)
        plain = pm.sample(1000, tune=400, chains=4, cores=1, random_seed=1, **SILENT)
    above = (drawn["posterior"]["v"].mean("v_dim_0") > 0.5).astype(float)
    error = np.sqrt(share * (1 - share) / float(az.ess(above, method="mean")))
    assert error < 0.03
    assert upper(drawn).mean() == pytest.approx(share, abs=4 * error)
    assert float(az.rhat(drawn["sample_stats"]["visible_mean"])) < 1.02
    assert np.isin(upper(plain).round(1), (0.0, 1.0)).all()
    stats = drawn["sample_stats"]
    assert (stats["round_trips"][:, -1] >= 2).all()
    assert (stats["renewals"][:, -1] > 20).all()
    assert (stats["renewals"][:, 0] <= 1).all()  # those of tuning do not count
    assert (stats["least_acceptance"][:, -1] > 0.15).all()
    assert (stats["rungs"] == stats["rungs"][:, :1]).all()  # nothing is tuned any more
    if not dependant:
        found = pmr.diagnose(drawn, model, random_seed=1, progressbar=False)
        assert found.chains != "not mixed"
        assert "lift a draw" in found.subject
        weight, error = float(found.measures["upper_group_weight"]), float(found.measures["upper_group_error"])
        weight = weight if weight > 0.5 else 1 - weight  # singular vectors have no sign of their own
        assert error < 0.03
        assert weight == pytest.approx(share, abs=4 * error)
        assert "The draws are two groups along the projection" in str(found)


def test_the_same_seed_gives_the_same_draws_on_any_number_of_cores():
    with pm.Model():
        pmr.RBM("v", *ref.curie_weiss(8, 0.5))
        step = pmr.BlockGibbs(method="pt", sweeps=2)
        assert cloudpickle.loads(cloudpickle.dumps(step)).stats_dtypes_shapes.keys() == step.stats_dtypes_shapes.keys()
        first, second = (pm.sample(60, tune=120, chains=2, cores=n, step=step, random_seed=3, **SILENT) for n in (1, 2))
    np.testing.assert_array_equal(first["posterior"]["v"], second["posterior"]["v"])
    np.testing.assert_array_equal(first["sample_stats"]["rungs"], second["sample_stats"]["rungs"])
    assert (first["sample_stats"]["sweeps"] == 2).all()


@pytest.mark.interpreted
def test_a_chain_goes_on_from_its_state():
    """What the step keeps of a chain, replicas included, is the whole of it."""
    with pm.Model() as model:
        pmr.RBM("v", *ref.curie_weiss(5, 0.5))
        step, other = (pmr.BlockGibbs(method="pt", rng=k) for k in (1, 2))
        point, _ = step.step(model.initial_point())
        other.sampling_state = step.sampling_state
        (first, [here]), (second, [there]) = step.step(point), other.step(point)
    np.testing.assert_array_equal(first["v"], second["v"])
    assert here == there


@pytest.mark.slow
def test_rows_that_are_joined_and_machines_that_read_others():
    """Two rows of v and a machine u whose biases read v; the sum of all units is observed. Eight times 64 states."""
    (w, b, c), other = ref.machine(3, 2, scale=1.5, seed=1), ref.machine(3, 2, scale=1.5, seed=2)
    seen, noise, states = 3.3, 0.8, np.array(ref.states(3))
    log_v = np.array(ref.log_p(w, b, c))
    log_p = np.empty((8, 8, 8))
    for i, j in np.ndindex(8, 8):
        log_u = np.array(ref.log_p(other[0], other[1] + states[i] + states[j] - 1, other[2]))
        total = states[i].sum() + states[j].sum() + states.sum(1)
        log_p[i, j] = log_v[i] + log_v[j] + log_u - (total - seen) ** 2 / (2 * noise**2)
    p = np.exp(log_p - log_p.max()).ravel()
    p /= p.sum()
    with pm.Model():
        v = pmr.RBM("v", w, b, c, size=2)
        u = pmr.RBM("u", other[0], other[1] + v.sum(0) - 1, other[2])
        pm.Normal("y", v.sum() + u.sum(), noise, observed=seen)
        drawn = pm.sample(
            6000, tune=300, chains=2, cores=1, random_seed=1, block_gibbs={"method": "pt"}, **SILENT
        ).posterior
    values = *np.moveaxis(drawn["v"].values, 2, 0), drawn["u"].values
    first, second, third = (ref.index(x.reshape(-1, 3)) for x in values)
    counts = np.bincount(64 * first + 8 * second + third, minlength=512)
    ess = min(float(az.ess(drawn[x]).min()) for x in ("u", "v"))
    assert ess > 2000
    assert ref.total_variation(counts, p) < 1.5 * ref.total_variation_floor(p, ess)
    # Without the observation the law would be another.
    total = (states.sum(1)[:, None, None] + states.sum(1)[:, None] + states.sum(1)).ravel()
    without = p * np.exp((total - seen) ** 2 / (2 * noise**2))
    assert ref.total_variation(counts, without / without.sum()) > 4 * ref.total_variation_floor(p, ess)


@pytest.mark.slow
def test_random_parameters_keep_their_law():
    """The strength of the couplings is random: its marginal law and that of v, against sums and quadrature."""
    n, noise, seen = 8, 0.4, 0.5
    strengths = np.linspace(0.01, 1.2, 400)
    on = np.arange(n + 1)
    table = []
    for s in strengths:
        own = [math.log(math.comb(n, k)) - s * n / 2 * k + n * np.logaddexp(0, s * k + 0.05 - s * n / 2) for k in on]
        table.append(np.array(own) - np.logaddexp.reduce(own) - (seen - on / n) ** 2 / (2 * noise**2))
    p = np.exp(np.array(table))
    p /= p.sum()
    with pm.Model():
        s = pm.Uniform("s", 0.01, 1.2)
        _, b, c = ref.curie_weiss(n, 1.0)
        v = pmr.RBM("v", s * np.ones((n, n)), s * b, s * c + 0.05)
        pm.Normal("y", v.mean(), noise, observed=seen)
        steps = [pmr.BlockGibbs(method="pt"), pm.Slice([s])]
        drawn = pm.sample(4000, tune=1000, chains=4, cores=1, step=steps, random_seed=1, **SILENT)
    expected = {"s": p.sum(1) @ strengths, "v": p.sum(0) @ on / n, "square": p.sum(0) @ (on / n - 0.5) ** 2}
    mean = drawn["posterior"]["v"].mean("v_dim_0")
    found = {"s": drawn["posterior"]["s"], "v": mean, "square": (mean - 0.5) ** 2}
    for key, x in found.items():
        error = float(az.mcse(x))
        assert float(x.mean()) == pytest.approx(expected[key], abs=4.5 * error), key
        assert error < 0.02, key


@pytest.mark.slow
def test_real_units_with_a_dependant_have_their_modes():
    """Two clusters of two real units; a noisy difference of the two is observed, so that they are joined."""
    sigma, centre, noise, seen, share = 0.5, np.array([4.0, 3.0]), 0.7, 0.6, 0.5
    a = np.array([1.0, -1.0])
    c = math.log(share / (1 - share)) - (centre**2).sum() / (2 * sigma**2)
    with pm.Model():
        v = pmr.RBM("v", centre[:, None], np.zeros(2), np.array([c]), visible=pmr.Gaussian(sigma))
        pm.Normal("y", v @ a, noise, observed=seen)
        drawn = pm.sample(4000, tune=500, chains=4, cores=1, random_seed=1, block_gibbs={"method": "pt"}, **SILENT)
    variance = 2 * sigma**2 + noise**2
    evidence = np.exp([-(seen**2) / (2 * variance), -((seen - centre @ a) ** 2) / (2 * variance)]) * [1 - share, share]
    exact_share = evidence[1] / evidence.sum()
    above = (drawn["posterior"]["v"].values.sum(-1) > centre.sum() / 2).astype(float)
    error = np.sqrt(exact_share * (1 - exact_share) / float(az.ess(above)))
    assert error < 0.05
    assert above.mean() == pytest.approx(exact_share, abs=4 * error)


@pytest.mark.interpreted
def test_what_a_ladder_needs_is_said():
    with pm.Model():
        v = pmr.RBM("v", W, B, C)
        h = pmr.Hidden("h", v)
        with pytest.raises(ValueError, match="method must be one of 'gibbs', 'pt', got 'ptt'"):
            pmr.BlockGibbs(method="ptt")
        pm.Normal("y", h.sum(), 1.0, observed=1.0)
        with pytest.raises(ValueError, match="cannot swap v, whose hidden units are observed or have dependants"):
            pmr.BlockGibbs(method="pt")
    with pm.Model():
        v = pmr.RBM("v", W, B, C, observed=STATES[:2])
        pmr.Hidden("h", v)
        with pytest.raises(ValueError, match="here are none"):
            pmr.BlockGibbs(method="pt")


@pytest.mark.compiled
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C compiler here")
def test_a_ladder_starts_no_c_compiler(monkeypatch):
    """It would take seconds, for a loop that runs once, and warn where PyTensor was installed by pip."""

    def started(*arguments, **options):
        raise RuntimeError("it was started")

    monkeypatch.setattr(cmodule.ModuleCache, "module_from_key", started)
    with pm.Model() as model, pytensor.config.change_flags(cxx="g++"):
        pmr.RBM("v", W, B, C)
        step = pmr.BlockGibbs(model["v"], model=model, method="pt")
    [functions] = step._rungs
    _, means = functions.means(np.random.default_rng(1), np.asarray(50), np.zeros(4, "int8"))
    assert means.shape == (4,)
    xs = pytensor.scan(lambda x: x + 1, outputs_info=pt.zeros(3), n_steps=3, return_updates=False)
    with pytensor.config.change_flags(cxx="g++"), pytest.raises(RuntimeError, match="it was started"):
        pytensor.function([], xs, mode=INTERPRETED)
