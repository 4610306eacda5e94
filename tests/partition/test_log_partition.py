import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.partition import exact


def twenty_modules():
    rng = np.random.default_rng(123)
    W, b, c = np.zeros((120, 100)), np.zeros(120), np.zeros(100)
    for k in range(20):
        w = 3 * rng.standard_normal((6, 5))
        W[6 * k : 6 * k + 6, 5 * k : 5 * k + 5] = w
        b[6 * k : 6 * k + 6] = rng.standard_normal(6) - w.sum(1) / 2
        c[5 * k : 5 * k + 5] = rng.standard_normal(5) - w.sum(0) / 2
    return W, b, c


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ((np.zeros((5, 3)), np.linspace(-2, 2, 5), np.array([-1.0, 0, 3])), 8.628522797),
        (ref.curie_weiss(20, 0.15), 13.10860),
        (ref.curie_weiss(20, 0.2), 8.67789),
        (ref.curie_weiss(20, 0.3), 3.13729),
    ],
    ids=["independent", "w=.15", "w=.2", "w=.3"],
)
def test_closed_forms(parameters, expected):
    result = pmr.log_partition(pmr.RBM.dist(*parameters), method="exact")
    # The published values have five or nine decimals.
    digits = len(str(expected).split(".")[1])
    assert result.estimate == pytest.approx(expected, abs=max(1e-6, 0.51 * 10**-digits))
    assert result.standard_error == 0
    assert result.method == "exact"
    assert "exact" in str(result)


@pytest.mark.parametrize("w", [0.15, 0.2, 0.3])
def test_curie_weiss_by_counting(w):
    found = pmr.log_partition(pmr.restricted(*ref.curie_weiss(20, w)))
    assert found.estimate == pytest.approx(ref.curie_weiss_log_z(20, w), abs=1e-10)


def test_twenty_modules_by_parts():
    W, b, c = twenty_modules()
    parts = [
        pmr.log_partition(
            pmr.restricted(W[6 * k : 6 * k + 6, 5 * k : 5 * k + 5], b[6 * k : 6 * k + 6], c[5 * k : 5 * k + 5])
        ).estimate
        for k in range(20)
    ]
    assert sum(parts) == pytest.approx(278.5264887, abs=1e-6)


@pytest.mark.interpreted
def test_ising_ring_correlation_and_log_z():
    """Summing the hidden units of the ring out gives Ising spins with tanh K = tanh(K')², J = 4."""
    n = 16
    W = np.zeros((n, n))
    for i in range(n):
        W[i, i] = W[(i + 1) % n, i] = 4.0
    b, c = np.full(n, -4.0), np.full(n, -4.0)
    log_z = pmr.log_partition(pmr.restricted(W, b, c)).estimate
    v = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype("int8")
    p = np.exp(-pmr.free_energy(v, W, b, c) - log_z)
    assert p.sum() == pytest.approx(1, abs=1e-10)
    spins = 2.0 * v - 1
    assert p @ (spins[:, 0] * spins[:, 1]) == pytest.approx(0.5802134, abs=1e-7)


@pytest.mark.parametrize(("name", "expected"), [("pylearn2_15", 215.1384), ("lz_h10", 226.1132)])
def test_trained_machines(shared_data, name, expected):
    with np.load(shared_data / f"rbm_pretrained_{name}.npz") as file:
        W, b, c = file["W"], file["b"], file["c"]
    result = pmr.log_partition(pmr.restricted(W, b, c), method="exact")
    # Four decimals are published; to 1e-6 against a loop over hidden states with numpy's own logaddexp.
    hidden = ((np.arange(2 ** len(c))[:, None] >> np.arange(len(c))) & 1).astype(float)
    terms = np.concatenate([h @ c + np.logaddexp(0, b + h @ W.T).sum(1) for h in np.array_split(hidden, 32)])
    assert result.estimate == pytest.approx(np.logaddexp.reduce(terms), abs=1e-6)
    assert result.estimate == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.interpreted
@pytest.mark.parametrize("sizes", [(3, 6), (6, 3)])
def test_either_side_is_enumerated(sizes):
    parameters = ref.machine(*sizes, seed=1)
    assert pmr.log_partition(pmr.restricted(*parameters)).estimate == pytest.approx(ref.log_z(*parameters), abs=1e-10)


def test_target_kinds_agree():
    W, b, c = ref.machine(4, 3)
    expected = ref.log_z(W, b, c)
    with pm.Model() as model:
        v = pmr.RBM("v", W, pm.Data("b", b), c)
    with pytensor.config.change_flags(floatX="float32"):
        single = pmr.RBM.dist(W, b, c)
    for target in (pmr.restricted(W, b, c), pmr.RBM.dist(W, b, c), v, model):
        assert pmr.log_partition(target).estimate == pytest.approx(expected, abs=1e-10)
    assert pmr.log_partition(single).estimate == pytest.approx(expected, abs=1e-5)


