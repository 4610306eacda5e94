"""Models with an anchored log Z: the formula against enumeration, the model, what is refused, and the check."""

import itertools
from types import SimpleNamespace

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from options import MASKED, QUIET

import pymc_rbm as pmr
from pymc_rbm.posteriors import anchored as anchoring
from pymc_rbm.posteriors.anchor import Anchor
from pymc_rbm.posteriors.anchored import anchors_of

pytestmark = pytest.mark.interpreted
N = 6
PAIRS = np.triu_indices(N, 1)


def coupled(scale, seed, n=N):
    rng = np.random.default_rng(seed)
    U = scale * rng.normal(size=(n, n))
    return (U + U.T) * (1 - np.eye(n)), scale * rng.normal(size=n)


MACHINES = {
    "pairs": lambda scale, seed: pmr.boltzmann(*coupled(scale, seed)),
    "spins": lambda scale, seed: pmr.boltzmann(*coupled(scale, seed), unit=pmr.Spin()),
    "restricted": lambda scale, seed: pmr.restricted(
        *(scale * np.random.default_rng(seed).normal(size=s) for s in ((N, 3), N, 3))
    ),
    "letters": lambda scale, seed: pmr.restricted(
        *(scale * np.random.default_rng(seed).normal(size=s) for s in ((N, 3), N, 3)), pmr.Categorical(3)
    ),
}
LEVELS = {"spins": (-1, 1)}


def states_of(kind):
    """All states of six units, of two of three values each for letters."""
    if kind == "letters":
        return np.array([np.concatenate(x) for x in itertools.product(np.eye(3), repeat=2)])
    return np.array(list(itertools.product(LEVELS.get(kind, (0, 1)), repeat=N)), float)


def energies(kind, machine, states):
    """Free energies from their definition, by sums over the states of hidden units."""
    if kind in ("pairs", "spins"):
        b, U = machine.parameters
        return -states @ b - np.einsum("ki,ij,kj->k", states, U, states) / 2
    b, c, W = machine.parameters
    hidden = np.array(list(itertools.product((0, 1), repeat=3)), float)
    joint = states @ b + (hidden @ c)[:, None] + hidden @ (states @ W).T
    return -np.log(np.exp(joint).sum(0))


@pytest.mark.parametrize("kind", MACHINES)
def test_of_all_states_with_their_probabilities_it_is_log_z_everywhere(kind):
    """As after infinitely many draws, however far from the anchor."""
    at, there = (MACHINES[kind](scale, seed).numeric() for scale, seed in ((0.3, 1), (1.0, 2)))
    states = states_of(kind)
    F, F_there = (energies(kind, m, states) for m in (at, there))
    log_z, wanted = (float(np.log(np.exp(-x).sum())) for x in (F, F_there))
    none = [np.zeros(np.shape(p)) for p in at.parameters]
    dtype = at.layers[0].unit.dtype
    anchor = Anchor(at, log_z, states.astype(dtype), np.exp(-F - log_z), none, 1, 1.0)
    assert anchor.value(there) == pytest.approx(wanted, abs=1e-9)
    assert anchor.of_machine(there).eval() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", MACHINES)
def test_the_gradient_at_the_anchor_is_that_of_all_draws(kind):
    """Few draws are carried, and the other ones count in the gradient."""
    machine, states = MACHINES[kind](0.7, 3).numeric(), states_of(kind)
    drawn = states[np.random.default_rng(4).integers(len(states), size=500)].astype(machine.layers[0].unit.dtype)
    anchor = Anchor.of(machine, 1.5, drawn, 5, 1, 500.0)
    assert len(anchor.states) <= 5 and anchor.counts.sum() == 5
    assert anchor.value(machine) == pytest.approx(1.5, abs=1e-12)
    inputs = [pt.as_tensor(p).type() for p in machine.parameters]
    graph = anchor.of_machine(machine.with_parameters(inputs))
    slopes = pytensor.function(inputs, [graph, *pytensor.grad(graph, inputs)])(*machine.parameters)
    assert slopes[0] == pytest.approx(1.5, abs=1e-12)
    wanted = np.empty(len(machine.parameters[0]))
    for i in range(len(wanted)):  # differences of the mean over all draws
        up, down = (
            machine.with_parameters(
                [machine.parameters[0] + s * 1e-5 * np.eye(len(wanted))[i], *machine.parameters[1:]]
            )
            for s in (1, -1)
        )
        wanted[i] = -(energies(kind, up, drawn.astype(float)) - energies(kind, down, drawn.astype(float))).mean() / 2e-5
    np.testing.assert_allclose(slopes[1], wanted, atol=1e-8)
    other = MACHINES[kind](0.7, 5).numeric()
    assert anchor.of_machine(other).eval() == pytest.approx(anchor.value(other), abs=1e-10)


def model_of(rows, sd=1.0):
    coords = {"item": list("abcdef"), "pair": np.arange(len(PAIRS[0])), "row": np.arange(len(rows))}
    with pm.Model(coords=coords) as model:
        J = pm.Normal("J", 0, sd, dims="pair")
        U = pt.zeros((N, N))[PAIRS].set(J)
        dims = ("row", "item")
        pmr.BoltzmannMachine("v", U + U.T, pm.Normal("b", 0, sd, dims="item"), observed=rows, dims=dims)
    return model


