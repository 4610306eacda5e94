"""Data that change after the model is built: each reader refuses what are no states, as construction does."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import MUTED, SILENT

import pymc_rbm as pmr

W, B, C = ref.machine(4, 3, seed=4)
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0.0]])
H = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1.0]])
WORDS = {
    0.7: "must contain only 0 and 1.*such as 0.7.*Binarise",
    2.0: "must contain only 0 and 1.*such as 2.*Binarise",
    np.nan: "contains NaN",
}
HIDDEN = xr.Dataset({"h": (("chain", "draw", "row", "unit"), np.zeros((1, 2, 3, 3), "int8"))})


def model_of(visible=True, **names):
    """A model whose visible and hidden data, weights and covariates can change; ``h`` is free where ``v`` is data."""
    with pm.Model() as model:
        weights, shift = pm.Data("weights", W), pm.Data("shift", np.zeros(3))
        v = pmr.RBM("v", weights, B, C + shift + pm.Normal("a"), observed=pm.Data("rows", V) if visible else None,
                    shape=(3, 4))  # fmt: skip
        pmr.Hidden("h", v, observed=None if visible else pm.Data("rows", H))
    return model


def readers(model):
    """What reads the data of units, by name; the step is made before they change."""
    with model:
        unit = "h" if model["h"] in model.free_RVs else "v"
        step, start = pmr.BlockGibbs([model[unit]]), model.initial_point()

    def again():
        step.step(start)
        raise AssertionError("the first step was silent")

    def sampled(**kwargs):
        with model:
            pm.sample(2, tune=0, chains=1, cores=1, **kwargs, **SILENT)

    return {
        "step": again,
        "sample with the step": lambda: sampled(step=step),
        "sample": sampled,
        "BlockGibbs": lambda: pmr.BlockGibbs(model=model),
        "BlockGibbs with swaps": lambda: pmr.BlockGibbs(model=model, method="pt"),
    }


READERS = "step", "sample with the step", "sample", "BlockGibbs", "BlockGibbs with swaps"


@pytest.mark.interpreted
@pytest.mark.parametrize("value", WORDS)
@pytest.mark.parametrize("visible", [True, False], ids=["v", "h"])
@pytest.mark.parametrize("reader", READERS)
def test_what_reads_data_of_units(reader, visible, value):
    model = model_of(visible)
    read = readers(model)[reader]
    model.set_data("rows", (V if visible else H) * value)
    with pytest.raises(ValueError, match=WORDS[value]):
        read()


@pytest.mark.parametrize("value", WORDS)
def test_fit_reads_the_data_of_hidden_units(value):
    """It took .7 for 0."""
    with pm.Model() as model:
        v = pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=V)
        pmr.Hidden("h", v, observed=pm.Data("rows", H))
        pm.set_data({"rows": H * value})
        with pytest.raises(ValueError, match=f"h {WORDS[value]}"):
            pmr.fit(3, model=model, method="pcd", **MUTED)


@pytest.mark.interpreted
@pytest.mark.parametrize("name", ["weights", "shift"])
def test_a_step_reads_parameters(name):
    """Interpreted, it moved units at random with a free energy that was not a number."""
    model = model_of()
    with model:
        step, start = pmr.BlockGibbs([model["h"]]), model.initial_point()
        step.step(start)
        before = model[name].get_value()
        pm.set_data({name: before * np.nan})
        with pytest.raises(ValueError, match=f"The data '{name}' contains NaN.*pm.set_data"):
            step.step(start)
        model[name].set_value(before + np.inf)
        with pytest.raises(ValueError, match=r"(W|c) contains NaN or infinity.*must be finite numbers"):
            step.step(start)
        pm.set_data({name: before})
        assert np.isfinite(step.step(start)[1][0]["free_energy"])


def test_a_step_reads_what_can_be_normalised():
    with pm.Model():
        weights = pm.Data("weights", np.eye(2) / 2)
        v = pmr.RBM("v", weights, np.zeros(2), np.zeros(2), visible=pmr.Gaussian(1), hidden=pmr.Gaussian(1))
        step, start = pmr.BlockGibbs([v], compile_kwargs={"mode": "FAST_COMPILE"}), {"v": np.zeros(2)}
        pm.set_data({"weights": np.eye(2) * 2})
        with pytest.raises(ValueError, match="normalis"):
            step.step(start)


def test_draws_and_densities_of_data_with_nan():
    """Numba said that it does not know the type numpy.ma.MaskedArray."""
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, observed=pm.Data("rows", V))
        pmr.Hidden("h", v)
        pm.set_data({"rows": V * np.nan})
        for read in (
            lambda: pm.sample_posterior_predictive(HIDDEN, freeze_vars=["h"], **MUTED),
            lambda: pm.draw(model["h"]),
            model.compile_logp,
        ):
            with pytest.raises(ValueError, match=r"The data 'rows' contains NaN.*pm.set_data"):
                read()
