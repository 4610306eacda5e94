import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import pymc_rbm as pmr

UNITS = [pmr.Bernoulli()]
FIELDS = np.array([-1e3, -88.0, -40.0, -3.0, -0.1, 0.0, 0.5, 2.0, 37.0, 88.0, 1e3])


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_mean_is_the_derivative_of_the_log_normaliser(unit):
    field = pt.dvector()
    normaliser = unit.log_normaliser(field)
    derivative, mean, value = pytensor.function(
        [field], [pt.grad(normaliser.sum(), field), unit.mean(field), normaliser]
    )(FIELDS)
    np.testing.assert_allclose(mean, derivative, rtol=1e-12, atol=1e-300)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_log_normaliser_is_the_sum_over_states(unit):
    field = np.array([-30.0, -2.0, 0.0, 0.7, 25.0])
    direct = [np.log(sum(np.exp(f * s) for s in unit.states)) for f in field]
    # The naive logarithm rounds 1 + x to about 1e-16.
    np.testing.assert_allclose(unit.log_normaliser(pt.as_tensor(field)).eval(), direct, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_field_of_mean_inverts_mean(unit):
    field = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(unit.field_of_mean(unit.mean(pt.as_tensor(field)).eval()), field, rtol=1e-10, atol=1e-12)


def draw(unit, field, n, dtype="float64"):
    fields = pt.matrix(dtype=dtype)
    _, x = unit.sample(fields, pt.random.shared_rng(np.random.default_rng(1)))
    return x.eval({fields: np.repeat(np.asarray(field, dtype=dtype)[None], n, 0)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_have_the_right_mean(dtype):
    unit, n = pmr.Bernoulli(), 40_000
    field = np.array([-4.0, -1.0, 0.0, 0.3, 2.0, 5.0])
    x = draw(unit, field, n, dtype)
    p = 1 / (1 + np.exp(-field))
    assert x.dtype == np.int8
    assert (np.abs(x.mean(0) - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_units_never_slip(dtype):
    x = draw(pmr.Bernoulli(), [-1e3, 1e3], 1_000_000, dtype)
    assert not x[:, 0].any()
    assert x[:, 1].all()


def test_dispersed_rows_differ_in_level():
    _, x = pmr.Bernoulli().dispersed((2000, 400), pt.random.shared_rng(np.random.default_rng(2)))
    level = x.eval().mean(1)
    # Uniform(0, 1) levels have variance 1/12; fair coins would have 1/1600.
    assert abs(level.var() - 1 / 12) < 0.01
    assert abs(level.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 2000)
