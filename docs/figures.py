"""Draw the figures of BENCHMARKS.md from the numbers in its tables: ``python docs/figures.py``."""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
OURS, OTHERS, LINE = "#0072B2", ("#D55E00", "#009E73"), "0.55"  # colours that colour-blind readers can tell apart


def table(page: str, first: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table whose first column has the title ``first``."""
    lines = re.search(rf"^\| {re.escape(first)} \|.*?(?=^$)", page, flags=re.S | re.M)
    if lines is None:
        raise ValueError(f"BENCHMARKS.md has no table with the first column {first!r}: write it, or change figures.py.")
    cells = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in lines.group().strip().split("\n")]
    return cells[0], cells[2:]


def speed(page: str) -> plt.Figure:
    """Bars: by how many times the fastest other program is slower."""
    _, rows = table(page, "job")
    names, ratios = [row[0] for row in rows][::-1], [float(row[1]) for row in rows][::-1]
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    bars = ax.barh(names, ratios, color=OURS, height=0.65)
    ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.axvline(1, color=LINE, linestyle="--", linewidth=1)
    ax.set(xlabel="CPU time of the fastest other program, divided by ours", xlim=(0, max(ratios) * 1.1))
    return figure


def likelihood(page: str) -> plt.Figure:
    """Lines: test log-likelihood against seconds of learning."""
    header, rows = table(page, "seconds")
    numbers = np.array(rows, dtype=float)
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, values, colour in zip(header[1:], numbers.T[1:], (OURS, *OTHERS), strict=True):
        ax.plot(numbers[:, 0], values, "o-", color=colour)
        ax.annotate(name, (numbers[-1, 0], values[-1]), xytext=(8, -3), textcoords="offset points", color=colour)
    ax.set_xscale("log", base=2)
    ax.set_xticks(numbers[:, 0], [f"{seconds:g}" for seconds in numbers[:, 0]])
    ax.set(xlabel="seconds of learning", ylabel="nats an image", xlim=(3.5, 130))
    return figure


def coverage(page: str) -> plt.Figure:
    """Points: how many intervals of log Z cover the truth."""
    _, rows = table(page, "method")
    names, covered = [row[0] for row in rows][::-1], [float(row[1]) for row in rows][::-1]
    figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
    ax.axvline(95, color=LINE, linestyle="--", linewidth=1)
    ax.plot(covered, names, "o", color=OURS, markersize=8)
    ax.set(xlabel="intervals that cover log Z, percent (95 would be right)", xlim=(88, 100))
    ax.margins(y=0.15)
    return figure


def main(folder: Path = HERE / "figures") -> None:
    """Write all figures."""
    page = (HERE / "BENCHMARKS.md").read_text(encoding="utf-8")
    folder.mkdir(exist_ok=True)
    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        for draw in (speed, likelihood, coverage):
            figure = draw(page)
            figure.savefig(folder / f"{draw.__name__}.png", dpi=130, metadata={"Software": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
