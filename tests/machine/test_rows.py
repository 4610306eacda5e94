"""Conditional machines: biases that differ by row, learned by every estimator, sampled, scored."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from options import MASKED, QUIET
from pytensor.tensor.subtensor import AdvancedIncSubtensor

import pymc_rbm as pmr
from pymc_rbm.machine.rows import machine_of_rows

pytestmark = pytest.mark.interpreted

N, VISIBLE = 60, 3
QUICK = {"compile_kwargs": {"mode": "FAST_COMPILE"}, **QUIET}
TRUE = {
    "W": np.array([[1.5, -1.0], [-1.5, 0.5], [1.0, 1.5]]),
    "b0": np.array([0.3, -0.2, -0.5]),
    "c0": np.array([-0.5, 0.2]),
    "A": np.array([[1.0, -0.8, 0.5], [0.0, 1.2, -0.4]]),
    "B": np.array([[-0.6, 0.4], [0.9, 0.0]]),
}
OVERFIT = sum(x.size for x in TRUE.values()) / (2 * N)
"""Nats a row that the optimum owes to noise: half a nat for each parameter."""


def biases(parameters, X):
    return parameters["b0"] + X @ parameters["A"], parameters["c0"] + X @ parameters["B"]


@pytest.fixture(scope="module")
def data():
    """Covariates, and exact draws of the machine of each row."""
    rng = np.random.default_rng(3)
    X, states = rng.standard_normal((N, 2)), np.array(ref.states(VISIBLE))
    p = [np.exp(ref.log_p(TRUE["W"], b, c)) for b, c in zip(*biases(TRUE, X), strict=True)]
    return X, np.array([states[rng.choice(len(states), p=x)] for x in p])


def with_covariates(X, v, prior=pm.Normal, **kwargs):
    with pm.Model(coords={"row": range(len(X)), "unit": range(VISIBLE)}) as model:
        at = {x: prior(x, shape=value.shape) for x, value in TRUE.items()}
        covariates = pm.Data("X", X)
        b, c = at["b0"] + covariates @ at["A"], at["c0"] + pt.dot(covariates, at["B"])
        pmr.RBM("v", at["W"], b, c, observed=v, dims=("row", "unit"), **kwargs)
    return model


def likelihoods(parameters, X, v):
    rows = zip(v, *biases(parameters, X), strict=True)
    return np.array([ref.log_p(parameters["W"], b, c)[ref.index(row)] for row, b, c in rows])


def penalised(parameters, X, v):
    return likelihoods(parameters, X, v).mean() - sum((p**2).sum() for p in parameters.values()) / (2 * len(v))


def slopes(parameters, X, v, eps=1e-5):
    """Of the reference, by differences, along five random directions."""
    rng, out = np.random.default_rng(0), []
    for _ in range(5):
        direction = {k: rng.standard_normal(p.shape) for k, p in parameters.items()}
        ends = [penalised({k: p + s * direction[k] for k, p in parameters.items()}, X, v) for s in (-eps, eps)]
        out.append((ends[1] - ends[0]) / (2 * eps))
    return np.array(out)


@pytest.fixture(scope="module")
def learned(data):
    model = with_covariates(*data)
    with model:
        return model, pmr.fit(500, method="exact", optimizer="lbfgs", **QUICK)


def test_the_exact_optimum(learned, data):
    """The gradient of the reference's likelihood vanishes; a hundredth beside the optimum it does not."""
    found = {k: learned[1]["parameters"][k].values for k in TRUE}
    assert abs(slopes(found, *data)).max() < 1e-8
    assert abs(slopes({**found, "A": found["A"] + 0.01}, *data)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("method", "tolerance"), [("pcd", OVERFIT / 20), ("cd", OVERFIT / 4), ("exact", OVERFIT / 20)])
def test_minibatches_reach_the_optimum(learned, data, method, tolerance):
    """Of the penalised likelihood, to a twentieth of `OVERFIT`; CD, which is biased, to a quarter.

    With the covariates in another order than the data no estimator would come near: the optimum is 0.2 nats away.
    """
    X, v = data
    best = {k: learned[1]["parameters"][k].values for k in TRUE}
    with learned[0]:
        run = pmr.fit(1500, method=method, batch_size=20, learning_rate=0.3, sweeps=2, **QUIET)
    found = {k: run["averaged_parameters"][k].values for k in TRUE}
    assert penalised(best, X, v) - penalised(found, X, v) < tolerance
    null = {**best, "A": 0 * best["A"], "B": 0 * best["B"]}
    assert penalised(best, X, v) - penalised(null, X, v) > 0.2
    assert "particles" not in run


