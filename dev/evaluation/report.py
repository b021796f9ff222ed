"""The figures as tables, put between the markers of the report's hand-written page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TARGET = 0.95
FEWEST = 4
LOOKS = ("nearly black or white", "saturation", "contrast")
SUCCESS_COST, LOSS = 1.5, 0.01

Figures = Mapping[str, Any]


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` for each table.

    Raises:
        ValueError: the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page.name} has no markers for {name!r}")
        text = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def percent(estimate: Figures) -> str:
    """Return a share with its interval: "96.9% (92.4-98.8)"."""
    return f"{estimate['value']:.1%} ({estimate['low'] * 100:.1f}-{estimate['high'] * 100:.1f})"


def number(estimate: Figures) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f}-{estimate['high']:.2f})"


def points(estimate: Figures) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    value, low, high = (round(estimate[name] * 100, 1) + 0.0 for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def met(holds: bool) -> str:
    return "met" if holds else "**missed**"


def tables(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of all parts that were measured, by the name of their markers."""
    made: dict[str, str] = {}
    for part, makers in MAKERS.items():
        if part in parts:
            note = f"Measured with `--faces {parts[part]['faces']}`.\n\n"
            made |= {name: note + maker(parts[part]) for name, maker in makers.items()}
    return made


def _conditions(part: Figures) -> str:
    """Show each edit at all numbers of steps and cfgs: success and isolation, the least in the last column."""
    columns = list(dict.fromkeys((row["steps"], row["cfg"]) for row in part["conditions"]))
    rows = []
    for edit, way in dict.fromkeys((row["edit"], row["way"]) for row in part["conditions"]):
        of_way = [row for row in part["conditions"] if (row["edit"], row["way"]) == (edit, way)]
        cells = [f"{row['success']['value']:.1%} / {row['isolation']['value']:.1%}" for row in of_way]
        # As the target has it: 4 steps and cfg 1 stand apart.
        usual = [row for row in of_way if row["steps"] != FEWEST and row["cfg"] != 1]
        values = [row["success"]["value"] for row in usual]
        rows.append((edit, way, *cells, f"{(max(values) - min(values)) * 100:.1f}"))
    return table(("edit", "way", *(f"{steps} steps, cfg {cfg:g}" for steps, cfg in columns), "spread"), rows)


def _means(part: Figures) -> str:
    """Sum the conditions up: the mean and the least over the eight edits."""
    rows = []
    for way in dict.fromkeys(row["way"] for row in part["conditions"]):
        for steps, cfg in dict.fromkeys((row["steps"], row["cfg"]) for row in part["conditions"]):
            found = [row for row in part["conditions"] if (row["way"], row["steps"], row["cfg"]) == (way, steps, cfg)]
            cells = [way, str(steps), f"{cfg:g}"]
            for name in ("success", "isolation"):
                least = min(found, key=lambda row, name=name: row[name]["value"])
                mean = sum(row[name]["value"] for row in found) / len(found)
                cells += [f"{mean:.1%}", f"{least['edit']} {percent(least[name])}"]
            rows.append(cells)
    return table(("way", "steps", "cfg", "mean success", "least", "mean isolation", "least"), rows)


def _together(part: Figures) -> str:
    rows = [
        (
            row["edit"],
            row["way"],
            str(row["faces"]),
            percent(row["success"]),
            percent(row["isolation"]),
            points(row["gain"]) if row["way"] == "ours" else "",
        )
        for row in part["together"]
    ]
    return table(("edit", "way", "faces", "success", "isolation", "ours keeps more by, points"), rows)


def _replacements(part: Figures) -> str:
    rows = [
        (
            row["edit"],
            *(percent(row[name]) for name in ("success", "isolation")),
            *(percent(row["changed prompt"][name]) for name in ("success", "isolation")),
        )
        for row in part["replacements"]
    ]
    return table(("edit", "success", "isolation", "changed prompt: success", "isolation"), rows)


def _strength(part: Figures) -> str:
    strengths = part["strength"][0]["strengths"]
    rows = [
        (
            row["edit"],
            *(f"{chance['value']:.0%}" for chance in row["chance"]),
            f"{row['of the means']:.2f}",
            number(row["rank correlation"]),
        )
        for row in part["strength"]
    ]
    header = ("edit", *(f"strength {each:g}" for each in strengths), "rank correlation", "face by face")
    return table(header, rows)


def _strong(part: Figures) -> str:
    strong, changed = (part["strong"][way] for way in ("strong", "changed prompt"))
    rows = [
        (row["edit"], *(percent(each[name]) for each in (row, other) for name in ("success", "isolation")))
        for row, other in zip(strong["edits"], changed["edits"], strict=True)
    ]
    looks = [
        (f"{name}, times the plain picture's", number(strong[name]), "", number(changed[name]), "") for name in LOOKS
    ]
    return table(("edit", "success", "isolation", "changed prompt: success", "isolation"), [*rows, *looks])


