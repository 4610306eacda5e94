"""All thresholds of the verdict are here, with their sources; no other numbers of the diagnostics decide it."""

from __future__ import annotations

from pymc_rbm.support.convergence import ESS_PER_CHAIN

BURN_IN = 20
"""How many autocorrelation times a probe runs before it is compared, and again while it is compared. An integrated
autocorrelation time is about two relaxation times, so what a start leaves in the mean is e⁻⁴⁰ of its distance, if the
draws' own autocorrelation is that of the whole machine. Where it is not, the probes disagree with the draws."""

LEAST_PROBE_DRAWS = 100
"""The least number of draws of burn-in and of comparison, since autocorrelation times are only estimated."""

NEGLIGIBLE_WEIGHT = 0.01
"""The probability of a mode up to which the draws may leave it out, which R-hat up to 1.01 overlooks, too. (One chain
of a hundred that sits d standard deviations away gives R-hat² - 1 of about d²/100.)"""

MARGIN = 3
"""The bound on a mode's weight allows for this many standard errors of a mean, and this many nats by which the log of a
mean of weights may exceed the log of its expectation, with a probability of at most e⁻³ (Markov's inequality)."""

UNEXPLAINED = 20
"""The expected number of independent draws with a unit on, from which a unit that never was on contradicts the machine:
that happens with a probability of e⁻²⁰."""

DATA_DISTANCE = 0.1
"""The Kolmogorov-Smirnov distance between data and a learned machine, beyond chance, up to which the machine describes
the data: a tenth of the probability lies elsewhere. This is a choice, as all learned machines differ from data."""

APPROACH_LOST = DATA_DISTANCE
"""How much chains that approach the data may lose again, as a share of the squared correlations that independent units
lack. This is a choice."""

IDLE = 0.01
"""The range of a hidden unit's mean over data and draws, between its extremes, below which it is dead. It is a
choice."""

GROWTH = 0.09
"""Weights count as growing if, as lately, they would grow by this share over a way as long as all of learning."""

RENEWALS = ESS_PER_CHAIN
"""How many autocorrelation times of the last machine learning must take for the particles to follow the parameters."""

GRADIENT = 2
"""The ratio of the gradient's norm to its Monte Carlo error up to which learning is at rest: at an optimum the norm is
the error alone, a ratio of 1, or less, because the parameters have followed the particles; at 2 three quarters of its
square are real. A smaller ratio does not show that learning is done."""

SHARE_OF_GAIN = 0.01
"""A run has finished where the objective rises by no more than this share of what learning gained over independent
units. This is a choice."""

SHARE_OF_ERROR = 0.1
"""A run has also finished where the objective rises by no more than this share of the statistical error, which is
p/(2N) nats a row for p parameters and N rows: by so much the likelihood of a maximum exceeds that of the truth (Akaike
1974, IEEE Trans. Autom. Control 19, 716-723), and at most half a nat. What matters is the larger of the two."""
