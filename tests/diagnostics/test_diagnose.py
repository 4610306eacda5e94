"""The verdict: calibrated on machines whose relaxation is known, and one test for each way in which draws mislead."""

import arviz as az
import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import MUTED
from scipy import special, stats

import pymc_rbm as pmr
from pymc_rbm.diagnostics import probes
from pymc_rbm.diagnostics.thresholds import RENEWALS
from pymc_rbm.support import convergence as measures
from pymc_rbm.support.convergence import FALSE_ALARM

N = 20
SEEDS = 20


def evenly_coupled(w, tilt=0.0):
    return pmr.restricted(*ref.curie_weiss(N, w, tilt))


def independent(b, n_hidden=5):
    """Visible units that know nothing of each other, nor of the hidden units."""
    return pmr.restricted(np.zeros((len(b), n_hidden)), np.asarray(b, float), np.zeros(n_hidden))


def draws_of(states, name="v"):
    return xr.DataTree.from_dict({"posterior": xr.Dataset({name: (("chain", "draw", "unit"), states.astype("int8"))})})


def diagnose(idata, *arguments, seed=1, **options):
    return pmr.diagnose(idata, *arguments, random_seed=seed, **MUTED, **options)


def one_mode(machine, seed=1, **options):
    return pmr.sample_gibbs(machine, start=np.ones(N), random_seed=seed, **MUTED, **options)


# --------------------------------------------------------------------------------------------------- measures


def autoregressive(rho, chains, draws, rng):
    """Stationary Gaussian chains with integrated autocorrelation time (1 + rho)/(1 - rho)."""
    x = np.empty((chains, draws))
    x[:, 0] = rng.standard_normal(chains)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(chains)
    return x


def test_rhat_is_arviz():
    x = np.random.default_rng(1).gamma(1.0, size=(4, 200))
    x[0] += 0.5
    x[1] *= 2
    assert measures.rhat(x) == pytest.approx(float(az.rhat(x, chain_axis=0, draw_axis=1)), rel=1e-12)
    assert measures.rhat(np.ones((4, 10))) == 1
    assert measures.rhat(np.repeat([[0.0], [1.0]], 10, axis=1)) == np.inf


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_rhat_by_chance(rho):
    """Healthy chains exceed it as often as it says; with a limit of 1.01 instead, these short ones mostly do."""
    rng, level, runs = np.random.default_rng(2), 0.05, 400
    x = [autoregressive(rho, 4, 200, rng) for _ in range(runs)]
    tau = (1 + rho) / (1 - rho)
    within = [measures.within_autocorrelation(y) for y in x]
    # Half of the runs' estimates lie within a third of the truth: the mean of four chains of 200 draws.
    assert np.median(within) == pytest.approx(tau, rel=1 / 3)
    limit = measures.rhat_by_chance(4, 200, tau, level)
    rhats = np.array([float(az.rhat(y, method="split", chain_axis=0, draw_axis=1)) for y in x])
    exceeded = int((rhats > limit).sum())
    assert stats.binomtest(exceeded, runs, level).pvalue > 1e-4
    assert stats.binomtest(int((rhats > 1.01).sum()), runs, level).pvalue < 1e-4