def _edits(part: Figures) -> str:
    rows = [
        (
            row["edit"],
            str(row["faces"]),
            percent(row["success"]),
            percent(row["isolation"]),
            f"{row['named kept']['value']:.1%}",
            f"{row['worst']} {row['kept'][row['worst']]['value']:.0%}",
            number(row["background change"]),
            f"{row['background unchanged']['value']:.1%}",
        )
        for row in part["edits"]
    ]
    header = (
        "edit",
        "faces",
        "success",
        "isolation",
        "of the named",
        "least kept",
        "background change",
        "background unchanged",
    )
    return table(header, rows)


def _prompts(part: Figures) -> str:
    rows = []
    for form in dict.fromkeys(row["form"] for row in part["prompts"]):
        of_form = [row for row in part["prompts"] if row["form"] == form]
        worst = {name: min(of_form, key=lambda row, name=name: row[name]["value"]) for name in ("success", "isolation")}
        cells = [f"`{form}`"]
        for name, row in worst.items():
            mean = sum(each[name]["value"] for each in of_form) / len(of_form)
            cells += [f"{mean:.1%}", f"{row['edit']} {row[name]['value']:.1%}"]
        rows.append(cells)
    return table(("prompt", "mean success", "least", "mean isolation", "least"), rows)


def _seeds(part: Figures) -> str:
    rows = []
    for row in part["seeds"]:
        cells = [row["edit"]]
        for name in ("success", "isolation"):
            values = [figures[name]["value"] for figures in row["seeds"]]
            cells += [" / ".join(f"{value:.1%}" for value in values), f"{(max(values) - min(values)) * 100:.1f}"]
        rows.append(cells)
    return table(("edit", "success per seed", "spread, points", "isolation per seed", "spread, points"), rows)


def _uniqueness(part: Figures) -> str:
    rows = [
        (
            row["edit"],
            percent(row["own"]["success"]),
            percent(row["other prompt"]["success"]),
            percent(row["other noise"]["success"]),
            number(row["cosine to other prompt"]),
            number(row["cosine to other noise"]),
        )
        for row in part["uniqueness"]
    ]
    header = (
        "edit",
        "success, own guidance",
        "guidance from another prompt",
        "guidance from other noise",
        "cosine, other prompt",
        "cosine, other noise",
    )
    return table(header, rows)


def _ways(part: Figures) -> str:
    """Show each way at its most successful strength, and ours with the default values; the JSON has all strengths."""
    rows = []
    for edit, way in dict.fromkeys((row["edit"], row["way"]) for row in part["ways"]):
        of_way = [row for row in part["ways"] if (row["edit"], row["way"]) == (edit, way)]
        best = max(
            of_way, key=lambda row: (row.get("default", False), row["success"]["value"], row["isolation"]["value"])
        )
        rows.append(
            (
                edit,
                way,
                f"{best['strength']:g}",
                percent(best["success"]),
                percent(best["isolation"]),
                number(best["background change"]),
                points(best["gain"]) if "gain" in best else "",
            )
        )
    header = ("edit", "way", "strength", "success", "isolation", "background change", "ours keeps more by, points")
    return table(header, rows)


def _duels(part: Figures) -> str:
    """Sum the alternatives up: at how many of a way's strengths ours keeps more, or no less, at the same success."""
    rows = []
    for way in dict.fromkeys(row["way"] for row in part["ways"] if "gain" in row):
        gains = [row["gain"] for row in part["ways"] if row["way"] == way and row["success"]["value"] > 0]
        rows.append(
            (
                way,
                str(len(gains)),
                str(sum(gain["low"] > 0 for gain in gains)),
                str(sum(gain["low"] <= 0 <= gain["high"] for gain in gains)),
                str(sum(gain["high"] < 0 for gain in gains)),
                f"{100 * sum(gain['value'] for gain in gains) / max(1, len(gains)):+.1f}",
            )
        )
    return table(("way", "points", "ours better", "undecided", "ours worse", "mean gain, points"), rows)


def _agreement(part: Figures) -> str:
    rows = [(edit, f"{error['median']:.1e}", f"{error['worst']:.1e}") for edit, error in part["reference"].items()]
    return table(("edit", "relative L2, median face", "worst face"), rows)


def _settings(part: Figures) -> str:
    rows = [
        (
            row["setting"],
            str(row["value"]),
            percent(row["success"]),
            percent(row["isolation"]),
            number(row["background change"]),
        )
        for row in part["settings"]
    ]
    return table(("setting", "value", "success", "isolation", "background change"), rows)