ROWS = (np.random.default_rng(8).random((60, N)) < np.linspace(0.3, 0.7, N)).astype("int8")
ZEROS = {"J": np.zeros(len(PAIRS[0])), "b": np.zeros(N)}


def test_the_model_is_the_same_but_for_log_z():
    model = model_of(ROWS)
    near = pmr.anchored(model, ZEROS, names="v", **QUIET)
    assert [x.name for x in near.basic_RVs] == [x.name for x in model.basic_RVs]
    assert near.coords == model.coords and near.named_vars_to_dims == model.named_vars_to_dims
    anchor = anchors_of(near)["v"]
    assert anchor.rows == 60
    assert anchor.error == pytest.approx(0.05, rel=0.3)
    assert anchor.log_z == pytest.approx(N * np.log(2))
    at = {"J": np.random.default_rng(1).normal(0, 0.2, len(PAIRS[0])), "b": np.full(N, 0.1)}
    machine = pmr.machine_of(model, at).numeric()
    by_anchor = near.compile_logp()(at) - model.compile_logp()(at)
    exact = pmr.log_partition(machine, progressbar=False).estimate
    assert by_anchor == pytest.approx(-60 * (anchor.value(machine) - exact), abs=1e-8)
    assert abs(by_anchor) < 60 * 0.02  # 24,000 draws
    again = pmr.anchored(model, ZEROS, names="v", **QUIET)
    assert again.compile_logp()(at) == near.compile_logp()(at)


@MASKED
def test_masked_rows_and_two_machines():
    """Missing answers are sampled as before, and each machine has an anchor of its own."""
    rows = np.ma.masked_array(ROWS, np.random.default_rng(2).random(ROWS.shape) < 0.1)
    model = model_of(rows)
    with model:
        W = pm.Normal("W", 0, model["J"][:3].std() + 1, shape=(3, 1))
        pmr.RBM("u", W, np.zeros(3), np.zeros(1), observed=ROWS[:, :3])
    values = ZEROS | {"W": np.zeros((3, 1)), "J": np.linspace(-0.3, 0.3, len(PAIRS[0]))}
    near = pmr.anchored(model, values, names=["v", "u"], target_error=0.2, **QUIET)
    assert set(anchors_of(near)) == {"u", "v"}
    point = model.initial_point() | values
    exact = sum(
        len(data) * (anchors_of(near)[x].value(m := pmr.machine_of(model[x], values).numeric())
                     - pmr.log_partition(m, progressbar=False).estimate)
        for x, data in (("u", ROWS), ("v", rows))
    )  # fmt: skip
    assert near.compile_logp()(point) - model.compile_logp()(point) == pytest.approx(-exact, abs=1e-8)


def test_refusals():
    model = model_of(ROWS)
    with pytest.raises(ValueError, match=r"log Z of \['v'\] is exact in this model"):
        pmr.anchored(model, ZEROS)
    with pytest.raises(ValueError, match=r"names has \['w'\]; the model's machines are \['v'\]"):
        pmr.anchored(model, ZEROS, names="w")
    with pytest.raises(ValueError, match=r"names has \[\['v'\]\]"):
        pmr.anchored(model, ZEROS, names=[["v"]])
    with pytest.raises(TypeError, match="check_anchors takes a PyMC model first"):
        pmr.check_anchors({"v": 1}, None)
    with pytest.raises(TypeError, match="anchored takes a PyMC model first"):
        pmr.anchored(ZEROS, model)
    with pytest.raises(ValueError, match="target_error must be a positive number"):
        pmr.anchored(model, ZEROS, names="v", target_error=0)
    with pytest.raises(ValueError, match="This model has no anchors"):
        pmr.check_anchors(model, None)
    with pm.Model(), pytest.raises(ValueError, match="found no machine"):
        pmr.anchored(pm.Model(), {})
    with pm.Model() as by_row:
        b = pm.Normal("b", 0, 1, shape=(60, N))
        pmr.RBM("v", np.zeros((N, 2)), b, np.zeros(2), observed=ROWS)
    with pytest.raises(ValueError, match="differ by row"):
        pmr.anchored(by_row, {"b": np.zeros((60, N))}, names="v")
    with pm.Model() as known:
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(N, 2)), np.zeros(N), np.zeros(2), log_z=1.0, observed=ROWS)
    with pytest.raises(ValueError, match="were given log_z"):
        pmr.anchored(known, {"W": np.zeros((N, 2))}, names="v")


def ferromagnet(n, strength):
    """A model whose machine has two modes, all units off and all on, and the values where both weigh the same."""
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=n)
        pmr.BoltzmannMachine("v", strength * (1 - np.eye(n)), b, observed=np.zeros((10, n), "int8"))
    return model, {"b": np.full(n, -strength * (n - 1) / 2)}


