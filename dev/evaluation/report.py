"""The figures as tables, by the names of their markers on the report's hand-written page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..report import table
from .comparison import MEASURES, SUCCESS, opponent, outcome
from .targets import Target, targets
from .verdict import ATTRIBUTES, COMPOSITION
from .ways import OURS

Figures = Mapping[str, Any]


def tables(parts: Mapping[str, Figures]) -> dict[str, str]:
    """Return the tables of all parts that were measured, by the name of their markers."""
    made: dict[str, str] = {}
    for part, makers in MAKERS.items():
        if part in parts:
            note = f"\nMeasured with `--faces {parts[part]['faces']}`.\n\n"
            made |= {name: note + maker(parts[part]) for name, maker in makers.items()}
    if parts.keys() >= {"ways", "photos"}:
        both = {"": parts["ways"], "given pictures, ": parts["photos"]}
        found = targets(
            *(
                [{**row, "of": of} for of, part in both.items() for row in part[name]]
                for name in ("edits", "comparisons")
            )
        )
        made["targets"] = "\n" + _targets(found)
    return made


def _percent(estimate: Figures | None) -> str:
    """Return a share with its interval: "96.9% (92.4-98.8)"; nothing where there is none."""
    if estimate is None:
        return ""
    return f"{estimate['value']:.1%} ({estimate['low'] * 100:.1f}-{estimate['high'] * 100:.1f})"


def _points(estimate: Figures) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    value, low, high = (round(estimate[name] * 100, 1) + 0.0 for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _figures(row: Figures) -> list[str]:
    """Return the cells of success, of what was kept, and of how far the head moved."""
    head = row["head"]
    return [*(_percent(row[measure]) for measure in MEASURES), f"{head['value']:.1f}" if head else ""]


FIGURES = ("success", "attributes kept", "composition kept", "pixels kept outside", "head moved, pixels")


def _groups(part: Figures) -> str:
    rows = part["groups"]
    return table(("edits", "way", *FIGURES), [(row["group"], row["way"], *_figures(row)) for row in rows])


def _edits(part: Figures) -> str:
    """Show each edit, done by ours."""
    rows = [row for row in part["edits"] if row["way"] == OURS]
    cells = [(row["edit"], row[SUCCESS]["faces"], *_figures(row)) for row in rows]
    return table(("edit", "faces", *FIGURES), cells)


def _wins(part: Figures) -> str:
    """Show for each way and group whether ours is better, with the difference in points."""
    rows = part["comparisons"]
    cells = []
    for group, other in dict.fromkeys((row["group"], opponent(row)) for row in rows):
        found = {row["measure"]: row for row in rows if (row["group"], opponent(row)) == (group, other)}
        compared = (f"**{outcome(found[each])}** {_points(found[each])}" if each in found else "" for each in MEASURES)
        faces = found[ATTRIBUTES]["faces"] if ATTRIBUTES in found else 0
        cells.append((group, other, faces, *compared))
    return table(("edits", "other way", "faces", *MEASURES), cells)


def _score(part: Figures) -> str:
    """Count wins, draws and losses against each way."""
    rows = part["comparisons"]
    cells = []
    for other in dict.fromkeys(map(opponent, rows)):
        counts = [
            Counter(outcome(row) for row in rows if (opponent(row), row["measure"]) == (other, measure))
            for measure in MEASURES
        ]
        cells.append((other, *(" / ".join(str(each[word]) for word in ("win", "draw", "loss")) for each in counts)))
    return table(("other way", *MEASURES), cells)


def _prompts(part: Figures) -> str:
    rows = [row for row in part["prompts"] if row["measure"] in (ATTRIBUTES, COMPOSITION)]
    columns = [(prompts, measure) for prompts in ("open", "described") for measure in (ATTRIBUTES, COMPOSITION)]
    cells = []
    for group, way in dict.fromkeys((row["group"], row["way"]) for row in rows):
        found = {(row["prompts"], row["measure"]): row for row in rows if (row["group"], row["way"]) == (group, way)}
        cells.append((group, way, *(_points(found[each]) if each in found else "" for each in columns)))
    return table(("edits", "other way", *map(": ".join, columns)), cells)


def _targets(found: Iterable[Target]) -> str:
    """Show whether each target is reached, and below the figures that miss it."""
    numbered = [*enumerate(found, 1)]
    cells = [
        (number, target.text, target.outcome, f"{len(target.missed)} of {target.checked} miss it")
        for number, target in numbered
    ]
    missed = [(number, *_miss(row)) for number, target in numbered for row in target.missed]
    outcomes = table(("", "target", "outcome", "figures"), cells)
    return outcomes + "\n" + table(("target", "missed at", "figure"), missed) if missed else outcomes


def _miss(row: Figures) -> tuple[str, str]:
    if "measure" in row:
        return f"{row['of']}{row['group']}, {opponent(row)}: {row['measure']}", _points(row)
    return row["of"] + row["edit"], _percent(row[SUCCESS])


def _reconstruction(part: Figures) -> str:
    """Show how near the latents come back, in parts of their norm."""
    cells = [
        (row["way"], _setting(row), f"{row['median']:.1e}", f"{row['worst']:.1e}") for row in part["reconstruction"]
    ]
    return table(("way", "setting", "median error", "greatest"), cells)


def _setting(row: Figures) -> str:
    if "sampler" not in row:
        return ""
    return ", ".join((row["sampler"], row["scheduler"], f"{row['steps']} steps", f"cfg {row['cfg']:g}", row["dtype"]))


def _conditions(part: Figures) -> str:
    cells = [(row["edit"], row["steps"], f"{row['cfg']:g}", *_figures(row)) for row in part["conditions"]]
    return table(("edit", "steps", "cfg", *FIGURES), cells)


def _strengths(part: Figures) -> str:
    rows = part["strengths"]
    strengths = dict.fromkeys(row["strength"] for row in rows)
    cells = [
        (edit, *(f"{row['value']:.0%}" for row in rows if row["edit"] == edit))
        for edit in dict.fromkeys(row["edit"] for row in rows)
    ]
    return table(("edit", *(f"strength {strength:g}" for strength in strengths)), cells)


MAKERS: Mapping[str, Mapping[str, Callable[[Figures], str]]] = {
    "ways": {"score": _score, "wins": _wins, "groups": _groups, "edits": _edits, "prompts": _prompts},
    "photos": {"photo wins": _wins, "photo groups": _groups, "reconstruction": _reconstruction},
    "first_edit": {"conditions": _conditions, "strengths": _strengths},
}