def _modes(part: Figures) -> str:
    rows = [
        (row["mode"], percent(row["success"]), percent(row["isolation"]), number(row["background change"]))
        for row in part["modes"]
    ]
    return table(("mode", "success of all", "isolation", "background change"), rows)


def _candidates(part: Figures) -> str:
    rows = [
        (
            " ".join(f"{value:g}" for value in row["values"].values()) or "changed prompt",
            row["where"],
            row["direction"],
            percent(row["success"]),
            f"{row['least success']:.0%}",
            percent(row["isolation"]),
            f"{row['least isolation']:.0%}",
        )
        for row in part["candidates"]
    ]
    header = ("strength, threshold, start", "where", "direction", "success", "least", "isolation", "least")
    return table(header, rows)


def _acceleration(part: Figures) -> str:
    rows = []
    for row in part["ways"]:
        lost = max(row["success lost"]["value"], row["isolation lost"]["value"])
        rows.append(
            (
                row["way"],
                f"{row['passes']:.2f}",
                f"{row['cost']:.2f}",
                percent(row["mean success"]),
                percent(row["isolation"]),
                points(row["success lost"]),
                points(row["isolation lost"]),
                "met" if row["cost"] <= SUCCESS_COST and lost <= LOSS else "",
            )
        )
    header = (
        "way",
        "passes per step",
        "times CFG",
        "success of each",
        "isolation",
        "success lost, points",
        "isolation lost, points",
        "target",
    )
    return table(header, rows)


def _reconstruction(part: Figures) -> str:
    """Show how near the latents come back, in parts of their norm."""
    rows = [
        (
            "SEGA Invert",
            ", ".join((row["sampler"], row["scheduler"], f"{row['steps']} steps", f"cfg {row['cfg']:g}", row["dtype"])),
            f"{row['median']:.1e}",
            f"{row['worst']:.1e}",
        )
        for row in part["reconstruction"]
    ]
    others = part["other reconstructions"].items()
    rows += [(way, "", f"{figures['median']:.1e}", f"{figures['worst']:.1e}") for way, figures in others]
    return table(("way", "setting", "median error", "greatest"), rows)


def _photo_means(part: Figures) -> str:
    """Sum the eight edits up, for each way and strength."""
    edits = [row for row in part["edits"] if " instead of " not in row["edit"]]
    rows = []
    for key in dict.fromkeys(map(_photo_way, edits)):
        found = [row for row in edits if _photo_way(row) == key]
        cells = [*key]
        for name in ("success", "isolation"):
            least = min(found, key=lambda row, name=name: row[name]["value"])
            mean = sum(row[name]["value"] for row in found) / len(found)
            cells += [f"{mean:.1%}", f"{least['edit']} {percent(least[name])}"]
        rows.append(cells)
    return table(("way", "described", "mean success", "least", "mean isolation", "least"), rows)


def _photo_way(row: Figures) -> tuple[str, str]:
    way = row["way"].partition(",")[0]
    if row["way"] == "ours":
        way += ", default values" if row["strength"] is None else f", strength {row['strength']:g}"
    return way, "yes" if row["is described"] else "no"


def _photo_edits(part: Figures) -> str:
    """Show each edit with the default values, and by the other ways with what ours has more on the same drawings."""
    rows = []
    for row in part["edits"]:
        if row.get("strength") is not None:
            continue
        gains = [points(row[name]) if name in row else "" for name in ("success gain", "gain")]
        described = "yes" if row["is described"] else "no"
        rows.append((row["edit"], row["way"], described, percent(row["success"]), percent(row["isolation"]), *gains))
    more = ("ours succeeds more by, points", "ours keeps more by, points")
    return table(("edit", "way", "described", "success", "isolation", *more), rows)


def _rest(part: Figures) -> str:
    """Show the share of pixels that are to the bit those of the drawing."""
    ways = list(part["rest"][0]["unchanged"])
    rows = [
        (
            row["edit"],
            percent(row["mask"]),
            *(f"{row['unchanged'][way]['background']['value']:.1%}" for way in ways),
            f"{row['unchanged']['composite']['picture']['value']:.1%}",
            *(percent(row["composite"][name]) for name in ("success", "isolation")),
        )
        for row in part["rest"]
    ]
    header = ("edit", "mask covers", *(f"{way}: background" for way in ways), "composite: whole picture")
    return table((*header, "composite: success", "composite: isolation"), rows)


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
    "properties": {"groups": _edits, "prompts": _prompts, "seeds": _seeds, "uniqueness": _uniqueness},
    "alternatives": {"duels": _duels, "ways": _ways, "agreement": _agreement},
    "settings": {"settings": _settings, "modes": _modes},
    "search": {"candidates": _candidates},
    "acceleration": {"acceleration": _acceleration},
}
