"""Names of units and rows count in every public argument that takes an array: in another order it means the same.

What a table of arguments says in the order of the machine is compared with the same in another order, by name; and what
has other names is refused.
"""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

pytestmark = [pytest.mark.interpreted, pytest.mark.filterwarnings("ignore:.*rows have not converged", "ignore:L-BFGS")]
PIXEL, UNIT, ROW = list("abcd"), list("xyz"), list("pqrst")
RNG = np.random.default_rng(5)
W, B, C = ref.machine(4, 3, seed=4)
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]])
H = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 1, 0]])
X = RNG.normal(size=(5, 4))
U = np.array([[0, 1, 0, 0.5], [1, 0, 2, 0], [0, 2, 0, 0], [0.5, 0, 0, 0]]) / 3
SIGMA = np.array([0.5, 1.0, 1.5, 2.0])
COORDS = {"pixel": PIXEL, "unit": UNIT, "row": ROW, "other": PIXEL}


def named(values, *dims):
    return xr.DataArray(values, dims=dims, coords={d: COORDS[d] for d in dims})


W_, B_, C_, V_, H_, X_ = (
    named(W, "pixel", "unit"), named(B, "pixel"), named(C, "unit"), named(V, "row", "pixel"), named(H, "row", "unit"),
    named(X, "row", "pixel"),
)  # fmt: skip
SIGMA_, WEIGHTS_ = named(SIGMA, "pixel"), named(np.arange(1.0, 6), "row")
ROWS_B, ROWS_C = named(B + X / 3, "row", "pixel"), named(C + X[:, :3] / 3, "row", "unit")
U_ = xr.DataArray(U, dims=("pixel", "pixel_"), coords={"pixel": PIXEL, "pixel_": PIXEL})
HOLES = named(np.where(np.eye(5, 4) == 1, np.nan, V), "row", "pixel")
COMPONENTS = {"component": list("kl")}
MEANS = xr.DataArray(RNG.normal(size=(2, 4)), dims=("component", "pixel"), coords={"pixel": PIXEL, **COMPONENTS})
SHARES = xr.DataArray([0.3, 0.7], dims="component", coords=COMPONENTS)


def machine(visible=None, W=W_, b=B_, c=C_, hidden=None):
    return pmr.restricted(W, b, c, visible, hidden)


def gaussian(x):
    return pmr.free_energy(X_, machine(pmr.Gaussian(x)))


def in_model(make, value=None):
    """The log-density of a value, or of what is observed, in a model with names."""
    with pm.Model(coords={"pixel": PIXEL, "unit": UNIT}) as model:
        make()
    if value is None:
        value = {x.name: np.zeros(model.rvs_to_values[x].type.shape) for x in model.free_RVs}
    return model.compile_logp()(value)


def learned(row_weights, **kwargs):
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(4, 1)), pm.Normal("b", shape=4), pm.Normal("c", shape=1), observed=V_)
        tree = pmr.fit(3, method="exact", optimizer="lbfgs", row_weights=row_weights, **kwargs, **QUIET)
    return tree["parameters"]["b"].values


def started(start):
    with pm.Model(coords={"pixel": PIXEL, "unit": UNIT}) as model:
        dims = ("pixel", "unit")
        pmr.RBM("v", pm.Normal("W", dims=dims), pm.Normal("b", dims="pixel"), pm.Normal("c", dims="unit"), observed=V_)
    return pmr.fit(1, method="cd", batch_size=None, start={"W": start}, model=model, **QUIET)["parameters"]["W"].values


def starting_at(value):
    with pm.Model():
        pmr.RBM("v", W_, B_, C_, initval=value)
        return pm.modelcontext(None).initial_point(random_seed=1)["v"]


@np.errstate(all="raise")
def deep(w=W_, b=B_, c=C_, v=V_):
    return in_model(
        lambda: pmr.DeepBoltzmannMachine("x", [w, np.ones((3, 2)) / 3], [b, c, np.zeros(2)], observed=v),
        {"x_unobserved": np.zeros(10, "int8")},
    )


