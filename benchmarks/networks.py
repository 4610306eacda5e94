"""Posteriors of couplings by the exact likelihood, by an anchored log Z, and by the pseudo-likelihood.

``python -m benchmarks.networks adhd FILE.npz``: the 18 items of ``psych_adhd18.npz``, 171 parameters, Cauchy(0, 2.5)
on couplings and logistic thresholds. ``python -m benchmarks.networks synthetic [problems]``: 16 units, 400 rows, 136
parameters with standard normal priors, as many problems. ``python -m benchmarks.networks large``: 50 units, 1,000 rows,
where the exact likelihood is not known: the check stands alone. ``python -m benchmarks.networks digits``: an RBM 64x20
on 1,797 digits, likewise.

4 chains of 1,000 draws on 2 cores (digits: 2 of 200). ``shift`` is that of posterior means from the exact ones, in
exact standard deviations (root of the mean square, and largest), ``sd`` the quotient of standard deviations (median,
least, largest), ``claimed`` what `check_anchors` says of shift and standard deviations, ``ESS/s`` the least bulk ESS a
second.
"""

import sys
import time
import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytensor.tensor as pt

import pymc_rbm as pmr

QUIET = {"progressbar": False, "random_seed": 1}
SAMPLING = {"draws": 1000, "tune": 1000, "chains": 4, "cores": 2, "compute_convergence_checks": False, **QUIET}


def normal(name, shape):
    """A standard normal prior."""
    return pm.Normal(name, 0, 1, shape=shape)


def network(rows, prior, threshold):
    """A machine of coupled items."""
    n = rows.shape[1]
    pairs = np.triu_indices(n, 1)
    with pm.Model() as model:
        U = pt.zeros((n, n))[pairs].set(prior("J", shape=len(pairs[0])))
        pmr.BoltzmannMachine("v", U + U.T, threshold("b", shape=n), observed=rows)
    return model


def made(n, rows, seed, density=1.0):
    """Rows of a machine whose couplings are N(0, .5²), or 0."""
    rng = np.random.default_rng(seed)
    U = np.triu(rng.normal(0, 0.5, (n, n)) * (rng.random((n, n)) < density), 1)
    machine = pmr.boltzmann(U + U.T, rng.normal(0, 0.5, n) - (U + U.T).sum(0) / 2)
    drawn = pmr.sample_gibbs(machine, draws=1, tune=2000, chains=rows, **QUIET)
    return drawn["posterior"]["v"].values[:, 0]


def sampled(model, **options):
    """Return draws, their means and standard deviations, seconds, and the least bulk ESS."""
    began = time.perf_counter()
    with model:
        idata = pm.sample(**SAMPLING | options)
    seconds, free = time.perf_counter() - began, [x.name for x in model.free_RVs]
    draws = idata["posterior"].dataset.stack(look=("chain", "draw")).transpose("look", ...)
    values = np.concatenate([draws[x].values.reshape(draws.sizes["look"], -1) for x in free], axis=1)
    ess = min(float(x.min()) for x in az.ess(idata["posterior"].dataset[free]).data_vars.values())
    return idata, values.mean(0), values.std(0), seconds, ess


def line(what, found, exact=None, claimed=""):
    """Print a row."""
    _, mean, sd, seconds, ess = found
    text = f"{what:>12}{seconds:9.0f}{ess:8.0f}{ess / seconds:8.1f}"
    if exact is not None:
        shift, ratio = (mean - exact[1]) / exact[2], sd / exact[2]
        text += f"{np.sqrt((shift**2).mean()):8.3f}{np.abs(shift).max():7.3f}"
        text += f"{np.median(ratio):8.3f}{ratio.min():7.3f}{ratio.max():7.3f}"
    print(text + claimed, flush=True)


def compare(model, exact=True, **options):
    """Print rows of one problem."""
    print(f"{'':12}{'seconds':>9}{'ESS':>8}{'ESS/s':>8}{'shift':>8}{'':7}{'sd':>8}")
    known = sampled(model, **options) if exact else None
    if known is not None:
        line("exact", known)
    with model:
        learned = pmr.fit(**QUIET)
    began = time.perf_counter()
    near = pmr.anchored(model, learned, names="v", **QUIET)
    anchoring = time.perf_counter() - began
    found = sampled(near, **options)
    began = time.perf_counter()
    check = pmr.check_anchors(near, found[0], random_seed=2, progressbar=False)
    claimed = f"   claimed {check.shift:.3f}, {100 * (check.factor - 1):.1f} %, {'' if check else 'not '}reliable; "
    claimed += f"anchor {anchoring:.0f} s, check {time.perf_counter() - began:.0f} s"
    line("anchored", found, known, claimed)
    if exact:
        line("pseudo", sampled(pmr.pseudo_likelihood(model), **options), known)
    else:
        print(check)


def main(what, *given):
    """Print what was asked for."""
    if what == "adhd":
        with np.load(given[0]) as file:
            rows = file["x"].astype("int8")

        def threshold(name, shape):  # density exp(μ/2) / (1 + exp(μ))
            own = pm.Flat(name, shape=shape)
            pm.Potential(f"{name}_prior", own / 2 - pt.softplus(own))
            return own

        compare(network(rows, lambda name, shape: pm.Cauchy(name, 0, 2.5, shape=shape), threshold))
    elif what == "synthetic":
        for seed in range(1, int(given[0] if given else 10) + 1):
            compare(network(made(16, 400, seed), normal, normal))
    elif what == "large":
        compare(network(made(50, 1000, 1, 0.1), normal, normal), exact=False)
    else:
        with pm.Model() as model:
            W = pm.Normal("W", 0, 0.5, shape=(64, 20))
            b, c = pm.Normal("b", 0, 3, shape=64), pm.Normal("c", 0, 3, shape=20)
            pmr.RBM("v", W, b, c, observed=pmr.datasets.digits())
        compare(model, exact=False, draws=200, tune=200, chains=2)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