@pytest.mark.slow
def test_modes_of_an_anchor_are_drawn_along_a_ladder():
    """Plain chains never leave a mode of these 24 units."""
    model, at = ferromagnet(24, 0.5)
    anchor = anchors_of(pmr.anchored(model, at, names="v", log_z=0.0, target_error=0.3, **QUIET))["v"]
    up = anchor.counts @ (anchor.states.sum(1) > 12) / anchor.counts.sum()
    assert up == pytest.approx(0.5, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("verdict", "raises"), [("not mixed", True), ("cannot tell", False)])
def test_an_anchor_whose_chains_do_not_mix_is_refused(monkeypatch, verdict, raises):
    model = model_of(ROWS)
    seen = SimpleNamespace(
        chains=verdict, reasons=["So it was seen."], measures=xr.Dataset({"autocorrelation_sweeps": ("x", [2.5])})
    )
    monkeypatch.setattr(anchoring, "diagnose", lambda *args, **kwargs: seen)
    told = (
        pytest.raises(ValueError, match="neither by themselves nor along a ladder")
        if raises
        else pytest.warns(UserWarning, match="too short to tell whether they mix")
    )
    with told:
        pmr.anchored(model, ZEROS, names="v", target_error=0.3, **QUIET)


def test_too_few_draws_are_told():
    with pytest.warns(UserWarning, match=r"move posterior means by about 0.24 posterior .* raise draws"):
        pmr.anchored(model_of(ROWS), ZEROS, names="v", draws=1000, **QUIET)


def problem(seed, n=8, rows=300):
    rng = np.random.default_rng(seed)
    pairs = np.triu_indices(n, 1)
    U = np.zeros((n, n))
    U[pairs] = rng.normal(0, 0.5, len(pairs[0]))
    data = pm.draw(pmr.BoltzmannMachine.dist(U + U.T, rng.normal(0, 0.5, n)), draws=rows, random_seed=seed)
    with pm.Model() as model:
        A = pt.zeros((n, n))[pairs].set(pm.Normal("J", 0, 1, shape=len(pairs[0])))
        pmr.BoltzmannMachine("v", A + A.T, pm.Normal("b", 0, 1, shape=n), observed=data)
    return model


def moments(idata):
    x = np.concatenate([idata["posterior"][k].values.reshape(2000, -1) for k in ("J", "b")], axis=1)
    return x.mean(0), x.std(0)


@pytest.mark.slow
def test_posteriors_are_as_far_off_as_the_check_says():
    """Two problems of 8 units: exact and anchored posteriors, the second with far too few draws."""
    sampling = {"draws": 1000, "tune": 500, "chains": 2, "cores": 1, **QUIET}
    for seed, target, reliable in ((1, 0.05, True), (3, 0.5, False)):
        model = problem(seed)
        with model:
            learned, exact = pmr.fit(**QUIET), pm.sample(**sampling)
        near = pmr.anchored(model, learned, names="v", target_error=target, **QUIET)
        with near:
            idata = pm.sample(**sampling)
        check = pmr.check_anchors(near, idata, random_seed=2, progressbar=False)
        (mean, sd), (other, other_sd) = moments(exact), moments(idata)
        shift = float(np.sqrt((((other - mean) / sd) ** 2).mean()))
        noise = 2 / np.sqrt(2000)  # of both means, were all draws independent; NUTS does better for means
        assert bool(check) == reliable, str(check)
        assert check.shift == pytest.approx(anchors_of(near)["v"].error, rel=0.6)
        assert shift < 2 * np.hypot(check.shift, noise)
        assert shift > check.shift / 3
        np.testing.assert_allclose(other_sd / sd, 1, atol=0.15 if reliable else 0.6)
        assert pmr.check_anchors(near, idata, **QUIET).shift > check.shift / 3  # with the anchor's own seed, too
        assert ("means are off by" in str(check)) and (bool(check.advice) != reliable)


def test_an_anchor_far_from_the_posterior_is_told():
    """Anchored at 16 independent units, where draws of a posterior have strong couplings, few of which are known."""
    rng, n = np.random.default_rng(1), 16
    with pm.Model() as model:
        J = pm.Normal("J", 0, 1)
        pmr.BoltzmannMachine(
            "v", J * (1 - np.eye(n)), pm.Normal("b", 0, 1) + np.zeros(n), observed=np.zeros((50, n), int)
        )
    near = pmr.anchored(model, {"J": 0.0, "b": 0.0}, names="v", draws=5000, target_error=0.3, states=2000, **QUIET)
    values = {"J": 0.5 + 0.02 * rng.normal(size=(2, 100)), "b": -3.75 + 0.02 * rng.normal(size=(2, 100))}
    draws = xr.Dataset({k: (("chain", "draw"), x) for k, x in values.items()})
    idata = xr.DataTree.from_dict({"posterior": draws})
    check = pmr.check_anchors(near, idata, random_seed=2, progressbar=False)
    assert not check
    assert any("far from the anchor" in x for x in check.reasons), str(check)
    with pytest.raises(ValueError, match="idata has 40 draws, and at least 100 are needed"):
        pmr.check_anchors(near, draws.isel(draw=slice(20)))
    with pytest.raises(ValueError, match=r"no draws of \['b'\]"):
        pmr.check_anchors(near, draws[["J"]])