def conditional(b):
    return pmr.log_likelihood(V_, machine(b=b))["log_likelihood"]["v"]


def general(U=U_, b=B_, unit=None):
    return pmr.free_energy(V_, pmr.boltzmann(U, b, unit))


def network(machine_):
    return pmr.DeepBeliefNetwork.of(machine_, pmr.restricted(np.ones((3, 2)) / 4, np.zeros(3), np.zeros(2)))


def first_of(group):
    return next(iter(group.data_vars.values()))


def own_machine(x=B_, visible=None):
    """As whoever makes a Machine of layers and couplings."""
    from pymc_rbm.machine.machine import Coupling, Layer

    return pmr.Machine((Layer(visible or pmr.Bernoulli(), x), Layer(pmr.Bernoulli(), C_)), (Coupling(0, 1, W_),))


GAUSSIAN = pmr.Gaussian(SIGMA)
# What is asked, as a function of one argument in the machine's order; and the dims that may have another order.
# fmt: off
ARGUMENTS = {
    "free_energy v": (lambda x: pmr.free_energy(x, W_, B_, C_), V_, "pixel"),
    "free_energy W": (lambda x: pmr.free_energy(V_, x, B_, C_), W_, "pixel unit"),
    "free_energy b": (lambda x: pmr.free_energy(V_, W_, x, C_), B_, "pixel"),
    "free_energy c": (lambda x: pmr.free_energy(V_, W_, B_, x), C_, "unit"),
    "free_energy b by row": (lambda x: pmr.free_energy(V_, W_, x, C_), ROWS_B, "pixel row"),
    "free_energy c by row": (lambda x: pmr.free_energy(V_, W_, ROWS_B, x), ROWS_C, "unit row"),
    "energy v": (lambda x: pmr.energy(x, H_, W_, B_, C_), V_, "pixel"),
    "energy h": (lambda x: pmr.energy(V_, x, W_, B_, C_), H_, "unit"),
    "energy h by row": (lambda x: pmr.energy(V_, x, W_, B_, C_), H_, "row"),
    "conditional_hidden v": (lambda x: pmr.conditional_hidden(x, W_, C_), V_, "pixel"),
    "conditional_hidden c by row": (lambda x: pmr.conditional_hidden(V_, W_, x), ROWS_C, "unit row"),
    "conditional_visible h": (lambda x: pmr.conditional_visible(x, W_, B_), H_, "unit"),
    "hidden_mean": (lambda x: pmr.hidden_mean(x, machine()), V_, "pixel"),
    "Gaussian sigma": (gaussian, SIGMA_, "pixel"),
    "Gaussian sigma as weights of sampling": (
        lambda x: pmr.log_partition(machine(pmr.Gaussian(x))).estimate, SIGMA_, "pixel"),
    "Rectified sigma": (lambda x: pmr.free_energy(abs(X_), machine(pmr.Rectified(x))), SIGMA_, "pixel"),
    "DReLU gamma_plus": (lambda x: pmr.free_energy(X_, machine(pmr.DReLU(x))), SIGMA_, "pixel"),
    "DReLU gamma_minus": (lambda x: pmr.free_energy(X_, machine(pmr.DReLU(1, x))), SIGMA_, "pixel"),
    "DReLU theta": (lambda x: pmr.free_energy(X_, machine(pmr.DReLU(1, 1, x))), SIGMA_, "pixel"),
    "hidden Gaussian sigma": (
        lambda x: pmr.free_energy(V_, machine(hidden=pmr.Gaussian(x))), named(SIGMA[:3], "unit"), "unit"),
    "Gaussian in Beside": (
        lambda x: pmr.free_energy(V_, machine(pmr.Beside((pmr.Bernoulli(), 1), (pmr.Gaussian(x), 3)))),
        SIGMA_[1:], "pixel"),
    "sigma, with names of its own": (
        lambda x: pmr.free_energy(X_, machine(pmr.Gaussian(x), W=W, b=x.copy(data=B) if x is SIGMA_ else B_)), SIGMA_,
        "pixel"),
    "sigma of RBM": (
        lambda x: in_model(lambda: pmr.RBM("v", W_, B_, C_, visible=pmr.Gaussian(x), observed=X_)), SIGMA_, "pixel"),
    "sigma of hidden units of RBM": (
        lambda x: in_model(lambda: pmr.RBM("v", W_, B_, C_, hidden=pmr.Gaussian(x), observed=V_)),
        named(SIGMA[:3], "unit"), "unit"),
    "sigma of BoltzmannMachine": (
        lambda x: in_model(lambda: pmr.BoltzmannMachine("v", U_, B_, unit=pmr.Gaussian(x), observed=X_)), SIGMA_ * 3,
        "pixel"),
    "RBM W": (lambda x: in_model(lambda: pmr.RBM("v", x, B_, C_, observed=V_)), W_, "pixel unit"),
    "RBM b": (lambda x: in_model(lambda: pmr.RBM("v", W_, x, C_, observed=V_)), B_, "pixel"),
    "RBM c": (lambda x: in_model(lambda: pmr.RBM("v", W_, B_, x, observed=V_)), C_, "unit"),
    "RBM b by row": (lambda x: in_model(lambda: pmr.RBM("v", W_, x, C_, observed=V_)), ROWS_B, "pixel row"),
    "RBM observed": (lambda x: in_model(lambda: pmr.RBM("v", W_, B_, C_, observed=x)), V_, "pixel row"),
    "RBM initval": (starting_at, V_[0], "pixel"),
    "RBM.dist b": (lambda x: pm.logp(pmr.RBM.dist(W_, x, C_), V).eval(), B_, "pixel"),
    "RBM.dist sigma": (
        lambda x: pm.logp(pmr.RBM.dist(W_, B_, C_, visible=pmr.Gaussian(x)), X).eval(), SIGMA_, "pixel"),
    "Hidden observed": (
        lambda x: in_model(lambda: pmr.Hidden("h", pmr.RBM("v", W_, B_, C_, observed=V_), observed=x)), H_, "row"),
    "boltzmann U": (lambda x: general(x), U_, "pixel pixel_"),
    "boltzmann b": (lambda x: general(b=x), B_, "pixel"),
    "BoltzmannMachine pattern": (
        lambda x: in_model(lambda: pmr.BoltzmannMachine("v", U_, B_, pattern=x, observed=V_)), U_ != 0,
        "pixel pixel_ at once"),
    "DeepBoltzmannMachine observed": (lambda x: deep(v=x), V_, "pixel"),
    "DeepBoltzmannMachine weights": (lambda x: deep(w=x), W_, "pixel unit"),
    "DeepBoltzmannMachine biases": (lambda x: deep(b=x), B_, "pixel"),
    "DeepBoltzmannMachine inner biases": (lambda x: deep(c=x), C_, "unit"),
    "Machine bias": (lambda x: pmr.free_energy(V_, own_machine(x)), B_, "pixel"),
    "Machine sigma": (lambda x: pmr.free_energy(X_, own_machine(visible=pmr.Gaussian(x))), SIGMA_, "pixel"),
    "log_partition base_mean": (
        lambda x: pmr.log_partition(machine(), method="ais", base_mean=x, particles=10, temperatures=5, **QUIET
            ).estimate, named([0.1, 0.3, 0.6, 0.9], "pixel"), "pixel"),
    "log_partition data": (
        lambda x: pmr.log_partition(machine(), method="reverse_ais", data=x, particles=10, temperatures=5, **QUIET
            ).estimate, V_, "pixel"),
    "log_likelihood": (lambda x: pmr.log_likelihood(x, machine())["log_likelihood"]["v"], V_, "pixel"),
    "log_likelihood by row": (conditional, ROWS_B, "pixel row"),
    "log_conditional": (
        lambda x: pmr.log_conditional(x, machine(), units=["a"])["log_conditional"], V_, "pixel"),
    "log_conditional units": (
        lambda x: pmr.log_conditional(V_, machine(), units=x)["log_conditional"],
        named(np.array([True, False, False, False]), "pixel"), "pixel"),
    "pseudo_log_likelihood": (lambda x: pmr.pseudo_log_likelihood(x, machine()), V_, "pixel"),
    "inpaint": (lambda x: pmr.inpaint(x, machine(), draws=20, tune=0, chains=2, **QUIET)["mean"]["v"], HOLES, "pixel"),
    "sample_gibbs start": (
        lambda x: pmr.sample_gibbs(machine(), start=x, draws=1, tune=0, chains=5, **QUIET)["posterior"]["v"], V_,
        "pixel"),
    "fit row_weights": (learned, WEIGHTS_, "row"),
    "fit start": (started, W_, "pixel unit"),
    "features": (lambda x: network(machine()).features(x), V_, "pixel"),
    "bound": (
        lambda x: first_of(network(machine()).bound(x, draws=20, **QUIET)["bound"]), V_, "pixel"),
    "network b": (lambda x: network(machine(b=x)).features(V_), B_, "pixel"),
    "mixture weights": (lambda x: pmr.mixture_machine(x, MEANS, SIGMA_), SHARES, "component"),
    "mixture means": (lambda x: pmr.mixture_machine(SHARES, x, SIGMA_), MEANS, "component pixel"),
    "mixture sigma": (lambda x: pmr.mixture_machine(SHARES, MEANS, x), SIGMA_, "pixel"),
    "mixture and data": (lambda x: pmr.free_energy(x, pmr.mixture_machine(SHARES, MEANS, SIGMA_)), X_, "pixel"),
}
# fmt: on


