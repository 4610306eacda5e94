"""Calibration and accuracy of log Z over machines whose log Z is known exactly.

Run with ``python -m benchmarks.log_z_calibration PART [seeds] [folder] [method]``, where PART is calibration, ladder,
rare, traps or accuracy. The folder holds the two trained machines and the digits that they learned
(``rbm_pretrained_*.npz``, ``mnist_bin127.npz``; default ``../shared/data``); they are left out where it is absent.

calibration: how often the 95 % interval covers, and whether every miss by more than three standard errors and 0.2 nats
is flagged, over 69 machines and every method. "50 temperatures" is annealing that is given too little on purpose.

ladder: the same for log Z along a ladder of 100 chains from independent units (`pymc_rbm.partition.along`), whose rungs
lie on the straight way here, and 1,000 lifts. Learning finds log Z so, along the machines that it came through.

rare: the same by machine over the five of these that have one mode of 1 to 10 % of the probability (`rare_modes`), with
little work a call, so that 200 seeds take minutes. Each line passes or fails: at least 93 % must be covered, and no
miss by more than three standard errors and 0.2 nats may be unflagged. "auto" is what users get: it sums where it can.

traps: the same over 36 machines with a mode of much mass that annealing hardly reaches. Every method misses there; what
counts is that it says so.

accuracy: squared error against plain annealing (linear schedule, uniform base) at equal work: pilot, exploration and
check count.
"""

import sys
from pathlib import Path

import numpy as np

import pymc_rbm as pmr
from benchmarks.rare_modes import rare_modes
from pymc_rbm.partition.along import along
from pymc_rbm.partition.path import Path as Annealing
from pymc_rbm.sampling.ladder import ladder_to

METHODS = {
    "ais": {"method": "ais", "budget": 200_000},
    "ais, 50 temperatures": {"method": "ais", "temperatures": 50},
    "reverse_ais": {"method": "reverse_ais", "budget": 200_000},
    "tempering": {"method": "tempering", "budget": 200_000},
    "compare": {"method": "compare", "budget": 400_000},
}


LITTLE = {
    "ais": {"method": "ais", "budget": 100_000},
    "tempering": {"method": "tempering", "budget": 20_000},
    "compare": {"method": "compare", "budget": 100_000},
    "auto": {"method": "auto", "budget": 100_000},
}
"""For tiny machines. "auto" enumerates some of them, and is "compare" for the others."""
LEAST_COVERED = 0.93


def random_machine(scale, seed, n=12):
    """Independent normal parameters."""
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((n, n)), scale * rng.standard_normal(n), scale * rng.standard_normal(n)


def curie_weiss(w, n=20):
    """All weights equal, no field on average: two modes from w = 4 / n on."""
    return np.full((n, n), w), np.full(n, -n * w / 2), np.full(n, -n * w / 2)


CRITICAL = np.log(1 + np.sqrt(2)) / 2


def torus(n, coupling=CRITICAL):
    """Ising spins on a torus, a hidden unit a bond; critical by default."""
    k = np.arccosh(np.exp(2 * coupling)) / 2
    weights = np.zeros((n * n, 2 * n * n))
    for i in range(n):
        for j in range(n):
            for axis, other in enumerate((((i + 1) % n) * n + j, i * n + (j + 1) % n)):
                weights[[i * n + j, other], 2 * (i * n + j) + axis] = 4 * k
    return weights, np.full(n * n, -8 * k), np.full(2 * n * n, -4 * k)


def modules(seed=123, count=20):
    """Independent 6x5 machines in one: W, b, c and the parts."""
    rng = np.random.default_rng(seed)
    weights, b, c, parts = np.zeros((6 * count, 5 * count)), np.zeros(6 * count), np.zeros(5 * count), []
    for k in range(count):
        w = 3 * rng.standard_normal((6, 5))
        part = w, rng.standard_normal(6) - w.sum(1) / 2, rng.standard_normal(5) - w.sum(0) / 2
        parts.append(part)
        weights[6 * k : 6 * k + 6, 5 * k : 5 * k + 5], b[6 * k : 6 * k + 6], c[5 * k : 5 * k + 5] = part
    return (weights, b, c), parts


def exact(parameters):
    """Return log Z by enumeration."""
    return pmr.log_partition(pmr.restricted(*parameters), method="exact", progressbar=False).estimate


