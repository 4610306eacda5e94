"""What needs more memory than there is says so, with both numbers, before any work."""

import os
import re

import numpy as np
import pytest
import reference as ref
import xarray as xr
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.sampling import chains as sampling
from pymc_rbm.support import memory
from pymc_rbm.support.memory import GIB, available_memory, check_memory

pytestmark = pytest.mark.interpreted
MACHINE = pmr.restricted(*ref.machine(6, 4))
ROWS = (np.random.default_rng(1).random((50, 6)) < 0.5).astype("int8")


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files as Linux has them: 8 GiB available, and control groups if a test writes them."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo=f"MemTotal: {2**24} kB\nMemFree: 1000 kB\nMemAvailable: {2**23} kB\n")
    return write


def test_the_machine(system):
    assert available_memory() == 8 * GIB


def test_a_container_has_less(system):
    """Group v2; the files in its cache can be given back."""
    system(
        proc__self__cgroup="0::/batch/job\n",
        groups__memoryDOTmax="max\n",
        groups__memoryDOTcurrent=f"{7 * GIB}\n",
        groups__batch__memoryDOTmax=f"{4 * GIB}\n",
        groups__batch__memoryDOTcurrent=f"{3 * GIB}\n",
        groups__batch__memoryDOTstat=f"anon 5\nactive_file {GIB}\ninactive_file {GIB}\n",
        groups__batch__job__memoryDOTmax=f"{6 * GIB}\n",
        groups__batch__job__memoryDOTcurrent=f"{2 * GIB}\n",
    )
    assert available_memory() == 2 * GIB


def test_a_container_that_sees_itself_at_the_root(system):
    system(
        proc__self__cgroup="0::/kubepods/what/is/not/here\n",
        groups__memoryDOTmax=f"{4 * GIB}\n",
        groups__memoryDOTcurrent=f"{GIB}\n",
    )
    assert available_memory() == 3 * GIB


def test_an_old_control_group(system):
    system(
        proc__self__cgroup="12:cpu,cpuacct:/a\n5:memory:/a\n",
        groups__memory__a__memoryDOTlimit_in_bytes=f"{5 * GIB}\n",
        groups__memory__a__memoryDOTusage_in_bytes=f"{4 * GIB}\n",
    )
    assert available_memory() == GIB


def test_more_is_used_than_allowed(system):
    system(proc__self__cgroup="0::/\n", groups__memoryDOTmax=f"{GIB}\n", groups__memoryDOTcurrent=f"{2 * GIB}\n")
    assert available_memory() == 0


def test_systems_that_say_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROC", tmp_path)
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}

    def sysconf(name):
        if name not in pages:
            raise ValueError("unrecognized configuration name")
        return pages[name]

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert available_memory() == 4096 * 1000  # macOS
    pages.clear()
    assert available_memory() is None
    monkeypatch.delattr(os, "sysconf")  # Windows
    assert available_memory() is None
    check_memory(1e30, "This", "Nothing is known.")


def test_this_system_says_something_plausible():
    found = available_memory()
    assert found is None or 2**20 < found < 2**50


def posterior():
    """A thousand draws of the weights."""
    W, b, c = ref.machine(6, 4)
    shape = (1, 100_000)
    group = {
        key: (("chain", "draw", *(f"{key}_{i}" for i in range(x.ndim))), np.broadcast_to(x, shape + x.shape))
        for key, x in {"W": W, "b": b, "c": c}.items()
    }
    return xr.DataTree.from_dict({"posterior": xr.Dataset(group)})


def model():
    import pymc as pm

    with pm.Model() as made:
        W, b, c = (pm.Normal(key, shape=shape) for key, shape in (("W", (6, 4)), ("b", 6), ("c", 4)))
        pmr.RBM("v", W, b, c, observed=ROWS)
    return made


CALLS = {
    "sample_gibbs": (lambda: pmr.sample_gibbs(MACHINE, draws=10**7, chains=100, **QUIET), 100 * 10**7 * (6 + 8 * 6)),
    "sample_gibbs, real units": (
        lambda: pmr.sample_gibbs(pmr.restricted(*ref.machine(6, 4), pmr.Gaussian()), draws=10**8, chains=10, **QUIET),
        10 * 10**8 * (6 * 8 + 8 * 6),
    ),
    "sample_gibbs without states": (
        lambda: pmr.sample_gibbs(MACHINE, draws=10**8, chains=10, states=False, **QUIET),
        10 * 10**8 * 8 * 6,
    ),
    "inpaint": (
        lambda: pmr.inpaint(np.ma.MaskedArray(ROWS, ROWS == 1), MACHINE, draws=10**7, **QUIET),
        2 * 4 * 10**7 * 50 * (6 + 8 * 3),
    ),
    "log_partition": (
        lambda: pmr.log_partition(MACHINE, method="ais", particles=10**10, **QUIET),
        10**10 * 220,
    ),
    "log_partition, temperatures": (
        lambda: pmr.log_partition(MACHINE, method="ais", temperatures=10**10, **QUIET),
        10**10 * 100,
    ),
    "log_likelihood": (
        lambda: pmr.log_likelihood(ROWS, model(), posterior(), progressbar=False),
        2 * 8 * 10**5 * 50,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_too_large(name, monkeypatch):
    call, needed = CALLS[name]
    monkeypatch.setattr(memory, "available_memory", lambda: 50 * 2**20)
    monkeypatch.setattr(sampling, "_advance_function", None)  # nothing may start
    with pytest.raises(MemoryError, match=r"needs [\d,.]+ GiB of memory; 0\.0 GiB are available\. \w+") as caught:
        call()
    [said] = re.findall(r"needs ([\d,.]+) GiB", str(caught.value))
    assert float(said.replace(",", "")) == pytest.approx(needed / GIB, rel=0.02, abs=0.15)


def test_what_fits_is_not_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: GIB // 5)
    assert pmr.sample_gibbs(MACHINE, draws=20, tune=10, **QUIET)["posterior"].sizes["draw"] == 20


def test_probes_that_would_be_too_large(monkeypatch):
    draws = pmr.sample_gibbs(MACHINE, draws=50, tune=10, **QUIET)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    with pytest.raises(MemoryError, match="Keeping"):
        pmr.diagnose(draws, MACHINE, **QUIET)