def shuffled(x, dims):
    """``x`` with the entries of the dims in another order."""
    for dim in dims.split():
        if dim in x.dims:
            order = np.random.default_rng(len(dim)).permutation(x.sizes[dim])
            order = order[::-1] if (order == np.arange(len(order))).all() else order
            x = x.isel({dim: order})
    return x


def result(x):
    """What a function returns, with its rows and units in the order of their names."""
    if isinstance(x, pmr.Machine):
        order = np.argsort(x.labels.coords["pixel"]), np.argsort(x.labels.coords["component"])
        b, c, w, sigma = x.parameters
        return np.concatenate(
            [np.ravel(y) for y in (b[order[0]], c[order[1]], w[order[0]][:, order[1]], sigma[order[0]])]
        )
    if isinstance(x, xr.DataArray):
        for dim in {"row", "pixel", "unit"} & set(x.dims) & set(x.coords):
            x = x.sortby(dim)
    return np.asarray(x)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_another_order_is_the_same_or_is_refused(name):
    call, x, dims = ARGUMENTS[name]
    expected = result(call(x))
    for some in dict.fromkeys([*([] if "at once" in dims else dims.split()), dims]):
        other = shuffled(x, some)
        assert not np.array_equal(other.values, x.values)
        try:
            found = result(call(other))
        except ValueError as error:  # rows in another order may be refused, and units may not
            assert "row" in some and "another order" in str(error), error
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=some)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_other_names_are_refused(name):
    call, x, dims = ARGUMENTS[name]
    dim = dims.split()[0]
    other = x.assign_coords({dim: [f"{y}!" for y in x[dim].values]})
    with pytest.raises(ValueError, match=r"(?i)names of .* are not those of"):
        call(other)


def test_layers_of_a_network_have_one_order():
    above = pmr.restricted(named(np.eye(3, 4), "unit", "pixel")[::-1], np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match=r"visible units of machine 2.*another order than the hidden units of machine"):
        pmr.DeepBeliefNetwork.of(machine(), above)
    np.testing.assert_array_equal(pmr.mixture_parameters(pmr.mixture_machine(SHARES, MEANS, 1.0)).unit, PIXEL)


@pytest.mark.parametrize("name", ["Gaussian sigma", "fit row_weights", "log_partition base_mean", "mixture sigma"])
def test_columns_of_frames_have_names(name):
    call, x, dims = ARGUMENTS[name]
    series = shuffled(x, dims).to_series()
    assert isinstance(series, pd.Series)
    np.testing.assert_allclose(result(call(series)), result(call(x)), rtol=1e-9)
