"""How far two sets of posterior draws are from one another, in Monte Carlo standard errors of their means."""

import arviz as az
import numpy as np


def mean_and_error(idata, name):
    """Posterior means of all entries of a variable, their Monte Carlo errors, and posterior standard deviations."""
    draws = idata["posterior"][name]
    return tuple(
        np.ravel(x.values) for x in (draws.mean(("chain", "draw")), az.mcse(draws), draws.std(("chain", "draw")))
    )


def distances(first, second, names):
    """Differences of all means in joint errors. An error of a quarter of a standard deviation would show nothing."""
    found = []
    for name in names:
        (a, error_a, sd), (b, error_b, _) = (mean_and_error(idata, name) for idata in (first, second))
        error = np.hypot(error_a, error_b)
        assert (error < 0.25 * sd).all(), name
        found.append(abs(a - b) / error)
    return np.concatenate(found)
