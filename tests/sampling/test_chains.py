"""Many chains at once: the right distribution, the right functionals, bad input, Ctrl-C."""

import os
import signal

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import MUTED

import pymc_rbm as pmr
from pymc_rbm.diagnostics.examine import activity
from pymc_rbm.kernels import threads
from pymc_rbm.sampling import chains as sampling
from pymc_rbm.sampling.observables import functionals, leading_directions

W, B, C = ref.machine(4, 3, 1.5, seed=2)
MACHINE = pmr.restricted(W, B, C)
P = np.exp(ref.log_p(W, B, C))
STATES = np.array(ref.states(4))


def exact_rows(n, seed):
    return STATES[np.random.default_rng(seed).choice(len(P), n, p=P)]


def variation(machine, sweeps, n=20_000):
    """Total variation from p, over its Monte Carlo floor, of chains that started in p."""
    start = exact_rows(n, 1)
    run = pmr.sample_gibbs(machine, chains=n, draws=1, tune=0, sweeps=sweeps, start=start, random_seed=2, **MUTED)
    counts = np.bincount(ref.index(run["posterior"]["v"].values[:, 0]), minlength=len(P))
    return ref.total_variation(counts, P) / ref.total_variation_floor(P, n)


@pytest.mark.parametrize("sweeps", [1, 4, 16])
def test_stationarity(sweeps):
    assert variation(MACHINE, sweeps) < 4


def test_a_wrong_kernel_is_seen():
    assert variation(pmr.restricted(1.2 * W, B, C), 4) > 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbouring_draws(dtype):
    """The joint distribution of two draws in a row: a start in p and as many enumerated transitions as sweeps."""
    joint, n = ref.joint(W, B, C), 200_000
    once = (joint / joint.sum(1, keepdims=True)) @ (joint / joint.sum(0)).T
    machine = pmr.restricted(*(x.astype(dtype) for x in (W, B, C)))
    for thin, other in ((1, 2), (2, 1)):
        run = pmr.sample_gibbs(
            machine, chains=n, draws=3, tune=0, sweeps=thin, start=exact_rows(n, 1), random_seed=2, **MUTED
        )
        v = ref.index(run["posterior"]["v"].values)
        for first, second in ((0, 1), (1, 2)):
            counts = np.bincount(v[:, first] * len(P) + v[:, second], minlength=len(P) ** 2)
            errors = []
            for sweeps in (thin, other):
                p = (joint.sum(1)[:, None] * np.linalg.matrix_power(once, sweeps)).ravel()
                errors.append(ref.total_variation(counts, p) / ref.total_variation_floor(p, n))
            assert errors[0] < 4 < errors[1]


def test_precision_is_that_of_the_machine():
    """All parameters float32: functionals, too; a single float64 one: nothing is rounded."""
    parameters = [x.astype("float32") for x in (W, B, C)]
    run = pmr.sample_gibbs(pmr.restricted(*parameters), draws=3, tune=0, random_seed=1, **MUTED)
    assert run["posterior"]["v_free_energy"].dtype == run["machines"]["v_weights"].dtype == np.float32
    expected = pmr.free_energy(run["posterior"]["v"].values, *(x.astype("float64") for x in parameters))
    np.testing.assert_allclose(run["posterior"]["v_free_energy"], expected, rtol=1e-5)
    mixed = pmr.sample_gibbs(pmr.restricted(*parameters[:2], C), draws=3, tune=0, random_seed=1, **MUTED)
    assert mixed["posterior"]["v_free_energy"].dtype == np.float64


@pytest.mark.parametrize("chains", [2, 50])
def test_thinning_leaves_out_draws(chains):
    common = {"chains": chains, "tune": 0, "start": np.zeros(4), "random_seed": 1} | MUTED
    every = pmr.sample_gibbs(MACHINE, draws=60, **common)["posterior"]["v"].values
    assert len(np.unique(every.reshape(-1, 4), axis=0)) > 10
    np.testing.assert_array_equal(
        pmr.sample_gibbs(MACHINE, draws=20, sweeps=3, **common)["posterior"]["v"].values, every[:, 2::3]
    )


