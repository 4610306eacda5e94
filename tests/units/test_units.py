"""Every unit, one row each: the interface that the rest of the package relies on."""

import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import integrate, special

import pymc_rbm as pmr
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.units.unit import unit_of

pytestmark = pytest.mark.interpreted

UNITS = [
    pmr.Bernoulli(),
    pmr.Spin(),
    pmr.Categorical(3),
    pmr.Binomial(4),
    pmr.Gaussian(0.7),
    pmr.Rectified(1.3),
    pmr.DReLU(0.7, 2.0, 0.3),
]
FINITE = [unit for unit in UNITS if unit.states is not None]
REAL = [unit for unit in UNITS if unit.states is None]
FIELDS = np.array([-1e3, -88.0, -45.0, -40.0, -20.0, -3.0, -0.1, 0.0, 0.5, 2.0, 37.0, 88.0, 1e3])
each = pytest.mark.parametrize("unit", UNITS, ids=repr)


def layer_of(unit, fields):
    """Fields of a layer whose every unit has another field on its first entry and a quarter of it on the second."""
    weights = np.array([1.0, 0.25, 0.0])[: unit.width]
    return np.outer(fields, weights).ravel()


def unit_log_weight(unit, x, field):
    """log base(x) + field·x of one unit, in plain arithmetic."""
    product = sum(a * b for a, b in zip(np.atleast_1d(x), np.atleast_1d(field), strict=True))
    if isinstance(unit, pmr.Binomial):
        return product + math.log(math.comb(unit.n, int(x)))
    if isinstance(unit, pmr.DReLU):
        gamma = unit.gamma_plus if x > 0 else unit.gamma_minus
        return product - gamma * x**2 / 2 - unit.theta * abs(x)
    return product if unit.states else product - x**2 / (2 * unit.sigma**2)


def density(unit, field):
    """Normaliser, mean and variance of one real unit by quadrature around its largest weight."""
    if isinstance(unit, pmr.DReLU):
        return two_sided_density(unit, field)
    top = max(unit.sigma**2 * field, 0.0 if isinstance(unit, pmr.Rectified) else -np.inf)
    low = max(top - 12 * unit.sigma, 0) if isinstance(unit, pmr.Rectified) else top - 12 * unit.sigma
    peak = unit_log_weight(unit, top, field)
    # Cut off far below zero, the density falls as exp(field·x).
    width = 40 / -field if field < -3 and isinstance(unit, pmr.Rectified) else 12 * unit.sigma

    def moment(power):
        return integrate.quad(
            lambda x: (x - low) ** power * math.exp(unit_log_weight(unit, x, field) - peak),
            low,
            max(top, low) + width,
            epsabs=0,
            epsrel=1e-12,
            points=[top] if low < top else None,
        )[0]

    z, first, second = moment(0), moment(1), moment(2)
    return peak + math.log(z), low + first / z, second / z - (first / z) ** 2


def two_sided_density(unit, field):
    """The same, as the sum of a rectified unit and the mirror image of another."""
    halves = [
        density(pmr.Rectified(gamma**-0.5), sign * field - unit.theta)
        for sign, gamma in ((1, unit.gamma_plus), (-1, unit.gamma_minus))
    ]
    log_z = np.logaddexp(halves[0][0], halves[1][0])
    p = [math.exp(z - log_z) for z, _, _ in halves]
    mean = p[0] * halves[0][1] - p[1] * halves[1][1]
    second = sum(weight * (variance + first**2) for weight, (_, first, variance) in zip(p, halves, strict=True))
    return log_z, mean, second - mean**2


@each
def test_mean_is_the_derivative_of_the_log_normaliser(unit):
    field, values = pt.dvector(), layer_of(unit, FIELDS)
    normaliser = unit.log_normaliser(field)
    derivative, mean, value = pytensor.function(
        [field], [pt.grad(normaliser.sum(), field), unit.mean(field), normaliser]
    )(values)
    assert value.shape == FIELDS.shape
    assert np.isfinite(value).all()
    assert np.isfinite(mean).all()
    # The derivative of log erfcx is a difference of numbers of the size of the field; the mean is not.
    rtol = 1e-9 if isinstance(unit, pmr.Rectified | pmr.DReLU) else 1e-12
    np.testing.assert_allclose(derivative, mean, rtol=rtol, atol=1e-15)


@each
def test_the_second_derivative_is_the_variance(unit):
    field = np.array([-6.0, -2.0, 0.0, 0.7, 5.0])
    fields = pt.dvector()
    mean = unit.mean(fields)
    slope = pytensor.function([fields], pt.grad(mean[:: unit.width].sum(), fields))(layer_of(unit, field))
    for i, f in enumerate(layer_of(unit, field).reshape(len(field), -1)):
        if unit.states is None:
            variance = density(unit, f[0])[2]
        else:
            states = np.array(unit.states).reshape(-1, unit.width)
            p = np.array([math.exp(unit_log_weight(unit, x if len(x) > 1 else x[0], f)) for x in states])
            first = (p / p.sum()) @ states[:, 0]
            variance = (p / p.sum()) @ (states[:, 0] - first) ** 2
        assert slope[i * unit.width] == pytest.approx(variance, rel=1e-8)


