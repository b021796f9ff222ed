"""The figures as tables, by the names of their markers on the report's hand-written page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..report import table

LOOKS = ("nearly black or white", "saturation", "contrast")
BOTH = ("success", "isolation")

Figures = Mapping[str, Any]


def tables(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of all parts that were measured, by the name of their markers."""
    made: dict[str, str] = {}
    for part, makers in MAKERS.items():
        if part in parts:
            note = f"\nMeasured with `--faces {parts[part]['faces']}`.\n\n"
            made |= {name: note + maker(parts[part]) for name, maker in makers.items()}
    return made


def _percent(estimate: Figures) -> str:
    """Return a share with its interval: "96.9% (92.4-98.8)"."""
    return f"{estimate['value']:.1%} ({estimate['low'] * 100:.1f}-{estimate['high'] * 100:.1f})"


def _success_and_isolation(row: Figures) -> list[str]:
    return [_percent(row[name]) for name in BOTH]


def _number(estimate: Figures) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f}-{estimate['high']:.2f})"


def _points(estimate: Figures) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    value, low, high = (round(estimate[name] * 100, 1) + 0.0 for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _means_table(header: Iterable[str], rows: Sequence[Figures], key: Callable[[Figures], tuple[str, ...]]) -> str:
    """Sum edits up: for the rows of each key the mean, and the edit that does worst."""
    cells = []
    for of_all in dict.fromkeys(map(key, rows)):
        found = [row for row in rows if key(row) == of_all]
        cells.append([*of_all])
        for name in BOTH:
            least = min(found, key=lambda row, name=name: row[name]["value"])
            mean = sum(row[name]["value"] for row in found) / len(found)
            cells[-1] += [f"{mean:.1%}", f"{least['edit']} {_percent(least[name])}"]
    return table((*header, "mean success", "least", "mean isolation", "least"), cells)


def _means(part: Figures) -> str:
    ways = list(dict.fromkeys(row["way"] for row in part["conditions"]))
    rows = sorted(part["conditions"], key=lambda row: ways.index(row["way"]))
    return _means_table(("way", "steps", "cfg"), rows, lambda row: (row["way"], str(row["steps"]), f"{row['cfg']:g}"))


def _conditions(part: Figures) -> str:
    """Show each edit at all numbers of steps and cfgs: success and isolation, and how far success is apart."""
    columns = dict.fromkeys((row["steps"], row["cfg"]) for row in part["conditions"])
    cells = []
    for edit, way in dict.fromkeys((row["edit"], row["way"]) for row in part["conditions"]):
        of_way = [row for row in part["conditions"] if (row["edit"], row["way"]) == (edit, way)]
        both = [f"{row['success']['value']:.1%} / {row['isolation']['value']:.1%}" for row in of_way]
        # 4 steps and cfg 1 stand apart.
        usual = [row["success"]["value"] for row in of_way if row["steps"] > 4 and row["cfg"] > 1]
        cells.append((edit, way, *both, f"{(max(usual) - min(usual)) * 100:.1f}"))
    return table(("edit", "way", *(f"{steps} steps, cfg {cfg:g}" for steps, cfg in columns), "spread"), cells)


def _together(part: Figures) -> str:
    cells = [
        (
            row["edit"],
            row["way"],
            row["faces"],
            *_success_and_isolation(row),
            _points(row["gain"]) if row["way"] == "ours" else "",
        )
        for row in part["together"]
    ]
    return table(("edit", "way", "faces", *BOTH, "ours keeps more by, points"), cells)


def _beside_changed_prompt(pairs: Iterable[tuple[Figures, Figures]], more: Iterable[Sequence[str]] = ()) -> str:
    cells = [(ours["edit"], *_success_and_isolation(ours), *_success_and_isolation(other)) for ours, other in pairs]
    return table(("edit", *BOTH, "changed prompt: success", "isolation"), [*cells, *more])


def _replacements(part: Figures) -> str:
    return _beside_changed_prompt((row, row["changed prompt"]) for row in part["replacements"])


def _strength(part: Figures) -> str:
    cells = [
        (
            row["edit"],
            *(f"{chance['value']:.0%}" for chance in row["chance"]),
            f"{row['of the means']:.2f}",
            _number(row["rank correlation"]),
        )
        for row in part["strength"]
    ]
    strengths = (f"strength {each:g}" for each in part["strength"][0]["strengths"])
    return table(("edit", *strengths, "rank correlation", "face by face"), cells)


def _strong(part: Figures) -> str:
    strong, changed = (part["strong"][way] for way in ("strong", "changed prompt"))
    looks = [
        (f"{name}, times the plain picture's", _number(strong[name]), "", _number(changed[name]), "") for name in LOOKS
    ]
    return _beside_changed_prompt(zip(strong["edits"], changed["edits"], strict=True), looks)


def _reconstruction(part: Figures) -> str:
    """Show how near the latents come back, in parts of their norm."""
    rows = [("SEGA Invert", row) for row in part["reconstruction"]] + [*part["other reconstructions"].items()]
    cells = [(way, _setting(row), f"{row['median']:.1e}", f"{row['worst']:.1e}") for way, row in rows]
    return table(("way", "setting", "median error", "greatest"), cells)


def _setting(row: Figures) -> str:
    if "sampler" not in row:
        return ""
    return ", ".join((row["sampler"], row["scheduler"], f"{row['steps']} steps", f"cfg {row['cfg']:g}", row["dtype"]))


def _photo_means(part: Figures) -> str:
    rows = [row for row in part["edits"] if " instead of " not in row["edit"]]
    return _means_table(("way", "described"), rows, _photo_way)


def _photo_way(row: Figures) -> tuple[str, str]:
    way = row["way"].partition(",")[0]
    if row["way"] == "ours":
        way += ", default values" if row["strength"] is None else f", strength {row['strength']:g}"
    return way, "yes" if row["is described"] else "no"


def _photo_edits(part: Figures) -> str:
    """Show each edit with the default values, and by the other ways with what ours has more on the same drawings."""
    cells = []
    for row in part["edits"]:
        if row.get("strength") is None:
            gains = [_points(row[name]) if name in row else "" for name in ("success gain", "gain")]
            described = "yes" if row["is described"] else "no"
            cells.append((row["edit"], row["way"], described, *_success_and_isolation(row), *gains))
    more = ("ours succeeds more by, points", "ours keeps more by, points")
    return table(("edit", "way", "described", *BOTH, *more), cells)


def _rest(part: Figures) -> str:
    """Show the share of pixels that are to the bit those of the drawing."""
    ways = list(part["rest"][0]["unchanged"])
    cells = [
        (
            row["edit"],
            _percent(row["mask"]),
            *(f"{row['unchanged'][way]['background']['value']:.1%}" for way in ways),
            f"{row['unchanged']['composite']['picture']['value']:.1%}",
            *_success_and_isolation(row["composite"]),
        )
        for row in part["rest"]
    ]
    header = ("edit", "mask covers", *(f"{way}: background" for way in ways), "composite: whole picture")
    return table((*header, "composite: success", "composite: isolation"), cells)


MAKERS = {
    "first_edit": {
        "means": _means,
        "conditions": _conditions,
        "together": _together,
        "replacements": _replacements,
        "strength": _strength,
        "strong": _strong,
    },
    "photos": {
        "reconstruction": _reconstruction,
        "photo means": _photo_means,
        "photo edits": _photo_edits,
        "rest": _rest,
    },
}
