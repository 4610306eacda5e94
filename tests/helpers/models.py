"""Models that most tests of learning learn."""

import numpy as np
import pymc as pm

import pymc_rbm as pmr


def model_of(rows, n_hidden=4, scale=None, bias_scale=None, name="v", **options):
    """One machine, weights and biases with normal priors of these scales: flat where it is None."""

    def parameter(key, scale, *dims):
        return pm.Flat(key, dims=dims) if scale is None else pm.Normal(key, 0, scale, dims=dims)

    with pm.Model(coords={"pixel": range(rows.shape[-1]), "unit": range(n_hidden)}) as model:
        W, b = parameter("W", scale, "pixel", "unit"), parameter("b", bias_scale, "pixel")
        pmr.RBM(name, W, b, parameter("c", bias_scale, "unit"), observed=rows, **options)
    return model


def likelihood_of(model, learned, data):
    """The mean log-likelihood of rows, by the free energy and log Z."""
    machine = pmr.machine_of(model, learned)
    b, c, W = machine.parameters
    return float(-pmr.free_energy(np.asarray(data), W, b, c).mean() - pmr.log_partition(machine).estimate)


def groups(n=40, rows=3000, shares=(0.5, 0.3, 0.2), flipped=0.05, seed=3):
    """Rows about some centres, and the group of each."""
    rng = np.random.default_rng(seed)
    centres, which = rng.integers(0, 2, (len(shares), n)), rng.choice(len(shares), rows, p=shares)
    return (centres[which] ^ (rng.random((rows, n)) < flipped)).astype("int8"), which, centres
