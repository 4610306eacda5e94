"""Binarised digits, 784x500: held-out log-likelihood by the averaged iterates, log Z by two methods, and seconds.

Run with ``python -m benchmarks.mnist FILE.npz [--epochs 170]``, where the file holds ``train_bits``, ``valid_bits`` and
``test_bits`` (packed rows) and ``d``. Learned by "pt" in single precision with a prior on W; about a quarter of an hour
on one core.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor

import pymc_rbm as pmr
from benchmarks.learn import bits

PARTS = "train", "valid", "test"
QUIET = {"progressbar": False, "random_seed": 1}


def main() -> None:
    """Learn and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--epochs", type=int, default=170)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--scale", type=float, default=0.15, help="of the prior on W")
    chosen = parser.parse_args()
    pytensor.config.floatX = "float32"
    rows = {part: bits(str(chosen.file), part) for part in PARTS}
    n = rows["train"].shape[1]
    with pm.Model() as model:
        W = pm.Normal("W", 0, chosen.scale, shape=(n, chosen.hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=n), pm.Flat("c", shape=chosen.hidden), observed=rows["train"])
        began = time.perf_counter()
        learned = pmr.fit(chosen.epochs, method="pt", learning_rate=chosen.rate, **QUIET)
    print(f"{time.perf_counter() - began:.0f} s; returned: the {learned.attrs['iterate']} iterate", flush=True)
    machine, mean = pmr.machine_of(model, learned), (rows["train"].sum(0) + 0.5) / (len(rows["train"]) + 1)
    energies = {part: pmr.free_energy(x[:10_000], machine).mean() for part, x in rows.items()}
    for settings in ({"method": "ais", "temperatures": 100_000}, {"method": "tempering", "budget": 4_000_000}):
        log_z = pmr.log_partition(machine, base_mean=np.asarray(mean), **settings, **QUIET)
        scores = ", ".join(f"{part} {-energy - log_z.estimate:.3f}" for part, energy in energies.items())
        print(f"{scores} (± {log_z.standard_error:.3f}, {settings['method']})", flush=True)


if __name__ == "__main__":
    main()
