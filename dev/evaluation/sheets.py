"""The pictures behind the figures: a few faces of each kind, in the report's own size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..demo.run import EDITS, LOOKS
from ..demo.sheet import Row, contact_sheet
from .alternatives import ways
from .first_edit import STRENGTHS, STRONG
from .recipe import ADDS, OTHER_SEED, Recipe, edit_named, edited, name_of, plain
from .studio import Studio

PER_LOOK = 2
CELL = 96


def sheets(studio: Studio, parts: Sequence[str], folder: Path) -> list[Path]:
    """Write the sheets of the parts; return their files."""
    made = {}
    if "properties" in parts:
        made["edits"] = contact_sheet("Every edit", "the same noise with and without it", _edits(studio), CELL)
        made["uniqueness"] = contact_sheet("Guidance of one run in others", "the hat's", _uniqueness(studio), CELL)
    if "first_edit" in parts:
        made["strengths"] = contact_sheet("Rising strength", "the same noise in every column", _strengths(studio), CELL)
    if "alternatives" in parts:
        made["ways"] = contact_sheet("Other ways", "the same noise in every column", _ways(studio), CELL)
    written = []
    for name, sheet in made.items():
        written.append(folder / f"{name}.webp")
        sheet.save(written[-1], quality=80, method=6)
    return written


def _row(studio: Studio, label: str, detail: str, recipe: Recipe, section: str = "") -> Row:
    images = studio.draw(recipe).images
    per_look = len(images) // len(LOOKS)
    shown = [images[look * per_look + i] for look in range(len(LOOKS)) for i in range(min(PER_LOOK, per_look))]
    return Row(label, detail, [Image.fromarray(image) for image in shown], section)


def _edits(studio: Studio) -> list[Row]:
    rows = [_row(studio, "no edit", "a face", plain(), "adding")]
    rows += [_row(studio, name_of(edit), "", edited(edit)) for edit in ADDS]
    rows.append(_row(studio, "all four", "", edited(*ADDS)))
    section = "removing"
    for edit in EDITS:
        if edit.direction == "remove":
            rows.append(_row(studio, "no edit", f"a face, {edit.text}", plain(edit), section))
            rows.append(_row(studio, name_of(edit), "", edited(edit)))
            section = ""
    return rows


def _strengths(studio: Studio) -> list[Row]:
    rows = []
    for edit in (edit_named("add", "glasses"), edit_named("remove", "hat")):
        rows.append(_row(studio, "no edit", "", plain(edit), name_of(edit)))
        strengths = (*STRENGTHS[1:], STRONG)
        rows += [_row(studio, f"strength {each:g}", "", edited(edit, values={"strength": each})) for each in strengths]
    return rows


def _uniqueness(studio: Studio) -> list[Row]:
    hat = edit_named("add", "hat")
    prompt = Recipe("a face, {other}")
    return [
        _row(studio, "no edit", "", plain(hat), "its own run"),
        _row(studio, "+ hat", "", edited(hat)),
        _row(studio, "no edit", "", prompt, "another prompt, the same noise"),
        _row(studio, "guidance added", "", prompt.changed(guidance_of=edited(hat))),
        _row(studio, "no edit", "", plain(hat), "other noise, the same prompt"),
        _row(studio, "guidance added", "", plain(hat).changed(guidance_of=edited(hat, seed=OTHER_SEED))),
    ]


def _ways(studio: Studio) -> list[Row]:
    rows = []
    for edit in (edit_named("add", "glasses"), edit_named("remove", "beard")):
        rows.append(_row(studio, "no edit", "", plain(edit), name_of(edit)))
        rows.append(_row(studio, "this pack", "default values", edited(edit)))
        shown: dict[str, tuple[float, Recipe]] = {}
        for way, strength, recipe in ways(edit):
            shown.setdefault(way, (strength, recipe))
            if strength in (0.5, 1.0, 1.3, 8.0):
                shown[way] = (strength, recipe)
        rows += [_row(studio, way, f"strength {strength:g}", recipe) for way, (strength, recipe) in shown.items()]
    return rows
