"""Learning runs of which it is known whether they have finished: twelve problems, each stopped early and not.

Known by another route than `diagnose` takes: the likelihood by plain sums over all states of one side, written down
here once more, and climbed by L-BFGS from where the run ended, for thousands of iterations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

import pymc_rbm as pmr

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ITERATIONS = 1500
STATES = 2**14


@dataclass
class Problem:
    """A machine, its data, how it is learned for long enough, and after how many epochs it is looked at too early."""

    name: str
    data: Any
    hidden: int
    width: float | None
    """Standard deviation of the normal prior on W; None: a flat one."""
    early: int
    options: dict
    spins: bool = False

    def model(self):
        """The PyMC model."""
        n, m = self.data.shape[1], self.hidden
        with pm.Model() as model:
            W = pm.Flat("W", shape=(n, m)) if self.width is None else pm.Normal("W", 0, self.width, shape=(n, m))
            unit = pmr.Spin() if self.spins else pmr.Bernoulli()
            pmr.RBM("v", W, pm.Flat("b", shape=n), pm.Flat("c", shape=m), visible=unit, observed=self.data)
        return model

    def begin(self, seed=1):
        """What `fit` returns when it is asked for the epochs of a run that stops early."""
        with self.model():
            return pmr.fit(**{**self.options, "epochs": self.early}, random_seed=seed, progressbar=False)

    def learn(self, seed=1):
        """What `fit` would have returned early, and what it returned."""
        seen = []

        def look(status):
            if status.epoch == self.early:
                seen.append(status.learned())

        with self.model():
            learned = pmr.fit(random_seed=seed, progressbar=False, on_epoch=look, **self.options)
        return *seen, learned

    def truth(self, learned, iterations=ITERATIONS):
        """Nats a row: the objective of independent units, at the end of the run, and where it can be climbed to.

        Without iterations nothing is climbed.
        """
        W, b, c = (learned["parameters"][x].values for x in ("W", "b", "c"))
        known = np.ma.filled(np.ma.mean(self.data, axis=0), 0.5)
        p = ((known + 1) / 2 if self.spins else known) * 0.999 + 0.0005
        alone = np.log(p / (1 - p)) / (2 if self.spins else 1)
        here = self.pack(W, b, c)
        objective = self.objective()
        values = [-objective(x)[0] for x in (self.pack(0 * W, alone, 0 * c), here)]
        if not iterations:
            return *values, values[1]
        options = {"maxiter": iterations, "maxfun": 10**6, "maxcor": 30, "ftol": 1e-12, "gtol": 1e-9}
        start = here + 0.02 * np.random.default_rng(1).standard_normal(here.size)
        climb = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        return *values, max(-climb.fun, values[1])

    @staticmethod
    def pack(W, b, c):
        """One vector."""
        return np.concatenate([W.ravel(), b, c])

    def objective(self):
        """Minus the penalised log-likelihood a row, and its gradient."""
        likelihood, rows = self._by_visible() if self._small() else self._by_hidden(), len(self.data)
        n, m = self.data.shape[1], self.hidden

        def negative(x):
            W, b, c = x[: n * m].reshape(n, m), x[n * m : n * m + n], x[n * m + n :]
            value, slopes = likelihood(W, b, c)
            if self.width is not None:
                value -= (W**2).sum() / (2 * self.width**2 * rows)
                slopes[0] -= W / (self.width**2 * rows)
            return -value, -self.pack(*slopes)

        return negative

    def _small(self):
        return 2 ** self.data.shape[1] <= STATES or np.ma.is_masked(self.data)

    def _by_visible(self):
        """Sum over all visible states; rows with missing entries are sums over those that agree with them."""
        n = self.data.shape[1]
        states = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        states = 2 * states - 1 if self.spins else states
        rows, missing = np.ma.getdata(self.data), np.ma.getmaskarray(self.data)
        agree = ((rows[:, None] == states) | missing[:, None]).all(-1)

        def likelihood(W, b, c):
            fields = states @ W + c
            a = states @ b + np.logaddexp(0, fields).sum(1)
            log_z = logsumexp(a)
            with np.errstate(divide="ignore"):
                known = a + np.log(agree)
            each = logsumexp(known, axis=1)
            w = np.exp(known - each[:, None]).mean(0) - np.exp(a - log_z)
            on = w[:, None] * expit(fields)
            return each.mean() - log_z, [states.T @ on, w @ states, on.sum(0)]

        return likelihood

    def _by_hidden(self):
        """Sum over all hidden states."""
        m, rows = self.hidden, np.asarray(self.data, float)
        states = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
        log_sum = (lambda f: np.logaddexp(f, -f)) if self.spins else (lambda f: np.logaddexp(0, f))
        mean = np.tanh if self.spins else expit

        def likelihood(W, b, c):
            up, down = rows @ W + c, states @ W.T + b
            a = states @ c + log_sum(down).sum(1)
            log_z = logsumexp(a)
            on, w = expit(up) / len(rows), np.exp(a - log_z)
            off = w[:, None] * mean(down)
            value = (rows @ b).mean() + np.logaddexp(0, up).sum(1).mean() - log_z
            return value, [rows.T @ on - off.T @ states, rows.mean(0) - off.sum(0), on.sum(0) - w @ states]

        return likelihood


def bits(file, key="train_bits", d=None):
    """Binary data from a file of packed bits."""
    z = np.load(DATA / file)
    return np.unpackbits(z[key], axis=1)[:, : d or int(z["d"])]


def masked_lines(n=3, rows=80, share=0.15):
    """Bars and stripes, some entries missing."""
    rng = np.random.default_rng(1)
    lines = pmr.datasets.bars_and_stripes(n).values
    chosen = lines[rng.integers(len(lines), size=rows)]
    return np.ma.masked_array(chosen, rng.random(chosen.shape) < share)


def problems():
    """Twelve problems, from what the package brings along and, where they are there, shared data."""
    lines = {n: pmr.datasets.bars_and_stripes(n).values for n in (2, 3, 4)}
    digits = pmr.datasets.digits().values.reshape(-1, 64)
    pcd, exact = {"method": "pcd"}, {"method": "exact"}
    fast = pcd | {"learning_rate": 0.3}
    found = [
        Problem("lines 2x2, 8 hidden, pcd", lines[2], 8, None, 50, {"epochs": 10_000, **pcd}),
        Problem("lines 3x3, 8 hidden, prior, pcd", lines[3], 8, 4.0, 100, {"epochs": 10_000, **pcd}),
        Problem("lines 3x3, 2 hidden, exact", lines[3], 2, None, 50, {"epochs": 5000, "learning_rate": 0.5, **exact}),
        Problem("lines 4x4, 16 hidden, pcd", lines[4], 16, None, 50, {"epochs": 30_000, "learning_rate": 0.2, **pcd}),
        Problem("lines 4x4, 12 hidden, pt", lines[4], 12, None, 500, {"epochs": 15_000, "method": "pt"}),
        Problem("masked lines 3x3, 6 hidden, prior, pcd", masked_lines(), 6, 2.0, 50, {"epochs": 8000, **fast}),
        Problem("digits 8x8, 8 hidden, prior, pcd", digits, 8, 1.0, 3, {"epochs": 1000, **pcd}),
        Problem("digits 8x8, 5 hidden, lbfgs", digits[:500], 5, 1.0, 2, {}),
    ]
    if DATA.is_dir():
        jonas = np.load(DATA / "psych_jonas10.npz")["x"]
        torus = bits("ising2d_L7.npz", "b0.4", 49)[:1000].reshape(-1, 7, 7)[:, :4, :4].reshape(-1, 16)
        spins = 2 * torus.astype("int8") - 1
        often = {"method": "cd", "sweeps": 10, "learning_rate": 0.3}
        mushrooms, dna = bits("debd_mushrooms.npz"), bits("nade_dna.npz")
        found += [
            Problem("ten items, 4 hidden, prior, pcd", jonas, 4, 1.0, 10, {"epochs": 4000, **pcd}, spins=True),
            Problem("spins 4x4, 4 hidden, prior, cd", spins, 4, 1.0, 3, {"epochs": 1500, **often}, spins=True),
            Problem("mushrooms, 8 hidden, prior, pcd", mushrooms, 8, 1.0, 10, {"epochs": 1500, **fast}),
            Problem("dna, 4 hidden, prior, lbfgs", dna, 4, 0.5, 1, {}),
        ]
    return found


def begun():
    """Two runs of 500 updates that look as if they rested: nothing moves, and little was learned."""
    options = {"method": "pcd", "batch_size": None}
    return [
        Problem("lines 4x4, 16 hidden", pmr.datasets.bars_and_stripes(4).values, 16, 1.0, 500, options),
        Problem("masked lines 4x4, 16 hidden", masked_lines(4), 16, 1.0, 500, options),
    ]