def test_units_are_counted():
    low = np.array([[0, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0]])
    high = np.array([[0, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
    assert measures.count_units(low, high) == {"dead": 1, "always_on": 1, "stuck": 1}
    near = measures.count_units(low * 0.995 + 0.004, high * 0.995 + 0.004, 0.01)
    assert near == {"dead": 1, "always_on": 1, "stuck": 1}
    assert measures.count_units(low * 0.9, high * 0.9, 0.01)["always_on"] == 0


def test_two_sample():
    rng = np.random.default_rng(3)
    pairs = [measures.two_sample(rng.normal(size=300), rng.normal(size=200), 1) for _ in range(1000)]
    beyond = sum(distance > by_chance for distance, by_chance in pairs)
    assert beyond <= stats.binom.isf(1e-4, 1000, FALSE_ALARM)
    distance, by_chance = measures.two_sample(rng.normal(size=300), rng.normal(1, size=200), 1)
    assert distance > by_chance


# ----------------------------------------------------------------------------------------------- calibration


def verdicts(w):
    machine = evenly_coupled(w)
    return [diagnose(pmr.sample_gibbs(machine, random_seed=s, **MUTED), seed=s).verdict for s in range(SEEDS)]


def test_mixing_chains_are_called_mixed():
    """At most 5 % "not mixed" (relaxation time 1.5 sweeps); more only with probability 1e-4. Mostly "mixed"."""
    found = verdicts(0.15)
    assert found.count("not mixed") <= stats.binom.isf(1e-4, SEEDS, 0.05)
    assert found.count("mixed") > SEEDS / 2


@pytest.mark.parametrize("w", [0.3, 0.6])
def test_stuck_chains_are_not_called_mixed(w):
    """At most 5 % "mixed", where the relaxation time is half of a chain (w = .3) or beyond all patience (.6)."""
    assert verdicts(w).count("mixed") <= stats.binom.isf(1e-4, SEEDS, 0.05)


def test_four_chains_in_one_mode():
    """They agree in everything; only probes show it: without adversarial starts the verdict would be wrong."""
    machine = evenly_coupled(0.6)
    idata = one_mode(machine)
    found = diagnose(idata)
    assert found.verdict == "not mixed"
    assert "share a mode" in " ".join(found.reasons)
    assert (found.measures["rhat"] < 1.01).all()
    assert (found.measures["ess_bulk"] > 400).all()
    assert found.measures["probe_away"].any()
    alone = diagnose(draws_of(idata["posterior"]["v"].values))
    assert alone.verdict == "cannot tell"
    assert "Pass the machine" in " ".join(alone.advice)
    assert diagnose(idata, probes=False).verdict == "cannot tell"


def test_probes_from_the_draws_would_see_nothing(monkeypatch):
    """The broken version: the test above can fail."""
    monkeypatch.setattr(probes, "starts", lambda machine, states, rng: {"copy": states[:8]})
    assert diagnose(one_mode(evenly_coupled(0.6))).verdict == "mixed"


def weight_of_the_low_mode(w, tilt):
    """Exact probability of fewer than half of the units on, by sums over their number."""
    k, b = np.arange(N + 1), -w * N / 2 + tilt
    log_p = special.gammaln(N + 1) - special.gammaln(k + 1) - special.gammaln(N - k + 1) + b * k
    log_p += N * np.logaddexp(0, b + w * k)
    return np.exp(special.logsumexp(log_p[k < N / 2]) - special.logsumexp(log_p))


@pytest.mark.parametrize(("tilt", "verdict"), [(0.0, "not mixed"), (0.05, "not mixed"), (0.4, "mixed")])
def test_negligible_modes(tilt, verdict):
    """A mode that probes cannot leave does no harm if its probability is bounded by 1 %; the bound holds."""
    found = diagnose(one_mode(evenly_coupled(0.6, tilt)))
    weight = weight_of_the_low_mode(0.6, tilt)
    assert found.measures["probe_away"].any()
    assert float(found.measures["probe_mode_weight_at_most"]) >= weight
    assert found.verdict == verdict
    assert (weight > 0.01) == (verdict == "not mixed")


def test_a_negligible_mode_is_where_the_draws_are():
    """Draws that sit in the mode of probability 1e-6 are not mixed, however well their chains agree."""
    found = diagnose(one_mode(evenly_coupled(0.6, -0.3)))
    assert found.verdict == "not mixed"


# --------------------------------------------------------------------------------- how draws of units mislead


def test_dead_units_are_no_error_if_the_machine_says_so():
    b = np.r_[np.zeros(6), -40.0, 40.0]
    machine = independent(b)
    found = diagnose(pmr.sample_gibbs(machine, tune=5, random_seed=1, **MUTED))
    assert found.verdict == "mixed"
    assert "2 visible units never change" in " ".join(found.reasons)
    assert (int(found.measures["visible_dead"]), int(found.measures["visible_always_on"])) == (1, 1)
    other = diagnose(pmr.sample_gibbs(machine, tune=5, random_seed=1, **MUTED), independent(np.zeros(8)))
    assert other.verdict == "not mixed"
    assert "not draws of this machine" in " ".join(other.reasons)


def test_a_rare_unit_is_no_error():
    """On in 0.2 % of draws: here never in some chains, and in one run in no draw at all."""
    machine = independent(np.r_[np.zeros(9), special.logit(0.002)])
    runs = [pmr.sample_gibbs(machine, draws=400, tune=5, random_seed=s, **MUTED) for s in range(6)]
    seen = [run["posterior"]["v"].values[..., -1].any(axis=1) for run in runs]
    assert not np.all(seen)
    for run in runs:
        found = diagnose(run)
        assert found.verdict == "mixed", str(found)
        assert int(found.measures["visible_stuck"]) == 0


def test_an_all_constant_chain():
    states = pmr.sample_gibbs(evenly_coupled(0.15), random_seed=1, **MUTED)["posterior"]["v"].values
    states[2] = states[2, :1]
    found = diagnose(draws_of(states), evenly_coupled(0.15))
    assert found.verdict == "not mixed"
    assert "1 chain never moves" in " ".join(found.reasons)


def test_all_chains_constant():
    states = np.ones((4, 100, N))
    assert diagnose(draws_of(states)).verdict == "cannot tell"
    assert diagnose(draws_of(states), evenly_coupled(0.15)).verdict == "not mixed"
    certain = pmr.restricted(np.zeros((N, 3)), np.full(N, 60.0), np.zeros(3))
    assert diagnose(draws_of(states), certain).verdict == "cannot tell"


def test_two_chains_stuck_in_different_states():
    """ArviZ has no R-hat for these (0/0): the worst case must not look like a missing value."""
    states = np.zeros((4, 100, N))
    states[2:] = 1
    for machine in (None, evenly_coupled(0.6)):
        found = diagnose(draws_of(states), machine)
        assert found.verdict == "not mixed"
        assert f"{N} visible" in " ".join(found.reasons)
        assert np.isinf(found.measures["rhat"]).any()
    states[:, ::2, 0] = 1  # something moves
    assert diagnose(draws_of(states), evenly_coupled(0.6)).verdict == "not mixed"


def test_few_draws():
    few = pmr.sample_gibbs(evenly_coupled(0.15), draws=10, random_seed=1, **MUTED)
    assert diagnose(few).verdict == "cannot tell"
    short = [
        diagnose(pmr.sample_gibbs(evenly_coupled(0.15), draws=60, random_seed=s, **MUTED), seed=s) for s in range(SEEDS)
    ]
    found = [x.verdict for x in short]
    assert "mixed" not in found
    assert found.count("not mixed") <= stats.binom.isf(1e-4, SEEDS, 2 * FALSE_ALARM)
    assert sum(float(x.measures["rhat"].max()) > 1.01 for x in short) > SEEDS / 2  # which alone says nothing here


def test_draws_of_another_machine():
    found = diagnose(pmr.sample_gibbs(evenly_coupled(0.15), random_seed=1, **MUTED), evenly_coupled(0.15, 0.5))
    assert found.verdict == "not mixed"


# ------------------------------------------------------------------------------------------------ its sources


def test_draws_of_pymc():
    machine = evenly_coupled(0.15)
    W, b, c = machine.couplings[0].weights, machine.layers[0].bias, machine.layers[1].bias
    with pm.Model() as model:
        v = pmr.RBM("image", W, b, c)
        idata = pm.sample(
            600, tune=20, chains=4, cores=1, random_seed=3, block_gibbs={"sweeps": 2}, quiet=True, **MUTED,
            compute_convergence_checks=False,
        )  # fmt: skip
        inside = diagnose(idata)
    assert inside.verdict == "mixed"
    assert "2 sweeps a draw" in inside.subject
    np.testing.assert_allclose(
        inside.measures["autocorrelation_sweeps"], 2 * inside.measures["autocorrelation"], rtol=1e-12
    )
    for target in (model, v, machine):
        found = diagnose(idata, target)
        assert found.measures.equals(inside.measures)
        assert str(found) == str(inside)
    assert diagnose(idata).verdict == "cannot tell"  # no model on the stack


def test_without_states_and_in_batches():
    machine = evenly_coupled(0.15)
    bare = pmr.sample_gibbs(machine, states=False, random_seed=1, **MUTED)
    assert diagnose(bare).verdict == "mixed"
    states = pmr.sample_gibbs(machine, chains=6, random_seed=1, **MUTED)["posterior"]["v"].values
    rows = np.stack([states[:3], states[3:]], axis=2)
    batch = xr.Dataset({"v": (("chain", "draw", "row", "unit"), rows)})
    found = diagnose(xr.DataTree.from_dict({"posterior": batch}), machine)
    assert "6 chains of 1,000 draws" in found.subject
    assert found.verdict == "mixed"


def learning_run(machine, particles, rows, ratio=1.0):
    """What `fit` returns, as far as the verdict reads it."""
    b, c, W = machine.parameters
    groups = {
        "learning": xr.Dataset({"sweeps": ("iteration", np.ones(1000, int))}),
        "data": xr.Dataset({"v_mean": ("unit", rows.mean(0)), "v_rows": (("row", "unit"), rows.astype("int8"))}),
        "machines": xr.Dataset(
            {"v_weights": (("unit", "hidden"), W), "v_visible_bias": ("unit", b), "v_hidden_bias": ("hidden", c)}
        ),
        "particle_states": xr.Dataset({"v": (("chain", "unit"), particles.astype("int8"))}),
        "gradient": xr.Dataset({"v_gradient_norm": ratio, "v_gradient_standard_error": 1.0}),
    }
    return xr.DataTree.from_dict(groups)


def last_states(machine, start, chains=100, seed=1):
    run = pmr.sample_gibbs(machine, draws=1, tune=50, chains=chains, start=start, random_seed=seed, **MUTED)
    return run["last_states"]["v"].values


def test_a_healthy_learning_run():
    machine = evenly_coupled(0.15)
    particles, rows = last_states(machine, None), last_states(machine, None, 800, seed=2)
    found = diagnose(learning_run(machine, particles, rows))
    # 800 rows of this machine are a little more likely under others, with more parameters than they tell of.
    assert found.chains == "mixed", str(found)
    hasty = learning_run(machine, particles, rows)
    hasty["learning"] = hasty["learning"].to_dataset().isel(iteration=slice(20))
    assert diagnose(hasty).chains == "cannot tell"
    cd = learning_run(machine, particles, rows)
    del cd["particle_states"]
    assert diagnose(cd).chains == "cannot tell"


def test_particles_in_one_mode_and_data_in_two():
    machine = evenly_coupled(0.6)
    particles = last_states(machine, np.ones(N))
    rows = np.concatenate([last_states(machine, np.full(N, x), 400, seed=2) for x in (0, 1)])
    found = diagnose(learning_run(machine, particles, rows))
    assert found.verdict == "not mixed"
    assert "draws and data differ in projection 1" in " ".join(found.reasons)
    assert "data" in set(found.measures["probe_kind"].values[found.measures["probe_away"].values])
    both = np.concatenate([last_states(machine, np.full(N, x), 50) for x in (0, 1)])
    assert diagnose(learning_run(machine, both, rows)).verdict == "not mixed"  # in both modes, but stuck in each


def test_particles_that_lag():
    machine = evenly_coupled(0.15)
    found = diagnose(learning_run(machine, np.ones((100, N)), last_states(machine, None, 800)))
    assert found.verdict == "not mixed"
    assert "lag" in " ".join(found.reasons)


def test_a_machine_that_is_not_where_the_data_are():
    """Learning that stopped early: the machine mixes, and knows little of the data."""
    rows = np.concatenate([last_states(evenly_coupled(0.6), np.full(N, x), 400) for x in (0, 1)])
    early = evenly_coupled(0.05)
    found = diagnose(learning_run(early, last_states(early, None), rows))
    assert (found.verdict, found.chains, found.learning) == ("not finished", "mixed", "not finished")
    assert not found
    assert "differ in projection 1" in " ".join(found.reasons)
    assert str(found).startswith("chains: mixed; learning: not finished, the objective still rises by ")


@pytest.mark.interpreted
def test_what_fit_returns():
    """A real run, much too short: it is not called mixed, nor finished, and all figures are there."""
    data = pmr.datasets.bars_and_stripes(3).values
    with pm.Model() as model:
        W = pm.Normal("W", shape=(9, 4))
        pmr.RBM("v", W, pm.Flat("b", shape=9), pm.Flat("c", shape=4), observed=data)
        learned = pmr.fit(5, chains=20, random_seed=1, **MUTED)
        found = diagnose(learned)
    assert found.verdict != "mixed"
    assert "20 particles" in found.subject
    assert found.measures["renewals"] < RENEWALS
    assert np.isfinite(found.measures["particle_lag"]).all()
    assert found.measures.equals(diagnose(learned, model).measures)


# --------------------------------------------------------------------------------------------------- figures


def test_projections_of_draws():
    """One panel a chain, with a point a draw where the projections say; the data behind."""
    rng = np.random.default_rng(1)
    machine = pmr.restricted(rng.standard_normal((7, 3)), np.zeros(7), np.zeros(3))
    idata = pmr.sample_gibbs(machine, draws=30, chains=3, random_seed=1, **MUTED)
    data = rng.integers(0, 2, (50, 7))
    used = pmr.plot_projections(idata, data=data).viz["plot"].values
    assert [ax.get_title() for ax in used] == ["chain 0", "chain 1", "chain 2"]
    projection = idata["posterior"]["v_projection"].values[..., :2]
    for ax, own in zip(used, projection, strict=True):
        behind, front = ax.collections
        assert len(behind.get_offsets()) == 50
        np.testing.assert_allclose(front.get_offsets(), own, rtol=1e-12)
    one = pmr.plot_projections(one_mode(evenly_coupled(0.4), draws=30))  # a single direction: histograms
    assert not one.viz["plot"].values[0].collections


def test_projections_of_particles():
    machine = evenly_coupled(0.15)
    particles, rows = last_states(machine, None), last_states(machine, None, 300, seed=2)
    run = learning_run(machine, particles, rows)
    assert pmr.plot_projections(run).viz["panel"].values.tolist() == ["last"]
    snapshots = np.stack([particles] * 9)
    history = xr.Dataset({"v": (("snapshot", "chain", "unit"), snapshots)}, coords={"epoch": ("snapshot", range(9))})
    run["particle_history"] = xr.DataTree(history)
    titles = [ax.get_title() for ax in pmr.plot_projections(run, panels=4).viz["plot"].values]
    assert titles == ["epoch 0", "epoch 3", "epoch 5", "epoch 8"]


def test_projections_need_a_machine_and_states():
    machine = evenly_coupled(0.15)
    idata = pmr.sample_gibbs(machine, draws=30, random_seed=1, states=False, **MUTED)
    with pytest.raises(ValueError, match="states=True"):
        pmr.plot_projections(idata)
    with pytest.raises(ValueError, match="pass the machine"):
        pmr.plot_projections(draws_of(np.zeros((2, 30, N))))
    with pytest.raises(ValueError, match="all zero"):
        pmr.plot_projections(draws_of(np.zeros((2, 30, N))), evenly_coupled(0.0))


# ------------------------------------------------------------------------------------------ report, bad input


def test_report():
    found = diagnose(pmr.sample_gibbs(evenly_coupled(0.6), random_seed=1, **MUTED))
    text = str(found)
    assert text.startswith("not mixed: v, 4 chains of 1,000 draws, 1 sweep a draw")
    assert len(text.splitlines()) <= 20
    assert "R-hat" in text
    assert "To do: " in text
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + found.measures.sizes["functional"]
    assert "not mixed" in html
    again = diagnose(pmr.sample_gibbs(evenly_coupled(0.6), random_seed=1, **MUTED))
    assert again.measures.equals(found.measures)


def test_bad_input(monkeypatch):
    monkeypatch.setattr(probes, "run_chains", None)
    states = np.random.default_rng(1).integers(0, 2, (2, 30, 6))
    with pytest.raises(TypeError, match=r"Expected a DataTree .*got ndarray"):
        diagnose(states)
    with pytest.raises(ValueError, match=r"got the groups \['prior'\]"):
        diagnose(xr.DataTree.from_dict({"prior": xr.Dataset()}))
    with pytest.raises(ValueError, match=r"no visible states of 5 units.*\(2, 30, 6\)"):
        diagnose(draws_of(states), independent(np.zeros(5)))
    two = draws_of(states)
    two["posterior"] = two["posterior"].to_dataset().assign(h=two["posterior"]["v"])
    with pytest.raises(ValueError, match=r"pass name=, one of \['v', 'h'\]"):
        diagnose(two)
    with pytest.raises(ValueError, match=r"one of .*'v', 'h'.* got 'x'"):
        diagnose(two, name="x")
    assert diagnose(two, name="v").verdict == "cannot tell"
    with pytest.raises(ValueError, match=r"v must contain only 0 and 1, got \d+ other entries"):
        diagnose(draws_of(2 * states), independent(np.zeros(6)))
    with pytest.raises(ValueError, match="This is a posterior, which does not say of which machine"):
        diagnose(draws_of(states), draws_of(states))
    with pytest.raises(TypeError, match="Expected a Machine"):
        diagnose(draws_of(states), 3)
