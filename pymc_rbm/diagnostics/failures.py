"""Each failure of learning has a name, a meaning and a remedy."""

from __future__ import annotations

from dataclasses import dataclass

from pymc_rbm.diagnostics.verdict import Finding

__all__ = [
    "DATA_NOT_REACHABLE",
    "DEAD_UNITS",
    "DRIFT",
    "FAILURES",
    "LADDER_TORN",
    "MODE_LOST",
    "MODE_OVER_WEIGHTED",
    "NOT_RENEWED",
    "OUT_OF_EQUILIBRIUM",
    "PARTICLES_LAG",
    "RATE_TOO_HIGH",
    "Failure",
]


@dataclass(frozen=True)
class Failure:
    """A way in which learning fails.

    Attributes
    ----------
    name : str
    meaning : str
        One clause, which follows "so that".
    remedy : str
    """

    name: str
    meaning: str
    remedy: str

    def finding(self, verdict: str, seen: str) -> Finding:
        """Return a finding that names this failure, with what was seen of it, and the best verdict that it allows."""
        reason = f"{self.name.capitalize()}: {seen}, so that {self.meaning}."
        return Finding(verdict, reason, self.remedy, self.name)


PARTICLES_LAG = Failure(
    "particles lag",
    "gradients were those of an earlier machine",
    "Lower the learning rate at the end, or run more sweeps an iteration; after method='fpcd' go on with 'pcd'.",
)
LADDER_TORN = Failure(
    "ladder torn",
    "the particles are cut off from earlier machines on the ladder, and from modes that they have not met",
    "Lower learning_rate, and go on with pmr.fit(resume=learned): the ladder mends itself meanwhile.",
)
NOT_RENEWED = Failure(
    "particles not renewed", "they remember their starts", "Learn for longer: pmr.fit(resume=learned)."
)
RATE_TOO_HIGH = Failure(
    "rate too high",
    "steps undo what earlier steps gained",
    "Lower learning_rate; pmr.averaged(learned) has less noise until then.",
)
MODE_LOST = Failure(
    "one mode lost",
    "no particle shows how much probability the machine has there",
    "Learn again with method='ptt', whose particles get to every mode.",
)
MODE_OVER_WEIGHTED = Failure(
    "mode over-weighted",
    "the machine draws from the right modes in the wrong proportions",
    "Go on with method='ptt': between modes plain chains do not measure weights.",
)
DEAD_UNITS = Failure(
    "dead units",
    "they add nothing but a constant",
    "Take fewer hidden units, or begin anew with other weights (start={'W': …}).",
)
DRIFT = Failure(
    "drift to infinity",
    "the objective may have no maximum, and weights grow as long as learning goes on",
    "Put a prior on W, such as pm.Normal, which gives the objective a maximum.",
)
DATA_NOT_REACHABLE = Failure(
    "data not reachable",
    "draws that do not start at the data will not look like them",
    "Learn again with method='ptt'; until then start chains at rows of the data (start=).",
)
OUT_OF_EQUILIBRIUM = Failure(
    "learned out of equilibrium",
    "the machine describes the data only early in its chains, and not in equilibrium, where they end",
    "Learn again with persistent chains (method='pcd', 'ptt'), more sweeps an iteration or a lower rate.",
)
FAILURES = {
    x.name: x
    for x in (
        PARTICLES_LAG,
        LADDER_TORN,
        NOT_RENEWED,
        RATE_TOO_HIGH,
        MODE_LOST,
        MODE_OVER_WEIGHTED,
        DEAD_UNITS,
        DRIFT,
        DATA_NOT_REACHABLE,
        OUT_OF_EQUILIBRIUM,
    )
}
"""All failures, by name."""