@pytest.mark.parametrize("unit", FINITE, ids=repr)
def test_log_normaliser_is_the_sum_over_states(unit):
    field = np.array([-30.0, -2.0, 0.0, 0.7, 25.0])
    layer = layer_of(unit, field)
    groups = layer.reshape(len(field), -1)
    direct = [math.log(math.fsum(math.exp(unit_log_weight(unit, x, f)) for x in unit.states)) for f in groups]
    # The naive logarithm rounds 1 + x to about 1e-16.
    np.testing.assert_allclose(unit.log_normaliser(pt.as_tensor(layer)).eval(), direct, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("unit", REAL, ids=repr)
def test_real_units_against_quadrature(unit):
    field = np.array([-900.0, -60.0, -25.0, -7.0, -2.0, 0.0, 0.7, 25.0])
    expected = [density(unit, f) for f in field]
    tensor = pt.as_tensor(field)
    np.testing.assert_allclose(unit.log_normaliser(tensor).eval(), [x[0] for x in expected], rtol=1e-11)
    np.testing.assert_allclose(unit.mean(tensor).eval(), [x[1] for x in expected], rtol=1e-9, atol=1e-13)


@each
def test_bias_of_mean_inverts_mean(unit):
    bias = layer_of(unit, np.linspace(-5, 5, 11)).reshape(-1, unit.width)
    bias = (bias - bias.mean(1, keepdims=True) if unit.width > 1 else bias).ravel()
    mean = unit.mean(unit.scaled(pt.as_tensor(bias))).eval()
    np.testing.assert_allclose(unit.bias_of_mean(mean), bias, rtol=1e-8, atol=1e-10)
    assert np.isfinite(unit.bias_of_mean(np.full(unit.width, unit.middle))).all()


@remembered(32)
def sampler(unit, dtype):
    fields = pt.matrix(dtype=dtype)
    _, x = unit.sample(fields, pt.random.shared_rng(np.random.default_rng(1)))
    return pytensor.function([fields], x)


def draw(unit, field, n, dtype="float64"):
    """Compiled once for each unit; the generator is not advanced, so equal fields bring equal draws."""
    return sampler(unit, dtype)(np.repeat(np.asarray(field, dtype=dtype)[None], n, 0))


def means_fit(unit, x, field):
    """Whether the means of ``x`` are within 5 standard errors of those that its field implies."""
    fields = pt.dvector()
    mean = unit.mean(fields)
    # Of each entry by itself: the slope of its mean in its own field, on which other units' means do not depend.
    slopes = [pt.grad(mean[k :: unit.width].sum(), fields)[k :: unit.width] for k in range(unit.width)]
    expected, *variances = pytensor.function([fields], [mean, *slopes], mode=INTERPRETED)(field)
    variance = np.stack(variances, axis=1).ravel()
    return (np.abs(x.mean(0) - expected) <= 5 * np.sqrt(variance / len(x))).all()


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each
def test_samples_have_the_right_mean(unit, dtype):
    n = 20_000
    field = layer_of(unit, np.array([-1e3, -40.0, -8.0, -4.0, -1.0, 0.0, 0.3, 2.0, 1e3]))
    x = draw(unit, field, n, dtype)
    assert x.dtype == unit.dtype
    assert unit.contains(pt.as_tensor(x)).all().eval(mode=INTERPRETED)
    assert means_fit(unit, x, field)
    shifted = field + 0.25 * (np.arange(field.size) % unit.width == 0)
    assert not means_fit(unit, draw(unit, shifted, n, dtype), field)


@pytest.mark.compiled
@pytest.mark.parametrize("unit", REAL, ids=repr)
def test_real_samples_have_the_right_distribution(unit):
    """Kolmogorov's distance to the distribution function, below its value at a probability of 1e-6."""
    n = 20_000
    for f, x in zip([-40.0, -5.0, 0.4, 8.0], draw(unit, [-40.0, -5.0, 0.4, 8.0], n).T, strict=True):
        distance = np.abs(distribution(unit, np.sort(x), f) - (np.arange(n) + 0.5) / n).max()
        assert distance < np.sqrt(-np.log(1e-6 / 2) / 2 / n)


def distribution(unit, x, f):
    """The distribution function at x of a unit with field f."""
    if isinstance(unit, pmr.DReLU):
        up, down = (pmr.Rectified(gamma**-0.5) for gamma in (unit.gamma_plus, unit.gamma_minus))
        p = special.expit(density(up, f - unit.theta)[0] - density(down, -f - unit.theta)[0])
        below = 1 - distribution(down, np.maximum(-x, 0), -f - unit.theta)
        return np.where(x < 0, (1 - p) * below, 1 - p + p * distribution(up, np.maximum(x, 0), f - unit.theta))
    z = unit.sigma * f
    upper = special.log_ndtr(z - x / unit.sigma)
    return 1 - np.exp(upper - special.log_ndtr(z)) if isinstance(unit, pmr.Rectified) else 1 - np.exp(upper)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unit", FINITE, ids=repr)
def test_saturated_units_never_slip(unit, dtype):
    x = draw(unit, layer_of(unit, [-1e3, 1e3]), 100_000, dtype)[:, :: unit.width]
    states = np.array(unit.states).reshape(-1, unit.width)[:, 0]
    assert (x[:, 0] == states.min()).all()
    assert (x[:, 1] == states.max()).all()


@each
def test_dispersed_rows_differ_in_level(unit):
    _, x = unit.dispersed((2000, 60 * unit.width), pt.random.shared_rng(np.random.default_rng(2)))
    x = x.eval()
    assert x.dtype == unit.dtype
    assert unit.contains(pt.as_tensor(x)).all().eval()
    level = x[:, :: unit.width].astype(float).mean(1)
    # Were all entries alike and independent, means of rows would vary by a sixtieth of the entries' variance.
    assert level.var() > 5 * x[:, :: unit.width].astype(float).var() / 60


def test_dispersed_levels_are_uniform():
    _, x = pmr.Bernoulli().dispersed((2000, 400), pt.random.shared_rng(np.random.default_rng(2)))
    level = x.eval().mean(1)
    # Uniform(0, 1) levels have variance 1/12; fair coins would have 1/1600.
    assert abs(level.var() - 1 / 12) < 0.01
    assert abs(level.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 2000)


@pytest.mark.parametrize("family", [type(unit) for unit in REAL])
def test_parameters_of_a_deviation(family):
    """Where units are not cut off, that is the standard deviation at any field; else it is far from the end."""
    unit = family(**family().parameters_of_deviation(2.5))
    assert density(unit, 10.0 / 2.5**2 + 10)[2] == pytest.approx(2.5**2, rel=1e-6)


@each
def test_units_are_values(unit):
    bare = unit.with_parameters([None] * len(unit.parameters))
    assert unit_of(repr(bare)) == bare
    assert hash(unit_of(repr(bare))) == hash(bare)
    assert [bare == other for other in UNITS].count(True) == (0 if unit.parameters else 1)
    for text in ("Unknown()", "__import__('os')", "Bernoulli(1, 2)", ""):
        with pytest.raises(ValueError, match="not a unit"):
            unit_of(text)


def test_a_family_of_ones_own_hides_none():
    """What was written before is read where somebody has derived a unit of another family's."""

    class Own(pmr.Bernoulli):
        pass

    assert unit_of("Own()") == Own()
    assert unit_of("Bernoulli()") == pmr.Bernoulli()


@each
def test_support(unit):
    inside = pytensor.function([x := pt.dvector()], unit.contains(x))
    if unit.states:
        for state in unit.states:
            assert inside(np.atleast_1d(np.array(state, dtype=float))).all()
    for bad in (np.nan, np.inf, -3.5, 0.5, 7.0):
        allowed = unit.states is None and np.isfinite(bad) and (bad > 0 or not isinstance(unit, pmr.Rectified))
        assert inside(np.full(unit.width, bad)).all() == allowed


def test_categories_are_whole_groups():
    inside = pmr.Categorical(3).contains(pt.as_tensor(np.array([[1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]]))).eval()
    np.testing.assert_array_equal(inside.all(1), [False, False])
    np.testing.assert_array_equal(inside, [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pmr.Gaussian(0.0), "sigma must be positive"),
        (lambda: pmr.Rectified([1.0, np.nan]), "sigma must be positive"),
        (lambda: pmr.DReLU(gamma_minus=0.0), "gamma_minus must be positive and finite"),
        (lambda: pmr.DReLU(theta=np.inf), "theta must be finite"),
        (lambda: pmr.Categorical(1), "q must be a whole number of at least 2"),
        (lambda: pmr.Binomial(0), "n must be a whole number of at least 1"),
    ],
)
def test_arguments_that_make_no_unit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_logarithms_of_binomial_coefficients():
    for n in (1, 2, 255):
        x = np.arange(n + 1)
        found = pmr.Binomial(n).log_base(pt.as_tensor(x)).eval(mode=INTERPRETED)
        np.testing.assert_array_equal(found, [math.log(math.comb(n, k)) for k in range(n + 1)])
