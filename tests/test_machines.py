"""Everything that can be done with a machine, done with machines of all units: one row of MACHINES is one machine."""

from itertools import product

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr

import pymc_rbm as pmr

N = 60
RNG = np.random.default_rng(4)


def one_hot(labels, q):
    return np.eye(q, dtype="int8")[labels].reshape(len(labels), -1)


MACHINES = {
    "spin-spin": (pmr.Spin(), pmr.Spin(), 2, 2 * RNG.integers(2, size=(N, 3)) - 1),
    "categorical-gaussian": (pmr.Categorical(3), pmr.Gaussian(0.8), 2, one_hot(RNG.integers(3, size=(N, 2)), 3)),
    "gaussian-categorical": (pmr.Gaussian([0.7, 1.1]), pmr.Categorical(3), 3, RNG.normal(1, 1, (N, 2))),
    "binomial-bernoulli": (pmr.Binomial(4), pmr.Bernoulli(), 2, RNG.binomial(4, 0.3, (N, 2))),
    "gaussian-gaussian": (pmr.Gaussian(0.9), pmr.Gaussian(), 1, RNG.normal(0, 1, (N, 2))),
    "bernoulli-rectified": (pmr.Bernoulli(), pmr.Rectified(), 2, RNG.integers(2, size=(N, 3))),
    "rectified-binomial": (pmr.Rectified(), pmr.Binomial(2), 2, abs(RNG.normal(1, 1, (N, 2)))),
}
machines = pytest.mark.parametrize("row", MACHINES.values(), ids=MACHINES)


def model_of(row, **kwargs):
    visible, hidden, n_hidden, data = row
    with pm.Model() as model:
        W = pm.Normal("W", 0, 0.5, shape=(data.shape[1], n_hidden))
        b = pm.Normal("b", 0, 0.5, shape=data.shape[1])
        c = pm.Normal("c", 0, 0.5, shape=n_hidden)
        pmr.RBM("v", W, b, c, visible=visible, hidden=hidden, observed=data, **kwargs)
    return model


def hidden_entries(data, n):
    """Data beside entries that are never observed."""
    rest = np.zeros((len(data), n))
    return np.ma.MaskedArray(np.c_[data, rest], np.c_[np.zeros(data.shape, bool), rest == 0])


def general():
    """Five spins on a ring, the last one hidden."""
    data = hidden_entries(2 * RNG.integers(2, size=(N, 4)) - 1, 1)
    pattern = abs(np.subtract.outer(np.arange(5), np.arange(5))) % 3 == 1  # the neighbours on the ring
    with pm.Model() as model, pytest.warns(pm.exceptions.ImputationWarning):
        U, b = pm.Normal("U", 0, 0.5, shape=(5, 5)), pm.Normal("b", 0, 0.5, shape=5)
        pmr.BoltzmannMachine("v", U, b, unit=pmr.Spin(), pattern=pattern, observed=data)
    return model


def labelled():
    """Real and binary columns and a label, all in the visible layer."""
    unit = pmr.Beside((pmr.Gaussian(0.9), 1), (pmr.Bernoulli(), 1), label=(pmr.Categorical(3), 3))
    columns = RNG.normal(0, 1, (N, 1)), RNG.integers(2, size=(N, 1)), one_hot(RNG.integers(3, size=N), 3)
    return model_of((unit, pmr.Bernoulli(), 2, np.concatenate(columns, axis=1)))


def deep():
    with pm.Model() as model:
        weights = [pm.Normal(f"W{i}", 0, 0.5, shape=shape) for i, shape in enumerate([(3, 2), (2, 2)])]
        biases = [pm.Normal(f"b{i}", 0, 0.5, shape=n) for i, n in enumerate((3, 2, 2))]
        pmr.DeepBoltzmannMachine("v", weights, biases, observed=RNG.integers(2, size=(N, 3)))
    return model


# Each with entries that are to be missing, and all their states.
WHOLE_WAY = {
    "categorical-gaussian": (lambda: model_of(MACHINES["categorical-gaussian"]), [3, 4, 5], np.eye(3)),
    "general": (general, [0, 4], list(product((-1, 1), repeat=2))),
    "labelled": (labelled, [1, 2, 3, 4], [(x, *label) for x in (0, 1) for label in np.eye(3)]),
    "deep": (deep, [0, 3, 4], list(product((0, 1), repeat=3))),
}


def log_weight(machine, v):
    """log p(v) up to a constant: what is Gaussian among the visible entries is held, and hidden units sum out."""
    if len(machine.layers) == 1:
        b, U = machine.parameters
        return v @ b + sum(U[i, j] * v[i] * v[j] for i in range(len(v)) for j in range(i))
    b, c, W = machine.parameters[:3]
    visible, hidden = (layer.unit for layer in machine.layers)
    scaled = v.astype(float)
    if isinstance(visible, pmr.Beside):
        scaled[0] /= np.ravel(visible.parameters[0])[0] ** 2 if visible.parameters else 1
    fields = [sum(scaled[i] * W[i, j] for i in range(len(v))) for j in range(len(c))]
    if isinstance(hidden, pmr.Gaussian):  # ∫ exp((fh - (h - c)²/2) / σ²) dh
        own = sum(f * mean + f * f / 2 for f, mean in zip(fields, c, strict=True))
        return v @ b + own / np.ravel(hidden.parameters[0])[0] ** 2
    return v @ b + sum(np.log1p(np.exp(f + bias)) for f, bias in zip(fields, c, strict=True))


