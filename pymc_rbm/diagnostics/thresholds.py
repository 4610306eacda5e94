"""Every threshold of the verdict, with its source. Nothing else in the diagnostics holds a number that decides."""

from __future__ import annotations

from pymc_rbm.support.convergence import ESS_PER_CHAIN

BURN_IN = 20
"""Autocorrelation times that a probe runs before it is compared, and again while it is. An integrated autocorrelation
time is about two relaxation times, so what a start leaves in the mean is e⁻⁴⁰ of its distance, if the draws' own
autocorrelation is that of the whole machine. Where it is not, probes tell."""

LEAST_PROBE_DRAWS = 100
"""Draws of burn-in and of comparison at least: their autocorrelation times are estimated, not known."""

NEGLIGIBLE_WEIGHT = 0.01
"""Probability of a mode up to which the draws may leave it out: below what R-hat up to 1.01 overlooks, too. (One chain
of a hundred that sits d standard deviations away gives R-hat² - 1 of about d²/100.)"""

MARGIN = 3
"""In the bound on a mode's weight: standard errors of a mean, and nats by which the log of a mean of weights exceeds
that of its expectation with a probability of at most e⁻³ (Markov's inequality)."""

UNEXPLAINED = 20
"""Expected draws with a unit on, by effective number of draws, from which a unit that never was is at odds with the
machine: independent draws have none with a probability of e⁻²⁰."""

DATA_DISTANCE = 0.1
"""Kolmogorov-Smirnov distance between data and a learned machine, beyond chance, up to which the one describes the
other: a tenth of the probability lies elsewhere. A choice: learned machines differ from data a little, all of them."""

RENEWALS = ESS_PER_CHAIN
"""Autocorrelation times of the last machine that learning must have taken, for the particles to have followed it."""

GRADIENT = 2
"""Norm of the gradient, in units of its Monte Carlo error, up to which learning is at rest: at an optimum it is the
error alone, a ratio of 1, or less, because the parameters have followed the particles; at 2 three quarters of its
square are real. A ratio below does not show that learning is done."""

SHARE_OF_GAIN = 0.01
"""A run has finished where the objective rises by no more than this share of what learning gained over independent
units. A choice."""

SHARE_OF_ERROR = 0.1
"""Or by no more than this share of the statistical error, which is p/(2N) nats a row for p parameters and N rows: by so
much the likelihood of a maximum exceeds that of the truth (Akaike 1974, IEEE Trans. Autom. Control 19, 716-723), and at
most half a nat. What matters is the larger of the two."""
