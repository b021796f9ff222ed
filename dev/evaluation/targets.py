"""What the edits should reach, and whether they do: computed from the figures alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .comparison import outcome
from .edits import ADDED, REMOVED
from .verdict import ATTRIBUTES, COMPOSITION
from .ways import OURS

SUCCESS = 0.95

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """What should be reached.

    Args:
        text: the target in words.
        checked: the number of figures that were looked at.
        missed: those that miss it.
    """

    text: str
    checked: int
    missed: tuple[Row, ...]

    @property
    def outcome(self) -> str:
        if not self.checked:
            return "undecided"
        return "missed" if self.missed else "reached"


def targets(edits: Iterable[Row], comparisons: Iterable[Row]) -> list[Target]:
    """Return the targets with their outcome.

    Args:
        edits: the figures of each edit and way.
        comparisons: what ours has more than another way, by group and measure.
    """
    ours = [row for row in edits if row["way"] == OURS]
    compared = list(comparisons)
    kept = [row for row in compared if row["group"] in (ADDED, REMOVED) and row["measure"] in (ATTRIBUTES, COMPOSITION)]
    return [
        Target(
            f"At least {SUCCESS:.0%} of the edits succeed",
            len(ours),
            tuple(row for row in ours if row["success"]["value"] < SUCCESS),
        ),
        Target(
            "Details added or removed: attributes and composition are kept better than by any other way",
            len(kept),
            tuple(row for row in kept if outcome(row) != "win"),
        ),
        Target(
            "Nothing is worse than with another way",
            len(compared),
            tuple(row for row in compared if outcome(row) == "loss"),
        ),
    ]