def trained(folder):
    """The two trained machines with their digits: name -> (parameters, log Z, base mean)."""
    found = {}
    if (folder / "mnist_bin127.npz").exists():
        digits = pmr.datasets.from_npz(folder / "mnist_bin127.npz").values
        mean = (digits.sum(0) + 0.5) / (len(digits) + 1)
        for name in ("pylearn2_15", "lz_h10"):
            with np.load(folder / f"rbm_pretrained_{name}.npz") as file:
                parameters = file["W"], file["b"], file["c"]
            found[f"trained {name}"] = (parameters, exact(parameters), mean)
    return found


def truths(folder):
    """The cases of known log Z that are compared with plain annealing."""
    cases = {"independent 5x3": (np.zeros((5, 3)), np.linspace(-2, 2, 5), np.array([-1.0, 0, 3]))}
    cases |= {f"Curie-Weiss {w}": curie_weiss(w) for w in (0.15, 0.2, 0.3)}
    found = {name: (parameters, exact(parameters), None) for name, parameters in cases.items()}
    found["torus 8x8"] = (torus(8), 9.615451776, None)
    found["torus 10x10"] = (torus(10), 14.66291143, None)
    whole, parts = modules()
    found["twenty modules"] = (whole, sum(map(exact, parts)), None)
    return found | trained(folder)


def machines(folder):
    """Every machine of the calibration: name -> (parameters, log Z, base mean or None)."""
    found = truths(folder)
    cases = {f"random {s} #{seed}": random_machine(s, seed) for s in (0.3, 1, 2, 3, 5, 8) for seed in range(7)}
    cases |= {f"Curie-Weiss {w}": curie_weiss(w) for w in (0.1, 0.25, 0.35, 0.4)}
    cases |= {f"torus 4x4 {j}": torus(4, j) for j in (0.2, 0.44, 0.8)}
    found |= {name: (parameters, exact(parameters), None) for name, parameters in cases.items()}
    for seed in (1, 2, 3, 4):
        whole, parts = modules(seed, 5 * seed)
        found[f"modules #{seed}"] = (whole, sum(map(exact, parts)), None)
    for name, (parameters, log_z, _) in trained(folder).items():
        found[f"{name}, no data"] = (parameters, log_z, None)
    return found | rare()


def rare():
    """The machines with a rare mode, as `machines` has them."""
    return {name: (parameters, log_z, None) for name, (parameters, log_z) in rare_modes().items()}


def traps():
    """Machines with a mode of much mass that annealing hardly reaches: hidden units that turn a pattern on."""
    found = {}
    for seed in range(6):
        for strength in (3.0, 8.0):
            for patterns in (1, 3, 8):
                rng = np.random.default_rng(seed)
                b, weights, c = rng.normal(size=30), np.zeros((30, patterns)), np.zeros(patterns)
                for j in range(patterns):
                    weights[:, j] = strength * (2 * rng.integers(0, 2, 30) - 1)
                    c[j] = (np.logaddexp(0, b) - np.logaddexp(0, b + weights[:, j])).sum() + (0, -2, 2)[seed % 3]
                found[f"{patterns} patterns of {strength:g} #{seed}"] = (weights, b, c)
    return {name: (parameters, exact(parameters), None) for name, parameters in found.items()}


def passes(covered, reliable, big):
    """Whether enough intervals cover, and all big misses are flagged."""
    return bool(np.mean(covered) >= LEAST_COVERED and not np.any(np.asarray(big, bool) & ~np.asarray(reliable, bool)))


