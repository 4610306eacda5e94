"""Ctrl-C at any moment: the first returns what is done, or raises KeyboardInterrupt; the second ends, cleanly.

``PYMC_RBM_MOMENTS`` (8) says at how many random moments it is pressed twice in each function; in a night, 20.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import interrupted
import numpy as np
import pytest
from interrupted import FUNCTIONS, NOTHING

pytestmark = pytest.mark.slow
SECONDS = 2.0
MOMENTS = int(os.environ.get("PYMC_RBM_MOMENTS", "8"))
OF_NUMBA = r"Exception ignored in: <function \S*(?:disposal|__del__) at \w+>\n.*?\nKeyboardInterrupt: *\n"
LOST = re.compile(OF_NUMBA, re.DOTALL)
"""What Python says of a Ctrl-C that comes while numba's types go, outside of all that the package calls."""


def seconds_of(pid):
    """Processor time of a process, which does not count what others take; the clock's where the system does not say."""
    if not Path(f"/proc/{pid}/stat").exists():
        return time.monotonic()
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def trial(process, rng, twice, at_once):
    """Press Ctrl-C at any moment, or when the work is under way; and again, if it is to be pressed twice.

    Return what came of the call, and the seconds from the first to the end.
    """
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    while line == "begin\n" and not at_once:
        line = process.stdout.readline()
    assert line == ("begin\n" if at_once else "under way\n"), "it ended before it was interrupted"
    time.sleep(rng.exponential(0.3))
    process.send_signal(signal.SIGINT)
    began = seconds_of(process.pid)
    if twice:
        time.sleep(rng.exponential(0.2))
        process.send_signal(signal.SIGINT)
    while line in ("begin\n", "under way\n"):
        line = process.stdout.readline()
    word, *found = line.split() or [f"the process ended with {process.wait(60)}"]
    assert word == "end", word
    return " ".join(found), seconds_of(process.pid) - began


# What PyMC compiles for itself, before a chain begins, may lose Ctrl-C where numba's types go.
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ctrl_c_at_random_moments(name, tmp_path):
    rng, plan = np.random.default_rng(len(name)), [False, *MOMENTS * [True], *4 * [False]]
    command = [sys.executable, "-W", "ignore", str(Path(interrupted.__file__)), name, str(len(plan))]
    with (
        open(tmp_path / "errors", "w") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            found = [trial(process, rng, twice, twice and name != "pm.sample") for twice in plan]
            print(name, *found, sep="\n")
            assert process.stdout.readline() == "well\n"
            assert process.wait(60) == 0
        finally:
            process.kill()
            print((tmp_path / "errors").read_text())
    assert not LOST.sub("", (tmp_path / "errors").read_text())
    wanted = "KeyboardInterrupt" if name in NOTHING else "returned"
    # The first call compiles, and Ctrl-C is raised before it compiles what an answer needs.
    once = {what.split()[0] for (what, _), twice in list(zip(found, plan, strict=True))[1:] if not twice}
    if name == "pm.sample":  # the function that PyMC records draws by has no `Whole` around it: one press in fifty
        once.discard("KeyboardInterrupt")
    assert once == {wanted}
    assert {what.split()[0] for what, _ in found} <= {"returned", "KeyboardInterrupt"}
    assert max(late for _, late in found[1:]) < SECONDS
