"""Rows with missing entries, and conditionals, against sums over all states."""

import numpy as np
import pytest
import reference as ref
from layered import triangle, weighted_states
from pairs import log_sums, pair_case
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.likelihood import marginals
from pymc_rbm.partition.path import Path

pytestmark = pytest.mark.interpreted

PARAMETERS = ref.machine(6, 4, scale=1.3, seed=4)
MACHINE = pmr.restricted(*PARAMETERS)
STATES, LOG_P = np.array(ref.states(6)), np.array(ref.log_p(*PARAMETERS))
PATTERNS = np.array(
    [[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], bool
)


def masked_rows():
    """Twenty rows, four of each pattern; what stands under the mask is no state."""
    rows, missing = STATES[np.random.default_rng(0).integers(64, size=20)], np.repeat(PATTERNS, 4, 0)
    return np.ma.MaskedArray(np.where(missing, 9, rows), missing)


def expected(rows):
    """Sum over the states that agree with what is known."""
    known = [~np.ma.getmaskarray(row) for row in rows]
    return np.array(
        [
            ref.log_sum([p for v, p in zip(STATES, LOG_P, strict=True) if (v == row.data)[k].all()])
            for row, k in zip(rows, known, strict=True)
        ]
    )


def test_what_is_missing_is_summed_out():
    tree = pmr.log_likelihood(masked_rows(), MACHINE)
    np.testing.assert_allclose(tree["log_likelihood/v"].values[0, 0], expected(masked_rows()), atol=1e-10)
    assert not tree["missing/annealed"].any()
    assert not tree["missing/standard_error"].any()
    assert "missing" not in pmr.log_likelihood(STATES, MACHINE)


@pytest.fixture
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(marginals, "is_enumerable", lambda machine: False)


def excess(tree):
    """Deviations from the exact values in standard errors, of the rows in which something is missing."""
    annealed = tree["missing/annealed"].values == 1
    assert annealed.sum() == 16
    error = tree["log_likelihood/v"].values[0, 0] - expected(masked_rows())
    np.testing.assert_allclose(error[~annealed], 0, atol=1e-10)
    return error[annealed] / tree["missing/standard_error"].values[annealed]


@pytest.mark.compiled
def test_annealing_where_too_much_is_missing(nothing_is_small, monkeypatch):
    options = {"log_z": float(ref.log_z(*PARAMETERS)), "random_seed": 1}
    assert (abs(excess(pmr.log_likelihood(masked_rows(), MACHINE, **options))) < 5).all()
    starts = Path.base_states

    def wrong(self, rng, rows):
        return starts(Path(self.machine, tuple(-b for b in self.base)), rng, rows)

    monkeypatch.setattr(Path, "base_states", wrong)  # broken on purpose
    few = pmr.log_likelihood(masked_rows(), MACHINE, **options, budget=1000)
    assert (abs(excess(few)) > 5).any()


def test_few_effective_particles_are_said(nothing_is_small):
    machine = pmr.restricted(*ref.machine(40, 40, seed=1))
    data = np.ma.masked_all((3, 40), "int8")
    with pytest.warns(UserWarning, match="too few effective particles in . of 3 rows"):
        pmr.log_likelihood(data, machine, log_z=0.0, particles=20, budget=1000, random_seed=1)


@pytest.mark.parametrize("annealed", [False, True])
def test_real_units(annealed, monkeypatch):
    """Gaussian visible units of different sigma: known ones are a mixture of normal densities over hidden states."""
    W, b, c = ref.machine(3, 2, seed=3)
    sigma = np.array([0.5, 1.0, 2.0])
    machine = pmr.restricted(W, b, c, pmr.Gaussian(sigma))
    rows = np.ma.MaskedArray(np.random.default_rng(1).normal(size=(4, 3)), [[0, 1, 0]] * 4)
    terms = [
        c @ h + ((b + W @ h) ** 2 - b**2) @ (1 / (2 * sigma**2)) + np.log(sigma * np.sqrt(2 * np.pi)).sum()
        for h in np.array(ref.states(2))
    ]
    log_p = [
        ref.log_sum([
            t + sum(stats.norm.logpdf(row[i], b[i] + W[i] @ h, sigma[i]) for i in (0, 2))
            for t, h in zip(terms, np.array(ref.states(2)), strict=True)
        ])
        - ref.log_sum(terms)
        for row in rows
    ]  # fmt: skip
    exact = pmr.log_partition(machine, method="exact").estimate
    if annealed:
        monkeypatch.setattr(marginals, "is_enumerable", lambda machine: False)
    tree = pmr.log_likelihood(rows, machine, log_z=exact, random_seed=1)
    error = tree["missing/standard_error"].values
    assert (error > 0).all() == annealed
    assert (abs(tree["log_likelihood/v"].values[0, 0] - log_p) < 5 * error + 1e-9).all()


@pytest.mark.parametrize("hidden", ["gaussian", "categorical"])
def test_hidden_units_with_energies_of_their_own(hidden):
    """A hidden bias that moves with what is known must not move the unit's offset."""
    machine, left, _, table = pair_case(("spin", hidden))
    log_w = log_sums(table, 1)
    for first in (-1, 1):
        want = ref.log_sum([w for (v, _), w in zip(left, log_w, strict=True) if v[0] == first])
        found = pmr.log_likelihood(np.ma.MaskedArray([[first, 0]], [[0, 1]]), machine, log_z=0.0)
        assert float(found["mean_log_likelihood/mean"]) == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize("annealed", [False, True])
def test_layers_that_are_coupled_among_themselves(annealed, monkeypatch):
    """A deep machine has no free energy; with v held it is one more machine."""
    if annealed:
        monkeypatch.setattr(marginals, "is_enumerable", lambda machine: False)
    machine = triangle()
    table = weighted_states(machine)
    log_z = ref.log_sum([t for _, t in table])
    rows = np.ma.MaskedArray([[0, 1, 1], [1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    want = [
        ref.log_sum([t for parts, t in table if all(m or x == y for m, x, y in zip(mask, row, parts[0], strict=True))])
        - log_z
        for row, mask in zip(rows.data, rows.mask, strict=True)
    ]
    tree = pmr.log_likelihood(rows, machine, log_z=float(log_z), random_seed=1)
    error = tree["missing/standard_error"].values
    assert (abs(tree["log_likelihood/v"].values[0, 0] - want) < 5 * error + 1e-9).all()


@pytest.mark.parametrize("annealed", [False, True])
def test_visible_units_that_are_coupled_to_each_other(annealed, monkeypatch):
    """A Boltzmann machine: every pair counts once, held or not; its classes are those of what is left."""
    if annealed:
        monkeypatch.setattr(marginals, "is_enumerable", lambda machine: False)
    rng = np.random.default_rng(3)
    U, b = np.triu(rng.standard_normal((6, 6)), 1), rng.standard_normal(6)
    U[0, 3] = U[1, 4] = U[2, 5] = 0
    machine = pmr.boltzmann(U + U.T, b, classes=((0, 3), (1, 4), (2, 5)))
    log_w = np.array(
        [sum(b[i] * v[i] + sum(U[i, j] * v[i] * v[j] for j in range(6)) for i in range(6)) for v in STATES]
    )
    rows = masked_rows()
    want = [
        ref.log_sum(list(log_w[((row.data == STATES) | np.ma.getmaskarray(row)).all(1)])) - ref.log_sum(list(log_w))
        for row in rows
    ]
    tree = pmr.log_likelihood(rows, machine, log_z=ref.log_sum(list(log_w)), random_seed=1)
    error = tree["missing/standard_error"].values
    assert (error > 0).sum() == (16 if annealed else 0)
    assert (abs(tree["log_likelihood/v"].values[0, 0] - want) < 5 * error + 1e-9).all()


def test_families_side_by_side():
    """The visible side of a deep machine: layer 0 known, layer 2 never; here of other units, too."""
    W, b, c = ref.machine(7, 3, seed=8)
    unit = pmr.Beside((pmr.Bernoulli(), 2), (pmr.Categorical(3), 3), (pmr.Gaussian(0.7), 2))
    machine = pmr.restricted(W, b, c, unit)
    rows = np.array([[0, 1, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0.0]])
    mask = np.repeat([[False] * 5 + [True] * 2], 2, 0)
    want = []
    for row in rows:
        terms = []
        for h in np.array(ref.states(3)):
            mean = b[5:] + W[5:] @ h
            gaussian = ((mean**2 - b[5:] ** 2) / (2 * 0.49) + np.log(0.7 * np.sqrt(2 * np.pi))).sum()
            terms.append(row[:5] @ (b[:5] + W[:5] @ h) + c @ h + gaussian)
        want.append(ref.log_sum(terms))
    found = pmr.log_likelihood(np.ma.MaskedArray(rows, mask), machine, log_z=0.0)
    np.testing.assert_allclose(found["log_likelihood/v"].values[0, 0], want, atol=1e-9)


def test_conditionals():
    rows = masked_rows()
    units = np.array([0, 0, 1, 0, 0, 1], bool)
    found = pmr.log_conditional(rows, MACHINE, units=units)
    without = np.ma.MaskedArray(rows.data, rows.mask | units)
    np.testing.assert_allclose(found["log_conditional"], expected(rows) - expected(without), atol=1e-10)
    assert not found["standard_error"].any()


def test_bad_input():
    with pytest.raises(ValueError, match="units must be 6 booleans"):
        pmr.log_conditional(STATES, MACHINE, units=[0, 3])
    with pytest.raises(ValueError, match="mask all of them or none"):
        machine = pmr.restricted(np.zeros((6, 2)), np.zeros(6), np.zeros(2), pmr.Categorical(3))
        pmr.log_likelihood(np.ma.MaskedArray([[1, 0, 0, 0, 1, 0]], [[1, 0, 0, 0, 0, 0]]), machine, log_z=0.0)
    with pytest.raises(ValueError, match="NaN"):
        pmr.log_likelihood(np.where(STATES == 1, np.nan, 0.0), MACHINE, log_z=0.0)
    with pytest.raises(ValueError, match="particles must be a whole number"):
        pmr.log_likelihood(masked_rows(), MACHINE, log_z=0.0, particles=1)