def stronger(machine):
    """The machine with weights large enough to matter, zeros kept."""
    rng, n, m = np.random.default_rng(5), len(machine.layers), len(machine.layers) + len(machine.couplings)
    parameters = [np.asarray(p) for p in machine.parameters]
    for i in range(n, m):
        noise = rng.standard_normal(parameters[i].shape) * (parameters[i] != 0)
        parameters[i] = parameters[i] + (noise + noise.T if machine.couplings[i - n].second == 0 else noise)
    return machine.with_parameters(parameters)


def check_inpaint(machine, rows, missing, states):
    """Missing units of every row against all their states."""
    mask = np.zeros(rows.shape, bool)
    mask[:, missing] = True
    masked = np.ma.masked_array(rows, mask)
    found = pmr.inpaint(machine, None, masked, draws=1000, tune=20, random_seed=1, progressbar=False)
    drawn = found["posterior"]["v"].values
    assert found["convergence"]["converged"].all()
    for i, row in enumerate(rows):
        completed = np.repeat(row[None].astype(float), len(states), 0)
        completed[:, missing] = states
        log_p = np.array([log_weight(machine, v) for v in completed])
        p = np.exp(log_p - ref.log_sum(log_p))
        index = {tuple(x): k for k, x in enumerate(np.asarray(states, float))}
        own = drawn[:, :, i].reshape(-1, rows.shape[1]).astype(float)
        np.testing.assert_array_equal(own[:, ~mask[i]], np.broadcast_to(row[~mask[i]], own[:, ~mask[i]].shape))
        counts = np.bincount([index[tuple(x)] for x in own[:, missing]], minlength=len(p))
        n = min(float(found["convergence"]["ess"][i]), len(own))
        assert ref.total_variation(counts, p) < 4 * ref.total_variation_floor(p, n)
        # The probabilities of other states are told from these.
        assert ref.total_variation(counts, np.roll(p, 1)) > 4 * ref.total_variation_floor(p, n)
        mean = p @ completed
        error = np.sqrt(p @ (completed - mean) ** 2 / n)
        assert (abs(found["mean"]["v"].values[i] - mean) < 5 * error + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize(("build", "missing", "states"), WHOLE_WAY.values(), ids=WHOLE_WAY)
def test_all_that_can_be_done_with_a_machine(build, missing, states, tmp_path):
    model = build()
    with model:
        learned = pmr.fit(10, learning_rate=0.05, random_seed=1, progressbar=False)
    learned.to_netcdf(tmp_path / "learned.nc")
    with xr.open_datatree(tmp_path / "learned.nc") as read:
        machine = pmr.machine_of(read.load())
    again = pmr.machine_of(model, learned).numeric()
    assert machine.template == again.template
    for found, given in zip(machine.parameters, again.parameters, strict=True):
        np.testing.assert_array_equal(found, given)
    exact = pmr.log_partition(learned, method="exact").estimate
    found = pmr.log_partition(model, learned, method="ais", temperatures=300, random_seed=1, progressbar=False)
    assert abs(found.estimate - exact) < 5 * found.standard_error + 1e-9
    # The chains of the step method, the vectorised chains and forward draws have one distribution.
    with pmr.generative(model, learned) as free:
        posterior = pm.sample(1000, tune=50, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
        prior = pm.sample_prior_predictive(2000, random_seed=2)
    many = pmr.sample_gibbs(learned, draws=200, tune=50, chains=20, random_seed=1, progressbar=False)
    drawn = [np.asarray(x["v"]) for x in (posterior["posterior"], many["posterior"], prior["prior"])]
    assert {x.dtype.name for x in drawn} == {machine.layers[0].unit.dtype}
    means = [x.reshape(-1, x.shape[-1]).astype(float) for x in drawn]
    for x in means[:2]:
        # Independent draws against chains, whose effective size is taken to be a tenth at least.
        error = np.sqrt(means[2].var(0) / len(means[2]) + x.var(0) / (len(x) / 10))
        assert (abs(x.mean(0) - means[2].mean(0)) < 5 * error).all()
    verdict = pmr.diagnose(many, machine, random_seed=1, progressbar=False)
    assert verdict.verdict == "mixed", str(verdict)
    rows = drawn[2].reshape(-1, means[2].shape[1])[:5]
    masked = np.ma.masked_array(rows, np.isin(np.arange(rows.shape[1]), missing)[None].repeat(5, 0))
    quick = pmr.inpaint(model, learned, masked, draws=500, tune=20, random_seed=1, progressbar=False)
    assert quick["convergence"]["converged"].all()
    check_inpaint(stronger(machine), rows[:2], missing, states)
    if len(machine.layers) > 1:
        assert pmr.hidden_mean(rows, model, learned).shape == (5, np.size(machine.layers[1].bias))
    found = pmr.log_likelihood(model, learned, rows, log_z=exact)["log_likelihood"]["v"].values.ravel()
    log_p = free.compile_logp(vars=[free["v"]])
    np.testing.assert_allclose(found, [log_p({"v": row}) for row in rows], rtol=1e-8)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("unit", [pmr.Gaussian(2.0), pmr.Rectified(2.0)], ids=repr)
def test_a_machine_that_cannot_be_normalised(unit):
    arguments = [[2.1]], [0.0], [0.0]
    message = "cannot be .*normalis.*eigenvalue -0.05.*Make W smaller"
    with pytest.raises(ValueError, match=message):
        pmr.RBM.dist(*arguments, visible=unit, hidden=pmr.Gaussian())
    machine = pmr.restricted(*map(np.array, arguments), unit, pmr.Gaussian())
    for use in (pmr.log_partition, pmr.sample_gibbs):
        with pytest.raises(ValueError, match=message):
            use(machine, progressbar=False)
    # Learned or random weights: at the value.
    W = pm.Normal.dist(shape=(1, 1))
    v = pmr.RBM.dist(W * 0 + 2.1, [0.0], [0.0], visible=unit, hidden=pmr.Gaussian())
    with pytest.raises(ValueError, match=message):
        pm.draw(v)


def test_what_is_just_normalisable_is_not_refused():
    pmr.RBM.dist([[1.9]], [0.0], [0.0], visible=pmr.Gaussian(2.0), hidden=pmr.Gaussian())
    pmr.RBM.dist([[-5.0]], [0.0], [0.0], visible=pmr.Rectified(), hidden=pmr.Rectified())  # they inhibit each other
    pmr.RBM.dist([[50.0]], [0.0], [0.0], visible=pmr.Gaussian(2.0))


@pytest.mark.parametrize(
    ("unit", "data", "message"),
    [
        (pmr.Spin(), [[0, 1, 1]], r"only -1 and 1, got 1 other entries of 3 \(such as 0\). Data of 0 and 1"),
        (pmr.Categorical(3), [[1, 0, 1]], "exactly one 1 in each group of 3 neighbouring entries, got 3 other"),
        (pmr.Categorical(3), np.ma.MaskedArray([[1, 0, 0]], [[1, 0, 0]]), "mask all of them or none"),
        (pmr.Binomial(2), [[3, 0, 1]], "only whole numbers from 0 to 2, got 1 other"),
        (pmr.Gaussian(), [[np.inf, 0, 1]], "only finite numbers, got 1 other"),
        (pmr.Gaussian(), [[np.nan, 0, 1]], "NaN"),
        (pmr.Rectified(), [[-0.5, 0, 1]], "finite numbers of at least 0, got 1 other"),
    ],
)
def test_data_that_are_no_states(unit, data, message):
    with pm.Model(), pytest.raises(ValueError, match=message):
        pmr.RBM("v", np.zeros((3, 2)), np.zeros(3), np.zeros(2), visible=unit, observed=data)


def test_sizes_that_are_no_whole_number_of_units():
    with pytest.raises(ValueError, match="4 hidden entries are no whole number of Categorical"):
        pmr.RBM.dist(np.zeros((3, 4)), np.zeros(3), np.zeros(4), hidden=pmr.Categorical(3))
    with pytest.raises(ValueError, match=r"shape \(2,\), but there are 3 units"):
        pmr.RBM.dist(np.zeros((3, 4)), np.zeros(3), np.zeros(4), visible=pmr.Gaussian([1.0, 2.0]))


def test_hidden_units_of_another_family():
    """p(h | v) from Hidden's density, summed over all h by the reference, is one; its draws are states."""
    W, b, c = ref.machine(2, 3, seed=2)
    v = np.array([0.3, -1.2])
    with pm.Model() as model:
        x = pmr.RBM("x", W, b, c, visible=pmr.Gaussian(0.5), hidden=pmr.Categorical(3), observed=v)
        h = pmr.Hidden("h", x)
    log_p = model.compile_logp(vars=[h], sum=False)
    p = [np.exp(log_p({"h": state})[0]).item() for state in np.eye(3, dtype="int8")]
    energy = [ref.pair_energy(("gaussian", 0.5), ("categorical", 3), v, state, W, b, c) for state in np.eye(3)]
    expected = np.exp(-np.array(energy) - ref.log_sum([-e for e in energy]))
    np.testing.assert_allclose(p, expected, rtol=1e-10)
    with model:
        drawn = pm.sample(400, tune=0, chains=1, cores=1, random_seed=1, progressbar=False, quiet=True)
    share = drawn.posterior["h"].values.reshape(-1, 3).mean(0)
    assert (abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 400) + 1e-12).all()