@pytest.mark.numba
@pytest.mark.parametrize("chains", [3, 100])
def test_draws_do_not_depend_on_the_number_of_threads(chains, monkeypatch):
    """Nor are the draws of one thread those of another."""
    machine, pieces = pmr.restricted(*ref.machine(64, 64, 0.1, seed=1)), []
    original = threads.pieces
    monkeypatch.setattr(threads, "pieces", lambda *given: pieces.append(original(*given)) or pieces[-1])
    runs = []
    for number in (1, 2, 3):
        monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", number)
        common = {"draws": 2, "tune": 0, "sweeps": 20_000 // chains, "start": np.zeros(64), "random_seed": 1}
        runs.append(pmr.sample_gibbs(machine, chains=chains, **common, **MUTED)["posterior"]["v"].values)
    assert [len(x) for x in pieces] == [1, 2, 3]
    assert len(np.unique(runs[0].reshape(2 * chains, 64), axis=0)) == 2 * chains
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])


def test_functionals_and_groups():
    run = pmr.sample_gibbs(MACHINE, draws=7, tune=3, chains=5, sweeps=2, name="x", random_seed=1, **MUTED)
    draws = run["posterior"].dataset
    v = draws["x"].values
    assert v.shape == (5, 7, 4)
    assert v.dtype == np.int8
    np.testing.assert_allclose(draws["x_free_energy"], pmr.free_energy(v, W, B, C), rtol=1e-12)
    np.testing.assert_allclose(draws["x_visible_mean"], v.mean(-1), rtol=1e-12)
    np.testing.assert_allclose(draws["x_hidden_mean"], pmr.conditional_hidden(v, W, C).mean(-1), rtol=1e-12)
    U, s, _ = np.linalg.svd(W)
    assert s[-1] > 0.1 * s[0]
    np.testing.assert_allclose(np.abs(draws["x_projection"]), np.abs(v @ U[:, :3]), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(run["last_states"]["x"], v[:, -1])
    np.testing.assert_array_equal(run["machines"]["x_weights"], W)
    assert run.attrs["sweeps"] == 2
    for key, x in functionals(MACHINE, v).items():
        np.testing.assert_allclose(draws[f"x_{key}"], x, rtol=1e-12)


def test_directions():
    assert leading_directions(pmr.restricted(np.zeros((4, 3)), B, C)).shape == (4, 0)
    assert leading_directions(pmr.restricted(np.ones((4, 3)), B, C)) == pytest.approx(np.full((4, 1), 0.5))
    run = pmr.sample_gibbs(pmr.restricted(np.zeros((4, 3)), B, C), draws=2, tune=0, random_seed=1, **MUTED)
    assert run["posterior"]["v_projection"].shape == (4, 2, 0)


def test_activity():
    """The conditional mean of each unit is its mean under p if the states are draws from p; ranges and shares exact."""
    v = exact_rows(8000, 3).reshape(4, 2000, 4).astype("int8")
    found = activity(MACHINE, v, np.random.default_rng(4))
    mean = P @ STATES
    error = np.sqrt(mean * (1 - mean) / 8000)  # more than that of a conditional mean
    assert (np.abs(found["visible_expected"] - mean) < 5 * error).all()
    h = pmr.conditional_hidden(v, W, C)
    np.testing.assert_allclose(found["hidden_low"], h.min(1), rtol=1e-12)
    np.testing.assert_allclose(found["hidden_high"], h.max(1), rtol=1e-12)
    assert found["saturated"] == pytest.approx(((h < 0.01) | (h > 0.99)).mean())


def test_seeds_states_and_starts():
    runs = [pmr.sample_gibbs(MACHINE, draws=5, tune=2, random_seed=s, **MUTED)["posterior"]["v"] for s in (1, 1, 2)]
    assert runs[0].equals(runs[1])
    assert not runs[0].equals(runs[2])
    bare = pmr.sample_gibbs(MACHINE, draws=5, tune=2, random_seed=1, states=False, **MUTED)
    assert "v" not in bare["posterior"]
    np.testing.assert_array_equal(bare["last_states"]["v"], runs[0].values[:, -1])
    frozen = pmr.restricted(np.zeros((4, 3)), np.full(4, -800.0), C)
    begun = pmr.sample_gibbs(frozen, draws=1, tune=0, start=np.ones(4), chains=2, random_seed=1, **MUTED)
    assert (begun["posterior"]["v"] == 0).all()


def test_dispersed_starts_reach_both_modes():
    """A machine that never leaves its mode: 64 chains from one mode each with probability 1/2."""
    frozen = pmr.restricted(np.full((20, 20), 2.0), np.full(20, -20.0), np.full(20, -20.0))
    run = pmr.sample_gibbs(frozen, draws=1, tune=10, chains=64, random_seed=1, **MUTED)
    high = int((run["posterior"]["v_visible_mean"] > 0.5).sum())
    assert abs(high - 32) < 5 * 4


def test_targets():
    """Draws have the name, the dims and the coords of the RBM, wherever they are known."""
    with pm.Model(coords={"pixel": list("abcd")}) as model:
        v = pmr.RBM("image", W, B, C, dims="pixel")
    common = {"draws": 3, "tune": 0, "random_seed": 1, **MUTED}
    of_model = pmr.sample_gibbs(model, **common)
    for target, learned, coords in (
        (model, None, list("abcd")),
        (of_model, None, list("abcd")),
        (v, of_model, list("abcd")),
        (v, None, range(4)),
    ):
        if learned is not None:  # what `fit` returns has parameters, too
            learned = learned.assign({"parameters": xr.DataTree()})
        draws = pmr.sample_gibbs(target, learned, **common)["posterior"]["image"]
        assert draws.shape == (4, 3, 4)
        np.testing.assert_array_equal(draws[draws.dims[-1]], coords)
    assert pmr.sample_gibbs(model, name="x", **common)["posterior"]["x"].dims[-1] == "x_unit"
    assert pmr.sample_gibbs(MACHINE, **common)["posterior"]["v"].dims[-1] == "v_unit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be a whole number of at least 1, got 0"),
        ({"tune": -1}, "tune must be a whole number of at least 0"),
        ({"chains": 2.5}, "chains must be a whole number"),
        ({"sweeps": 0}, "sweeps must be"),
        ({"start": np.zeros((3, 4))}, r"start has shape \(3, 4\), but 4 chains of 4 visible units need \(4, 4\)"),
        ({"start": np.full(4, 0.5)}, "start must contain only 0 and 1, got 4 other entries"),
        ({"target": MACHINE.with_parameters([B, C * np.nan, W])}, "NaN or infinity"),
        ({"target": pmr.Machine(MACHINE.layers, ())}, "got 2 layers and 0 couplings"),
    ],
)
def test_bad_input(options, message, monkeypatch):
    monkeypatch.setattr(sampling, "run_chains", None)  # nothing may start
    with pytest.raises(ValueError, match=message):
        pmr.sample_gibbs(**({"target": MACHINE} | MUTED | options))