def test_annealing_on_the_twenty_modules():
    result = pmr.log_partition(pmr.restricted(*twenty_modules()), method="ais", temperatures=2000, random_seed=1)
    assert result.method == "ais"
    assert 0 < result.standard_error < 0.3
    assert abs(result.estimate - 278.5264887) < 4 * result.standard_error
    low, high = result.interval
    assert high - low == pytest.approx(2 * 1.959963985 * result.standard_error)
    again = pmr.log_partition(pmr.restricted(*twenty_modules()), method="ais", temperatures=2000, random_seed=1)
    assert again.estimate == result.estimate


def test_annealing_is_unbiased_for_z():
    """The mean of many weights is Z whatever the base and however few the temperatures."""
    parameters = ref.machine(5, 4, scale=0.7, seed=2)
    machine, expected = pmr.restricted(*parameters), ref.log_z(*parameters)
    for base_mean in (None, np.full(5, 0.5), np.array([0.9, 0.1, 0.5, 0.3, 0.7])):
        result = pmr.log_partition(
            machine, method="ais", particles=20_000, temperatures=5, base_mean=base_mean, random_seed=3
        )
        assert abs(result.estimate - expected) < 4 * result.standard_error
        assert result.standard_error < 0.05


def test_too_few_effective_particles_are_said():
    result = pmr.log_partition(
        pmr.restricted(*ref.machine(12, 10, scale=8)), method="ais", temperatures=2, particles=50, random_seed=1
    )
    assert result.effective_sample_size < 30
    assert "too few" in str(result)


def test_bad_arguments():
    machine = pmr.restricted(*ref.machine(3, 2))
    with pytest.raises(ValueError, match="method must be"):
        pmr.log_partition(machine, method="guess")
    with pytest.raises(ValueError, match="particles must be a whole number of at least 2, got 1"):
        pmr.log_partition(machine, method="ais", particles=1)
    with pytest.raises(ValueError, match="temperatures must be a whole number"):
        pmr.log_partition(machine, method="ais", temperatures=10.5)
    with pytest.raises(ValueError, match="the last axis of base_mean must have length 3"):
        pmr.log_partition(machine, method="ais", base_mean=np.full(4, 0.5))
    with pytest.raises(ValueError, match="strictly between"):
        pmr.log_partition(machine, method="ais", base_mean=np.array([0.0, 0.5, 0.5]))
    with pytest.raises(ValueError, match="NaN or infinity"):
        pmr.log_partition(machine.with_parameters([np.zeros(3), np.zeros(2), np.full((3, 2), np.nan)]))
    with pytest.raises(pmr.IntractableError, match="method='compare'"):
        pmr.log_partition(pmr.restricted(np.full((40, 30), 0.1), np.zeros(40), np.zeros(30)), method="exact")
    with pytest.raises(TypeError, match="got int"):
        pmr.log_partition(3)


def test_sums_over_many_states_are_compiled(monkeypatch):
    """NumPy took minutes for 20 hidden units and 450 categorical ones; where they are few numba would take longer."""
    seen, build = [], exact._enumeration_function

    def noted(*given):
        seen.append(given[-1])
        return build(*given[:-1], "node")

    monkeypatch.setattr(exact, "_enumeration_function", noted)
    units = pmr.Categorical(3)
    for machine in (pmr.restricted(np.ones((3, 2)), np.ones(3), np.ones(2), x) for x in (units, pmr.Bernoulli())):
        for most in (exact.LITTLE, 0):
            monkeypatch.setattr(exact, "LITTLE", most)
            monkeypatch.setattr(exact, "QUICKLY_SUMMED_FACTORS", 0)
            pmr.log_partition(machine)
    assert seen == ["kernels", "graph", "kernels", "kernels"]


@pytest.mark.slow
def test_posteriors_over_weights_are_compared():
    """NUTS with the exact log Z, PyMC's log-likelihoods, ArviZ's comparison: bars need more than one hidden unit."""
    rows = np.repeat(pmr.datasets.bars_and_stripes(2).values, 10, axis=0)
    posteriors = {}
    for hidden in (1, 3):
        with pm.Model():
            W = pm.Normal("W", 0, 2, shape=(4, hidden))
            pmr.RBM("v", W, pm.Normal("b", 0, 1, shape=4), pm.Normal("c", 0, 1, shape=hidden), observed=rows)
            options = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}
            posteriors[str(hidden)] = pm.compute_log_likelihood(pm.sample(300, tune=300, **options), progressbar=False)
    draw = {name: x[1, -1].values for name, x in posteriors["3"]["posterior"].data_vars.items()}
    by_loops = np.array(ref.log_p(*(draw[name] for name in "Wbc")))[ref.index(rows)]
    np.testing.assert_allclose(posteriors["3"]["log_likelihood"]["v"][1, -1], by_loops, atol=1e-9)
    assert az.compare(posteriors).index[0] == "3"
    for posterior in posteriors.values():
        assert az.loo(posterior).elpd < -60 * np.log(6)  # nothing beats the entropy of six patterns