def test_particles_with_defaults_come_near_the_optimum(learned, data):
    """Of L-BFGS, in nats a row; without W, or without anything, learning would end farther away."""
    X, v = data
    best = {k: learned[1]["parameters"][k].values for k in TRUE}
    with learned[0]:
        run = pmr.fit(1000, method="pcd", **QUIET)
    found = {k: run["averaged_parameters"][k].values for k in TRUE}
    assert penalised(best, X, v) - penalised(found, X, v) < OVERFIT / 20
    assert penalised(best, X, v) - penalised({**best, "W": 0 * best["W"]}, X, v) > OVERFIT / 3


def test_a_bias_with_other_terms_is_centred_as_a_bias_alone(data, monkeypatch):
    """With coefficients of covariates that are zero, learning is the same to the last digits.

    Offsets follow random particles, of which each row has one and a single machine 100: held, they are the same.
    """
    X, v = data
    monkeypatch.setattr("pymc_rbm.learning.gradients.OFFSET_RATE", 0.0)

    def learn(with_x, centred):
        with pm.Model():
            W, b, c = pm.Flat("W", shape=(3, 2)), pm.Flat("b0", shape=3), pm.Flat("c0", shape=2)
            if with_x:
                b, c = b + X @ np.zeros((2, 3)), X @ np.zeros((2, 2)) + c
            pmr.RBM("v", W, b, c, observed=v)
            run = pmr.fit(30, method="exact", learning_rate=0.5, centred=centred, **QUICK)
        return run["parameters"].to_dataset()

    both, without = learn(True, True), learn(True, False)
    for x, alone in learn(False, True).items():
        np.testing.assert_allclose(both[x], alone, rtol=1e-8)
        assert abs(without[x] - alone).max() > 0.01


def test_coefficients_are_recovered():
    """From 3,000 rows, without hidden units' ambiguity: the visible biases' coefficients, to five standard errors."""
    rng = np.random.default_rng(1)
    n = 3000
    X = rng.standard_normal((n, 1))
    A, b0 = np.array([[1.0, -0.5]]), np.array([0.2, -0.3])
    v = (rng.random((n, 2)) < 1 / (1 + np.exp(-(b0 + X @ A)))).astype(int)
    with pm.Model():
        slope = pm.Flat("A", shape=(1, 2))
        pmr.RBM("v", np.zeros((2, 1)), pm.Flat("b0", shape=2) + X @ slope, np.zeros(1), observed=v)
        run = pmr.fit(30, learning_rate=1.0, **QUICK)
    p = 1 / (1 + np.exp(-(b0 + X @ A)))
    for i in range(2):  # of logistic regression: the information of slope and intercept
        design = np.c_[np.ones(n), X]
        error = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * (p * (1 - p))[:, i : i + 1]))))
        found = [run["averaged_parameters"][k].values.ravel()[i] for k in ("b0", "A")]
        assert (abs(np.array(found) - [b0[i], A[0, i]]) < 5 * error).all()


def test_only_the_rows_of_a_batch_are_computed():
    X, A, b0 = (pytensor.shared(np.ones(s)) for s in ((1000, 2), (2, 3), 3))
    rows = pt.lvector("rows")
    expression = b0 + pt.exp(X @ A) * 2 + X[:, 0][:, None]
    bias = machine_of_rows(pmr.restricted(pt.dmatrix(), expression, pt.dvector()), rows).layers[0].bias
    f = pytensor.function([rows], [bias, *pt.grad(bias.sum(), [A, b0])])
    chosen = np.array([3, 999])
    values = pytensor.function([], expression)()
    np.testing.assert_allclose(f(chosen)[0], values[chosen], rtol=1e-12)
    # The gradient of an index over all rows would be put back into all rows.
    naive = pytensor.function([rows], pt.grad(expression[rows].sum(), [A, b0]))
    puts = [[isinstance(x.op, AdvancedIncSubtensor) for x in g.maker.fgraph.toposort()] for g in (f, naive)]
    assert [any(x) for x in puts] == [False, True]