def test_interrupt(monkeypatch):
    """Ctrl-C returns the draws so far."""
    original = sampling._advance_function
    monkeypatch.setattr(sampling, "CHUNK_ENTRIES", 1)  # one draw a call

    def interrupting(*key):
        advance, calls = original(*key), []

        def counted(*arguments):
            calls.append(1)
            if len(calls) == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return advance(*arguments)

        return counted

    monkeypatch.setattr(sampling, "_advance_function", interrupting)
    with pytest.warns(UserWarning, match="Interrupted after 3 of 50 draws"):
        run = pmr.sample_gibbs(MACHINE, draws=50, tune=5, random_seed=1, **MUTED)
    assert run.attrs["interrupted"] == 1
    assert run["posterior"]["v"].shape == (4, 3, 4)
    with pytest.raises(KeyboardInterrupt):  # before the first draw
        pmr.sample_gibbs(MACHINE, draws=50, tune=1000, random_seed=1, **MUTED)
    monkeypatch.setattr(sampling, "_advance_function", original)
    enough = pmr.sample_gibbs(MACHINE, draws=50, tune=5, random_seed=1, **MUTED)
    monkeypatch.setattr(sampling, "_advance_function", interrupting)
    with pytest.raises(KeyboardInterrupt):  # half a probe says nothing
        pmr.diagnose(enough, random_seed=1, **MUTED)
