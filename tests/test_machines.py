"""Everything that can be done with a machine, done with every machine: one row of CASES is one machine (cases.py)."""

from contextlib import nullcontext

import numpy as np
import pymc as pm
import pytensor
import pytest
import reference as ref
from cases import CASES
from options import MASKED, QUIET

import pymc_rbm as pmr


@pytest.mark.slow
@MASKED
@pytest.mark.parametrize("name", CASES)
def test_all_that_can_be_done_with_a_machine(name, tmp_path):
    """Learn, keep, measure, sample, diagnose, inpaint. In PyTensor's quick mode, but for one: compiling costs most."""
    case = CASES[name]()
    quick = nullcontext() if name == "class" else pytensor.config.change_flags(mode="FAST_COMPILE")
    with quick:
        case.learn()
        check_learning(case, tmp_path / "learned.nc")
        check_log_partition(case)
        draws = check_draws(case)
        verdict = case.diagnose()
        assert verdict.verdict == "mixed", str(verdict)
        check_inpaint(case, draws)


def check_learning(case, path):
    """Learning has found more than independent units would, and what it found can be kept in a file."""
    # `independent` is the best that there is without couplings but for 0.001 of each mean, which is less than that.
    assert case.score() > case.independent() + 0.05
    case.learned.to_netcdf(path)
    machine, again = case.machine(), case.read(path)
    assert machine.template == again.template
    for found, given in zip(again.parameters, machine.parameters, strict=True):
        np.testing.assert_array_equal(found, given)


def check_log_partition(case):
    """Annealing against the exact sum, and that against plain loops over visible states where they can be listed."""
    exact = case.log_partition(method="exact").estimate
    found = case.log_partition(method="ais", temperatures=200, **QUIET)
    assert abs(found.estimate - exact) < 5 * found.standard_error + 1e-9
    assert found.standard_error < 0.2
    top = case.machine()
    if (states := case.states_of(top)) is not None:
        plain = ref.log_sum([ref.log_weight(top, v) + w for v, w in zip(*states, strict=True)])
        assert exact == pytest.approx(plain, abs=1e-8)


def check_draws(case):
    """The chains of the step method, the vectorised chains and forward draws have one distribution."""
    with case.generative():
        posterior = pm.sample(400, tune=50, chains=2, cores=1, quiet=True, compute_convergence_checks=False, **QUIET)
        prior = pm.sample_prior_predictive(case.forward, random_seed=2)
    drawn = [case.row(x) for x in (posterior["posterior"], prior["prior"])] + case.further_draws()
    assert {x.dtype.name for x in drawn} == {case.dtype}
    chains, forward, *further = [x.reshape(-1, x.shape[-1]).astype(float) for x in drawn]
    for x in (chains, *further):
        # Independent draws against chains, whose effective size is taken to be a tenth at least.
        error = np.sqrt(forward.var(0) / len(forward) + x.var(0) / (len(x) / 10))
        assert (abs(x.mean(0) - forward.mean(0)) < 5 * error).all()
    return drawn[1].reshape(len(forward), -1)


def check_inpaint(case, rows):
    """Missing entries of two rows against all their values, by plain sums or quadrature."""
    rows = case.to_inpaint(rows)
    mask = np.zeros(rows.shape, bool)
    mask[:2, case.missing] = True
    v, ess = case.inpaint(np.ma.masked_array(rows, mask))
    values, weights = case.values_of_missing()
    for i in range(2):
        row = rows[i].astype(float)
        own = v[:, :, i].reshape(-1, rows.shape[1]).astype(float)
        np.testing.assert_array_equal(own[:, ~mask[i]], np.broadcast_to(row[~mask[i]], own[:, ~mask[i]].shape))
        completed = np.repeat(row[None], len(values), 0)
        completed[:, case.missing] = values
        log_p = weights + np.array([case.log_weight(x, i) for x in completed])
        p, n = np.exp(log_p - ref.log_sum(log_p)), min(float(ess[i]), len(own))
        mean = p @ completed
        error = np.sqrt(p @ (completed - mean) ** 2 / n)
        assert (abs(own.mean(0) - mean) < 5 * error + 1e-9).all()
        if case.real:
            continue
        index = {tuple(x): k for k, x in enumerate(np.asarray(values, float))}
        counts = np.bincount([index[tuple(x)] for x in own[:, case.missing]], minlength=len(p))
        assert ref.total_variation(counts, p) < 4 * ref.total_variation_floor(p, n)
        # The probabilities of other states are told from these.
        assert ref.total_variation(counts, np.roll(p, 1)) > 4 * ref.total_variation_floor(p, n)


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
    with pytest.raises(ValueError, match="4 hidden entries are not a whole number of Categorical"):
        pmr.RBM.dist(np.zeros((3, 4)), np.zeros(3), np.zeros(4), hidden=pmr.Categorical(3))
    with pytest.raises(ValueError, match=r"shape \(2,\), but there are 3 units"):
        pmr.RBM.dist(np.zeros((3, 4)), np.zeros(3), np.zeros(4), visible=pmr.Gaussian([1.0, 2.0]))


@pytest.mark.interpreted
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
