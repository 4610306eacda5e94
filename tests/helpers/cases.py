"""Machines of every kind, as rows: how each is learned, measured, sampled and inpainted. A new unit is one row."""

from functools import partial

import arviz as az
import numpy as np
import pymc as pm
import reference as ref
import xarray as xr
from enumerated import Enumerated
from options import QUIET

import pymc_rbm as pmr

N = 60
WHICH = np.arange(N) % 3  # the group of each row, which all entries of the row know of


def one_hot(labels, q):
    return np.eye(q, dtype="int8")[labels].reshape(len(labels), -1)


def flipped(x, rng, share):
    return np.where(rng.random(x.shape) < share, 1 - x, x)


def grouped(unit, n, rng, share=0.2):
    """N rows of n entries that go together."""
    on = np.repeat((WHICH > 0)[:, None], n, axis=1).astype(int)
    labels = np.where(rng.random((N, n)) < 0.3, rng.integers(3, size=(N, n)), WHICH[:, None])
    return {
        pmr.Bernoulli: lambda: flipped(on, rng, share),
        pmr.Spin: lambda: 2 * flipped(on, rng, share) - 1,
        pmr.Categorical: lambda: one_hot(labels[:, : n // 3], 3),
        pmr.Binomial: lambda: rng.binomial(unit.n, 0.2 + 0.5 * on),
        pmr.Gaussian: lambda: 1.5 * on - 0.7 + 0.6 * rng.standard_normal((N, n)),
        pmr.Rectified: lambda: abs(1.5 * on + 0.7 * rng.standard_normal((N, n))),
        pmr.DReLU: lambda: 1.5 * on - 0.7 + 0.6 * rng.standard_normal((N, n)),
    }[type(unit)]()


class Case:
    """A machine with a visible layer of its own data, one distribution in a model."""

    epochs, rate, forward, thin = 500, 0.1, 1000, 5

    def __init__(self, visible, hidden, n_hidden, data=None, missing=(0,), n=3, share=0.2, forward=1000, thin=5):
        rng = np.random.default_rng(4)
        self.data = grouped(visible, n, rng, share) if data is None else data
        self.missing, self.real, self.forward, self.thin = list(missing), not visible.finite, forward, thin
        with pm.Model() as self.model:
            W = pm.Normal("W", 0, 0.7, shape=(self.data.shape[1], n_hidden))
            b, c = pm.Normal("b", 0, 1, shape=self.data.shape[1]), pm.Normal("c", 0, 1, shape=n_hidden)
            pmr.RBM("v", W, b, c, visible=visible, hidden=hidden, observed=self.data)

    def learn(self):
        with self.model:
            self.learned = pmr.fit(self.epochs, method="pcd", learning_rate=self.rate, sweeps=1, **QUIET)

    def machine(self):
        return pmr.machine_of(self.model, self.learned).numeric()

    def read(self, path):
        with xr.open_datatree(path) as tree:
            return pmr.machine_of(tree.load())

    def score(self):
        """Mean log-likelihood of the data."""
        found = pmr.log_likelihood(self.data, self.model, self.learned, progressbar=False)
        return float(found["mean_log_likelihood"]["mean"])

    def independent(self):
        """That of units of the same families that are not coupled, each with the data's mean."""
        machine = self.machine()
        k, n = len(machine.layers), len(machine.couplings)
        p = [np.zeros_like(x) if i < k + n else x for i, x in enumerate(machine.parameters)]
        mean = np.ma.filled(np.ma.mean(self.data, axis=0), 0.5) * 0.999 + 0.0005
        p[0] = machine.layers[0].unit.bias_of_mean(mean)
        found = pmr.log_likelihood(self.data, machine.with_parameters(p), progressbar=False)
        return float(found["mean_log_likelihood"]["mean"])

    def log_partition(self, **options):
        return pmr.log_partition(self.machine(), **options)

    def states_of(self, machine):
        """All visible states, where they are finite."""
        return None if self.real else ref.values_of(machine.layers[0])

    @property
    def dtype(self):
        return self.machine().layers[0].unit.dtype

    def generative(self):
        return pmr.generative(self.model, self.learned)

    def row(self, draws):
        return np.asarray(draws["v"])

    def chains(self):
        return pmr.sample_gibbs(self.machine(), draws=400, tune=50, chains=20, sweeps=self.thin, **QUIET)

    def further_draws(self):
        return [self.chains()["posterior"]["v"].values]

    def diagnose(self):
        return pmr.diagnose(self.chains(), self.machine(), **QUIET)

    def to_inpaint(self, drawn):
        return drawn[:2]

    def inpaint(self, rows):
        """Draws of the completed rows, and the effective size of each row's."""
        found = pmr.inpaint(rows, self.model, self.learned, draws=1000, tune=20, **QUIET)
        assert found["convergence"]["converged"].all()
        return found["posterior"]["v"].values, found["convergence"]["ess"].values

    def values_of_missing(self):
        return ref.values_of(self.machine().layers[0], self.missing)

    def log_weight(self, v, i):
        """log p(v) but for a constant, of row i."""
        return ref.log_weight(self.machine(), v)


class General(Case):
    """Five spins on a ring, the last one hidden."""

    def __init__(self):
        rng = np.random.default_rng(4)
        self.data = hidden_entries(grouped(pmr.Spin(), 4, rng), 1)
        self.missing, self.real = [0, 4], False
        pattern = abs(np.subtract.outer(np.arange(5), np.arange(5))) % 3 == 1
        with pm.Model() as self.model:
            U, b = pm.Normal("U", 0, 0.7, shape=(5, 5)), pm.Normal("b", 0, 1, shape=5)
            pmr.BoltzmannMachine("v", U, b, unit=pmr.Spin(), pattern=pattern, observed=self.data)


def hidden_entries(data, n):
    """Data beside entries that are never observed."""
    rest = np.zeros((len(data), n), data.dtype)
    return np.ma.MaskedArray(np.c_[data, rest], np.c_[np.zeros(data.shape, bool), rest == 0])


class DeepBoltzmann(Case):
    """Layers of 3, 2 and 2 units; the third is hidden beside the data."""

    epochs, rate = 600, 0.3

    def __init__(self):
        rows = grouped(pmr.Bernoulli(), 3, np.random.default_rng(4), 0.05)
        self.data, self.missing, self.real = hidden_entries(rows, 2), [0, 3, 4], False
        with pm.Model() as self.model:
            weights = [pm.Normal(f"W{i}", 0, 1, shape=shape) for i, shape in enumerate([(3, 2), (2, 2)])]
            biases = [pm.Normal(f"b{i}", 0, 1, shape=n) for i, n in enumerate((3, 2, 2))]
            pmr.DeepBoltzmannMachine("v", weights, biases, observed=rows)


class Conditional(Case):
    """Biases that depend on a covariate of two values; one of them where one machine is asked for."""

    forward = 40  # each has all rows

    def __init__(self):
        rng = np.random.default_rng(4)
        self.missing, self.real, X = [2], False, np.resize([[-1.0], [1.0]], (N, 1))
        self.data = grouped(pmr.Bernoulli(), 3, rng)
        self.data[:, 2] = X[:, 0] > 0
        with pm.Model() as self.model:
            W, A = pm.Normal("W", 0, 1, shape=(3, 2)), pm.Normal("A", 0, 1, shape=(1, 3))
            b, c = pm.Normal("b", 0, 1, shape=3), pm.Normal("c", 0, 1, shape=2)
            pmr.RBM("v", W, b + X @ A, c, observed=self.data)

    def machine(self, row=0):
        return pmr.machine_of_row(self.model, self.learned, row=row).numeric()

    def read(self, path):
        with xr.open_datatree(path) as tree:
            return pmr.machine_of_row(tree.load(), row=0)

    def row(self, draws):
        return np.asarray(draws["v"])[..., ::2, :]

    def to_inpaint(self, drawn):
        return self.data

    def log_weight(self, v, i):
        return ref.log_weight(self.machine(i), v)


class DeepBelief(Case):
    """Layers of 4, 3 and 2 units. What is asked of one machine is asked of the top."""

    def __init__(self):
        self.data, self.missing, self.real = grouped(pmr.Bernoulli(), 4, np.random.default_rng(4), 0.05), [0, 3], False

    def learn(self):
        options = {"method": "pcd", "learning_rate": 0.3, "sweeps": 1}
        self.network = pmr.fit_deep(self.data, [3, 2], epochs=[600, 200], **options, **QUIET)
        self.learned = self.network.learned
        layers = [(W, b, c) for b, c, W in (machine.parameters for machine in self.network.machines)]
        exact = Enumerated(layers)
        self.log_p = dict(zip(exact.visible, exact.log_likelihood(), strict=True))

    def machine(self):
        return self.network.machines[-1]

    def read(self, path):
        with xr.open_datatree(path) as tree:
            return pmr.DeepBeliefNetwork(tree.load()).machines[-1]

    def score(self):
        """The bound, which is below the log-likelihood."""
        return float(self.network.bound(self.data, **QUIET)["mean_bound"]["mean"])

    def independent(self):
        p = self.data.mean(0)
        return float((p * np.log(p) + (1 - p) * np.log(1 - p)).sum())

    def log_partition(self, **options):
        return self.network.log_partition(**options)

    def generative(self):
        return self.network.model()

    dtype = "int64"  # PyMC's for Bernoulli units

    def further_draws(self):
        return []

    def inpaint(self, rows):
        found = self.network.inpaint(rows, draws=1000, tune=50, **QUIET)
        v = found["posterior"]["v"]
        ess = [az.ess(v[:, :, i].isel(v_unit=self.missing).astype(float)).min() for i in range(len(rows))]
        return v.values, np.array(ess, float)

    def values_of_missing(self):
        return np.array(ref.states(len(self.missing)), float), np.zeros(2 ** len(self.missing))

    def log_weight(self, v, i):
        return self.log_p[tuple(v.astype(int).tolist())]


def labelled():
    """Real and binary columns and a label, all in the visible layer."""
    unit = pmr.Beside((pmr.Gaussian(0.9), 1), (pmr.Bernoulli(), 1), label=(pmr.Categorical(3), 3))
    rng = np.random.default_rng(4)
    columns = [grouped(x, n, rng) for x, n in ((pmr.Gaussian(), 1), (pmr.Bernoulli(), 1), (pmr.Categorical(3), 3))]
    case = Case(unit, pmr.Bernoulli(), 2, np.concatenate(columns, axis=1), [1, 2, 3, 4])
    case.real = False  # what is missing is not
    case.states_of = lambda machine: None
    return case


def with_holes():
    """Binary rows of which a fifth of the entries is unknown."""
    rng = np.random.default_rng(4)
    rows = grouped(pmr.Bernoulli(), 3, rng, 0.05)
    case = Case(pmr.Bernoulli(), pmr.Bernoulli(), 2, np.ma.MaskedArray(rows, rng.random(rows.shape) < 0.2))
    case.rate = 0.5
    return case


CASES = {
    "spin-spin": partial(Case, pmr.Spin(), pmr.Spin(), 2),
    "categorical-gaussian": partial(Case, pmr.Categorical(3), pmr.Gaussian(0.8), 1, n=6, missing=(3, 4, 5)),
    "gaussian-categorical": partial(Case, pmr.Gaussian([0.7, 1.1]), pmr.Categorical(3), 6, n=2),
    "binomial-bernoulli": partial(Case, pmr.Binomial(4), pmr.Bernoulli(), 2, n=2),
    "gaussian-gaussian": partial(Case, pmr.Gaussian(0.9), pmr.Gaussian(), 1, n=2, forward=20),
    "bernoulli-rectified": partial(Case, pmr.Bernoulli(), pmr.Rectified(), 1, share=0.05),
    "rectified-binomial": partial(Case, pmr.Rectified(), pmr.Binomial(2), 2, n=2),
    "drelu-spin": partial(Case, pmr.DReLU(2.0, 3.0, -0.3), pmr.Spin(), 2, n=2),
    "spin-drelu": partial(Case, pmr.Spin(), pmr.DReLU(0.7, 2.0, -0.6), 1, share=0.05, thin=10),
    "mixture": partial(Case, pmr.Gaussian(0.6), pmr.Categorical(3), 3, n=2),
    "missing data": with_holes,
    "general": General,
    "class": labelled,
    "conditional": Conditional,
    "deep belief": DeepBelief,
    "deep Boltzmann": DeepBoltzmann,
}
