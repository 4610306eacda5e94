"""Compositions that an outside reader tried: what must be refused, and what must be right."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from options import MASKED, SILENT

import pymc_rbm as pmr

pytestmark = [pytest.mark.interpreted, MASKED]

W, B, C = ref.machine(3, 2, seed=41)
STATES = np.array(ref.states(3))
ONE_CORE = SILENT | {"cores": 1, "random_seed": 1}


def rows_masked(data, *rows):
    mask = np.zeros(np.shape(data), dtype=bool)
    mask[list(rows)] = True
    return np.ma.MaskedArray(data, mask)


@pytest.mark.compiled
def test_whole_masked_rows_with_hidden_units():
    """Right with shared parameters: E[h] of observed rows given v, of masked rows the marginal."""
    joint = ref.joint(W, B, C)
    hidden = np.array(ref.states(2))
    with pm.Model() as model:
        pmr.Hidden("h", pmr.RBM("v", W, B, C, observed=rows_masked(STATES[[3, 0, 6]], 1)))
        draws = pm.sample(4000, tune=10, chains=2, block_gibbs={"sweeps": 4}, **ONE_CORE)["posterior"]["h"]
    expected = [joint[3] @ hidden / joint[3].sum(), joint.sum(0) @ hidden, joint[6] @ hidden / joint[6].sum()]
    np.testing.assert_allclose(draws.mean(("chain", "draw")), expected, atol=5 * 0.5 / np.sqrt(8000))
    assert pmr.log_partition(model).estimate == pytest.approx(ref.log_z(W, B, C), abs=1e-10)


def test_whole_masked_rows_with_parameters_by_row_are_refused():
    biases = np.array([C, C + 4, C - 4])
    with pm.Model():
        v = pmr.RBM("v", W, B, biases, observed=rows_masked(STATES[:3], 1))
        with pytest.raises(ValueError, match="parameters differ by row"):
            pmr.Hidden("h", v)


def test_whole_masked_rows_with_observed_hidden_units_are_refused():
    with pm.Model():
        v = pmr.RBM("v", W, B, C, observed=rows_masked(STATES[:3], 1))
        pmr.Hidden("h", v, observed=np.zeros((3, 2)))
        with pytest.raises(ValueError, match="masked rows of a variable with observed hidden units"):
            pm.sample(10, **ONE_CORE)


def test_functions_of_units_are_no_rbm():
    with pm.Model():
        u, v = pmr.RBM("u", W, B, C), pmr.RBM("v", W, B, C)
        for x in (pt.set_subtensor(v[0], 1), pt.set_subtensor(v[:1], u[:1]), 1 - v, v[::-1]):
            with pytest.raises(ValueError, match=r"not a function of it|different parameters"):
                pmr.Hidden("h", x)


def test_hidden_rows_must_be_those_of_v():
    with pm.Model():
        v = pmr.RBM("v", W, B, C)
        with pytest.raises(ValueError, match=r"shape \(4, 2\) do not fit v, of shape \(3,\)"):
            pmr.Hidden("h", v, shape=(4, 2))
        with pytest.raises(ValueError, match=r"\(5, 2\) do not fit"):
            pmr.Hidden("h", v, observed=np.zeros((5, 2)))


def test_do_on_the_visible_units_leaves_the_hidden_conditional():
    with pm.Model() as model:
        pmr.Hidden("h", pmr.RBM("v", W, B, C))
    state = STATES[5].astype("int8")
    with pm.do(model, {"v": state}):
        draws = pm.sample(4000, tune=0, chains=2, **ONE_CORE)["posterior"]["h"]
    expected = pmr.conditional_hidden(state, W, C)
    np.testing.assert_allclose(draws.mean(("chain", "draw")), expected, atol=5 * 0.5 / np.sqrt(8000))


def test_initval_of_any_integer_type():
    with pm.Model() as model:
        pmr.RBM("v", W, B, C, initval=np.array([1, 0, 1]))
    np.testing.assert_array_equal(model.initial_point()["v"], [1, 0, 1])
    with pm.Model(), pytest.raises(ValueError, match="initval must contain only 0 and 1"):
        pmr.RBM("v", W, B, C, initval=np.array([2, 0, 1]))


def test_total_size_is_refused():
    with pm.Model(), pytest.raises(ValueError, match="batch_size"):
        pmr.RBM("v", W, B, C, observed=STATES, total_size=100)


def test_data_arrays_follow_dims_and_coords():
    data = xr.DataArray(STATES[:3], dims=("row", "unit"), coords={"unit": list("abc")})
    for given in (data, data.T):
        with pm.Model() as model:
            pmr.RBM("v", W, B, C, observed=given, dims=("row", "unit"))
        np.testing.assert_array_equal(model["v"].tag.observations.data, STATES[:3])
        assert list(model.coords["unit"]) == list("abc")
    with pm.Model(coords={"unit": list("cba")}) as model:
        pmr.RBM("v", W, B, C, observed=data)
    np.testing.assert_array_equal(model["v"].tag.observations.data, STATES[:3, ::-1])
    with pm.Model(coords={"unit": list("abd")}), pytest.raises(ValueError, match="not those of the model"):
        pmr.RBM("v", W, B, C, observed=data)
    with pm.Model(), pytest.raises(ValueError, match="neither reorders nor renames"):
        pmr.RBM("v", W, B, C, observed=data, dims=("unit", "case"))
    with pm.Model() as model:
        pmr.RBM("v", W, B, C, observed=data, dims=("case", "pixel"))
    assert model.named_vars_to_dims["v"] == ("case", "pixel")


def test_learning_machines_with_very_different_numbers_of_rows():
    with pm.Model():
        for name, data in (("u", np.tile(STATES, (20, 1))), ("v", STATES[:2])):
            pmr.RBM(
                name, pm.Normal(f"W{name}", shape=(3, 2)), pm.Normal(f"b{name}", shape=3), np.zeros(2), observed=data
            )
        learned = pmr.fit(3, batch_size=20, random_seed=1, progressbar=False)
    assert np.isfinite(learned["learning"].to_dataset().to_array()).all()


def test_resume_refuses_parameters_in_another_order():
    def model(names):
        with pm.Model() as model:
            variables = {name: pm.Normal(name, shape=2) for name in names}
            weights = pm.Normal("W", shape=(2, 2))
            pmr.RBM("v", weights, variables["b"], variables["c"], observed=np.eye(2))
        return model

    first = pmr.fit(2, model=model("bc"), method="pcd", random_seed=1, progressbar=False)
    with pytest.raises(ValueError, match=r"of another run.*the order is"):
        pmr.fit(2, model=model("cb"), method="pcd", resume=first, progressbar=False)
    with pytest.raises(ValueError, match=r"learned with method='pcd'.*'cd'"):
        pmr.fit(2, model=model("bc"), resume=first, method="cd", progressbar=False)


def test_any_generator_can_be_resumed():
    with pm.Model() as model:
        pmr.RBM("v", pm.Normal("W", shape=(3, 2)), B, C, observed=STATES)
    learned = pmr.fit(
        2, method="pcd", model=model, random_seed=np.random.Generator(np.random.MT19937(1)), progressbar=False
    )
    assert pmr.fit(1, method="pcd", model=model, resume=learned, progressbar=False).attrs["epochs_done"] == 3


def test_generative_stands_alone():
    with pm.Model(coords={"unit": range(3)}) as model:
        model.add_coord("row", length=8)
        gain = pm.Normal("gain", observed=2.0)
        weights = pm.Normal("W", shape=(3, 2))
        pmr.RBM("v", weights * gain, B, C, observed=STATES, dims=("row", "unit"))
        learned = pmr.fit(2, method="pcd", random_seed=1, progressbar=False)
        new = pmr.generative(model, learned)
    with pm.Model() as other:
        pmr.generative(model, learned)
    assert not other.named_vars
    assert [x.name for x in new.free_RVs] == ["v"]
    np.testing.assert_allclose(pmr.machine_of(new).parameters[2], 2 * learned["parameters"]["W"], rtol=1e-12)
    with new:
        assert pm.sample(5, tune=0, chains=1, **ONE_CORE)["posterior"]["v"].shape == (1, 5, 3)


def test_shared_weights_are_centred_once():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(3, 2))
        for name in "uv":
            b, c = pm.Normal(f"b{name}", shape=3), pm.Normal(f"c{name}", shape=2)
            pmr.RBM(name, weights, b, c, observed=STATES)
        learned = pmr.fit(5, method="pcd", random_seed=1, progressbar=False)
    assert sum("offset" in name for name in eval(learned["state"].attrs["names"])) == 2
    assert model is not None


def test_names_do_not_decide_what_a_machine_is():
    """Two machines called like the parts of a masked variable are two; equal parameters are one machine."""
    with pm.Model() as model:
        pmr.RBM("v_observed", W, B, C)
        pmr.RBM("v_unobserved", 2 * W, B, C)
    with pytest.raises(ValueError, match="exactly one RBM, got 2"):
        pmr.log_partition(model)


def test_two_hidden_variables_count_their_machine_once():
    with pm.Model():
        v = pmr.RBM("v", W, B, C, observed=STATES[3])
        pmr.Hidden("h", v)
        pmr.Hidden("g", v)
        stats = pm.sample(5, tune=0, chains=1, **ONE_CORE)["sample_stats"]
    np.testing.assert_allclose(stats["free_energy"], pmr.free_energy(STATES[3], W, B, C), rtol=1e-10)


def test_log_z_with_batch_axes_shapes_the_draws():
    assert pm.draw(pmr.RBM.dist(W, B, C, log_z=np.zeros(2)), random_seed=1).shape == (2, 3)


def test_plot_mixing_names_the_groups():
    with pytest.raises(ValueError, match=r"no group 'posterior' among .*or group="):
        pmr.plot_mixing(xr.DataTree.from_dict({"particles": xr.Dataset()}))