def calibration(seeds, folder, only=None, cases=None, methods=METHODS, judge=False):
    """Print coverage, misses and flags by method, and every miss; return whether all pass, which ``judge`` prints."""
    cases = machines(folder) if cases is None else cases
    methods = {label: options for label, options in methods.items() if only in (None, label)}
    print(f"{len(cases)} machines, {seeds} seeds")
    header = ("method", "cover", "covers if reliable", "big misses", "flagged", "reliable", "rms error", "mean s.e.")
    print("{:22}{:>8}{:>20}{:>12}{:>9}{:>10}{:>11}{:>11}".format(*header))
    passed = []
    for label, options in methods.items():
        rows, missed = [], []
        for name, (parameters, log_z, mean) in cases.items():
            machine = parameters if isinstance(parameters, pmr.Machine) else pmr.restricted(*parameters)
            for seed in range(seeds):
                result = (
                    options["by"](machine, seed)
                    if "by" in options
                    else pmr.log_partition(machine, base_mean=mean, random_seed=seed, progressbar=False, **options)
                )
                low, high = result.interval
                error = result.estimate - log_z
                # Exactly independent units leave nothing to estimate: rounding is no miss.
                covered = low - 1e-6 <= log_z <= high + 1e-6
                big = bool(abs(error) > 3 * result.standard_error + 0.2)
                rows.append((covered, result.reliable, big, error, result.standard_error))
                if not covered or big:
                    flag = "big miss" * big or "miss"
                    said = "" if result.reliable else f" (flagged: {result.reasons[0]})"
                    missed.append(f"    {flag} {name}, seed {seed}: {error:+.3f} ± {result.standard_error:.3f}{said}")
        covered, reliable, big, error, stated = np.array(rows, dtype=float).T
        if_reliable = f"{covered[reliable == 1].mean():.1%}" if reliable.any() else "-"
        caught = f"{int((big * (1 - reliable)).sum())}/{int(big.sum())}"
        print(
            f"{label:22}{covered.mean():8.1%}{if_reliable:>20}{int(big.sum()):12}{caught:>9}{reliable.mean():10.1%}"
            f"{np.sqrt((error**2).mean()):11.3f}{stated.mean():11.3f}"
        )
        passed.append(passes(covered, reliable, big))
        if judge:
            print("    pass" if passed[-1] else "    FAIL")
        print("\n".join(missed), flush=True)
    return all(passed)


def along_ladder(machine, seed):
    """Return log Z along a ladder to the machine."""
    rng = np.random.default_rng(seed)
    return along(ladder_to(machine.numeric(), 100, rng), 1000, rng)


def plain(parameters, temperatures, rng, particles=100):
    """Annealing as the textbooks have it: uniform base, linear schedule."""
    path = Annealing(pmr.restricted(*parameters), tuple(np.zeros_like(x) for x in parameters[1:]))
    states, total = path.base_states(rng, particles), np.full(particles, path.log_z_base)
    betas = np.linspace(0, 1, temperatures)
    for begin in range(0, temperatures - 1, 500):
        states, increments = path.walk(rng, betas[begin : begin + 501], states, False)
        total += increments.sum(0)
    return float(np.logaddexp.reduce(total) - np.log(particles))


def accuracy(seeds, folder, temperatures=1000):
    """Print root mean squared errors at equal work, and the ratio of their squares with its standard error."""
    print(f"{'case':20}{'plain':>10}{'ais':>10}{'squared ratio':>16}{'work':>10}   ({seeds} seeds)")
    for name, (parameters, log_z, mean) in truths(folder).items():
        errors = []
        for seed in range(seeds):
            result = pmr.log_partition(
                pmr.restricted(*parameters), method="ais", temperatures=temperatures, base_mean=mean,
                random_seed=seed, progressbar=False,
            )  # fmt: skip
            equal = result.made["sweeps"] // 100
            rough = plain(parameters, equal, np.random.default_rng([seed, 1]))
            errors.append((rough - log_z, result.estimate - log_z))
        squares = np.square(errors).mean(0)
        # The mean of n squared normal errors has a relative standard error of √(2/n).
        ratio = squares[0] / max(squares[1], 1e-16)
        print(
            f"{name:20}{np.sqrt(squares[0]):10.4f}{np.sqrt(squares[1]):10.4f}{ratio:9.3g}"
            f" ± {ratio * 2 / np.sqrt(seeds):.2g}{100 * equal:10}",
            flush=True,
        )


if __name__ == "__main__":
    part, *numbers = sys.argv[1:] or ["calibration"]
    where = Path(numbers[1] if len(numbers) > 1 else Path(__file__).resolve().parents[2] / "shared" / "data")
    seeds = int(numbers[0]) if numbers else 1
    if part == "ladder":
        calibration(seeds, where, methods={"ladder": {"by": along_ladder}})
    elif part == "traps":
        calibration(seeds, where, *numbers[2:], cases=traps())
    elif part == "rare":
        passed = []
        for name, case in rare().items():
            print(name)
            passed.append(calibration(seeds, where, *numbers[2:], cases={name: case}, methods=LITTLE, judge=True))
        sys.exit(f"{sum(passed)} of {len(passed)} machines pass" if not all(passed) else 0)
    else:
        {"calibration": calibration, "accuracy": accuracy}[part](seeds, where, *numbers[2:])