def test_rows_are_scored_and_sampled(learned, data):
    model, run = learned
    X, v = data
    found = {k: run["parameters"][k].values for k in TRUE}
    scored = pmr.log_likelihood(v, model, run)
    exact = likelihoods(found, X, v)
    np.testing.assert_allclose(scored["log_likelihood"]["v"].values.ravel(), exact, rtol=1e-9)
    assert run["machines"]["v_visible_bias"].shape == (N, VISIBLE)
    again = pmr.log_likelihood(v, run)
    np.testing.assert_allclose(again["log_likelihood"].to_dataset().to_array().values.ravel(), exact, rtol=1e-9)
    # One row's machine, by all that takes a machine.
    machine = pmr.machine_of_row(model, run, row=7)
    b, c = (x[7] for x in biases(found, X))
    assert pmr.log_partition(machine).estimate == pytest.approx(ref.log_z(found["W"], b, c), abs=1e-9)
    # All rows at once, by the step method: each row's means are its own machine's.
    with pmr.generative(model, run) as new:
        assert tuple(new.named_vars_to_dims["v"]) == ("row", "unit")
        draws = pm.sample(4000, tune=50, chains=1, cores=1, quiet=True, **QUIET).posterior["v"].values[0]
    states = np.array(ref.states(VISIBLE))
    means = np.array([
        np.exp(ref.log_p(found["W"], b, c)) @ states for b, c in zip(*biases(found, X), strict=True)
    ])  # fmt: skip
    error = np.sqrt(means * (1 - means) / (len(draws) / 10))  # an effective size of at least a tenth
    assert (abs(draws.mean(0) - means) < 5 * error).all()
    assert (abs(draws.mean(0) - means[::-1]) > 5 * error).any()


def test_new_covariates(learned, data):
    model, run = learned
    found = {k: run["parameters"][k].values for k in TRUE}
    with pm.do(model, {}) as other:
        pm.set_data({"X": np.array([[2.0, -1.0]] * N)})
        b, c = (x[0] for x in biases(found, np.array([[2.0, -1.0]])))
        machine = pmr.machine_of_row(other, run, row=0)
    np.testing.assert_allclose(machine.layers[0].bias, b, rtol=1e-12)
    np.testing.assert_allclose(machine.layers[1].bias, c, rtol=1e-12)


@pytest.mark.slow
@MASKED
def test_missing_entries_and_a_file(data, tmp_path):
    X, v = data
    mask = np.random.default_rng(0).random(v.shape) < 0.2
    with with_covariates(X, np.ma.masked_array(v, mask)):
        whole = pmr.fit(4, horizon=4, **QUICK)
        half = pmr.fit(2, horizon=4, checkpoint=tmp_path / "half.nc", checkpoint_every=2, **QUICK)
        again = pmr.fit(2, horizon=4, resume=half, **QUICK)
    np.testing.assert_array_equal(again["parameters"]["A"], whole["parameters"]["A"])
    assert (tmp_path / "half.nc").exists()
    np.testing.assert_array_equal(whole["data"]["v_rows"].values[~mask], v[~mask])


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("method", ["pt", "fpcd", "ucd"])
def test_methods_that_share_chains(data, method):
    with with_covariates(*data), pytest.raises(ValueError, match=r"\['v'\] differ by row.*'pcd', 'cd' or 'exact'"):
        pmr.fit(1, method=method, **QUIET)


def test_what_needs_one_machine(learned, data):
    model, run = learned
    message = "machine_of_row"
    for use in (pmr.log_partition, pmr.sample_gibbs):
        with pytest.raises(ValueError, match=message):
            use(model, run, progressbar=False)
    with pytest.raises(ValueError, match=message):
        pmr.diagnose(run, model, progressbar=False)
    with pytest.raises(ValueError, match="row must be below 60"):
        pmr.machine_of_row(model, run, row=120)
    with pytest.raises(ValueError, match="use the machine itself"):
        pmr.machine_of_row(pmr.restricted(np.zeros((2, 2)), np.zeros(2), np.zeros(2)), row=0)
    with pytest.raises(ValueError, match="60 whole rows"):
        pmr.log_likelihood(data[1][:5], model, run)


def test_weights_by_row_are_refused(data):
    with pm.Model():
        W = pm.Normal("W", shape=(N, 3, 2))
        pmr.RBM("v", W, np.zeros(3), np.zeros(2), observed=data[1])
        with pytest.raises(ValueError, match="only the biases may differ by row"):
            pmr.fit(1, **QUIET)
