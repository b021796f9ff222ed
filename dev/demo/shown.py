"""What the demo shows of the demo model: the panels of its contact sheet, and the figures of its edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..host.client import Client, Workflow
from . import classifier, measure, workflows
from .drawing import described_drawings
from .measure import ADDS, REMOVES, Edit
from .progress import Images, run_all
from .sheet import Row, above_caption
from .workflows import DRAWN, LOOKS, RIGHT_HALF, Box

# Faces measured for each edit, and the seed of those of the first look.
FACES, SEED = 32, 7
# The faces in the columns of the sheet: their look, and their place among its faces.
COLUMNS = ((0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (0, 1))
# At least as many are drawn of each look.
FEWEST = 1 + max(place for _, place in COLUMNS)

ADDED = (*ADDS, Edit("old", "add", "age", "old"))
DRESSED = "a face, smiling, glasses, hat, beard"
GREY = Edit("grey hair", "add", "hair", "grey")
REPLACED = (
    GREY,
    Edit("city at night", "add", "background", "city"),
    Edit("pencil sketch", "add", "style", "pencil"),
)
AT_ONCE = ("glasses", "hat", "smiling")
# LEDITS++'s way of finding the place.
ATTENTION = {"attention_threshold": 0.8, "threshold": 0.6, "threshold_over": "space"}
# Texts at rising strengths, each with the look of its face and the seed.
RISING = (("smiling", 1, 7), ("beard", 0, 1))
LAST_STRENGTH = 0.5

# Drawings stand for a user's pictures.
DRAWINGS, DRAWING_SEED = 4, 7
DRAWING_EDITS: Mapping[str, Mapping[str, str] | None] = {
    "no edit": None,
    "+ glasses": {"text": "glasses"},
    "+ smiling": {"text": "smiling", "instead_of": "neutral"},
    "- hat": {"text": "hat", "direction": "remove"},
    "+ frowning": {"text": "frowning", "instead_of": "neutral"},
}


class Demo:
    """Draws and edits faces on the server, and keeps the figures.

    `faces` is their number per look. `seed` is the first look's, and the others count on from it.
    """

    def __init__(self, client: Client, seed: int, faces: int) -> None:
        self.client, self.seed, self.faces = client, seed, faces
        self.judge = classifier.load()
        self.figures: list[tuple[Edit, measure.Outcome]] = []

    def draw(self, label: str, looks: Sequence[Workflow], faces: int) -> list[dict[str, Images]]:
        """Return what each look's workflow makes, for this many faces."""
        for number, workflow in enumerate(looks):
            workflows.nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = faces
            workflows.nodes_of(workflow, "SEGASampler")[0]["seed"] = self.seed + number
        return run_all(self.client, label, looks)

    def faces_of(self, label: str, looks: Sequence[Workflow]) -> list[Images]:
        """Return all faces of each look."""
        return [made["SaveImage"] for made in self.draw(label, looks, self.faces)]

    def measured(self, edit: Edit, before: Sequence[Images], looks: Sequence[Workflow]) -> Row:
        """Edit all faces and keep the figures; return the row."""
        after = self.faces_of(edit.name, looks)
        outcome = measure.measure([edit], self._judged(before), self._judged(after))
        self.figures.append((edit, outcome))
        figures = f"{outcome.done.sum()} of {outcome.faces} succeed\n{outcome.kept_on_average:.0%} of the rest kept"
        return Row(edit.name, figures, in_columns(after))

    def _judged(self, faces: Sequence[Images]) -> dict[str, torch.Tensor]:
        stack = np.stack([np.asarray(image) for of_look in faces for image in of_look])
        return self.judge.judge(torch.from_numpy(stack).movedim(-1, 1).float() / 255)


def panels(demo: Demo) -> list[list[Row]]:
    """Draw everything; return the two panels of the sheet."""
    plain = demo.faces_of("a face", of_looks("a face"))
    edits = [
        *part("Add", [Row("no edit", "a face", in_columns(plain)), *added(demo, plain)]),
        *part("Remove", removed(demo)),
        *part("Replace hair, scene and style", replaced(demo, plain)),
    ]
    control = [
        *part("Several at once, and where each acts", at_once(demo)),
        *part("In one place", in_place(demo)),
        *part("As strong as you like", rising(demo)),
        *part("Pictures that were there before", drawings(demo)),
    ]
    return [edits, control]


def part(heading: str, rows: Sequence[Row]) -> list[Row]:
    return [replace(rows[0], section=heading), *rows[1:]]


def of_looks(prompt: str, concepts: Sequence[Mapping[str, Any]] = ()) -> list[Workflow]:
    """Return a workflow for each look."""
    return [workflows.face_workflow(f"{prompt}, {look}", concepts) for look in LOOKS]


def in_columns(faces: Sequence[Images]) -> Images:
    """Return those of each look's faces that the sheet shows."""
    return [faces[look][place] for look, place in COLUMNS]


def added(demo: Demo, plain: Sequence[Images]) -> list[Row]:
    return [demo.measured(edit, plain, of_looks("a face", [edit.concept()])) for edit in ADDED]


def removed(demo: Demo) -> list[Row]:
    """Take one of four things away from faces that have them all."""
    dressed = demo.faces_of("a face with all four", of_looks(DRESSED))
    edited = [demo.measured(edit, dressed, of_looks(DRESSED, [edit.concept()])) for edit in REMOVES]
    return [Row("no edit", "a face, smiling,\nglasses, hat, beard", in_columns(dressed)), *edited]


def replaced(demo: Demo, plain: Sequence[Images]) -> list[Row]:
    return [demo.measured(edit, plain, [replacing(edit, look) for look in LOOKS]) for edit in REPLACED]


def replacing(edit: Edit, look: str, box: Box | None = None) -> Workflow:
    """Return the workflow that adds something instead of what the look says of the same attribute, if anything."""
    instead_of = workflows.words_for(edit.attribute, look)
    return workflows.face_workflow(f"a face, {look}", [edit.concept(instead_of=instead_of)], box)


def at_once(demo: Demo) -> list[Row]:
    concepts = [{"text": text} for text in AT_ONCE]
    faces, heat = with_heat(demo, "three at once", of_looks("a face", concepts), len(concepts))
    rows = [Row(f"+ {text}", "where it acted", maps) for text, maps in zip(AT_ONCE, heat, strict=True)]
    return [Row("three at once", "\n".join(f"+ {text}" for text in AT_ONCE), faces), *rows]


def in_place(demo: Demo) -> list[Row]:
    """Keep one edit in its place by a mask, and one by attention."""
    made = demo.draw("in a mask", [replacing(GREY, look, RIGHT_HALF) for look in LOOKS], FEWEST)
    half = in_columns([of_look["SaveImage"] for of_look in made])
    concept = {"text": "glasses", **ATTENTION}
    faces, (heat,) = with_heat(demo, "by attention", of_looks("a face", [concept]), 1)
    return [
        Row(GREY.name, "with a mask:\nthe right half", half),
        Row("+ glasses", "by attention", faces),
        Row("+ glasses", "where it acted", heat),
    ]


def with_heat(demo: Demo, label: str, looks: Sequence[Workflow], concepts: int) -> tuple[Images, list[Images]]:
    """Return the faces that the sheet shows, and for each concept the heat maps of them."""
    made = demo.draw(label, [workflows.with_preview(workflow) for workflow in looks], FEWEST)
    # A look's heat maps come concept by concept, and the plot is the last.
    maps = [[above_caption(picture) for picture in of_look["SEGAPreview"][:-1]] for of_look in made]
    heat = [in_columns([of_look[n * FEWEST :] for of_look in maps]) for n in range(concepts)]
    return in_columns([of_look["SaveImage"] for of_look in made]), heat


def rising(demo: Demo) -> list[Row]:
    """Give one face more and more of a concept, from left to right."""
    strengths = np.linspace(0, LAST_STRENGTH, len(COLUMNS))
    captions = [f"strength {strength:g}" for strength in strengths]
    rows: list[Row] = []
    for text, look, seed in RISING:
        workflow = workflows.slider_workflow(f"a face, {LOOKS[look]}", text, seed, LAST_STRENGTH, len(strengths))
        (made,) = run_all(demo.client, f"+ {text}, rising", [workflow])
        rows.append(Row(f"+ {text}", "in one run", made["SaveImage"], captions=() if rows else captions))
    return rows


def drawings(demo: Demo) -> list[Row]:
    """Edit drawings, one in each row, without a concept and with each of the edits."""
    columns = ["given", *DRAWING_EDITS]
    rows: list[Row] = []
    for number, (caption, drawing) in enumerate(described_drawings(DRAWING_SEED, DRAWINGS, **DRAWN), start=1):
        workflows.upload_drawing(demo.client, drawing)
        # The server keeps the drawing's inversion from one edit to the next.
        edits = [workflows.drawing_workflow(caption, edit) for edit in DRAWING_EDITS.values()]
        made = run_all(demo.client, f"drawing {number}", edits)
        images = [drawing, *(image for of_edit in made for image in of_edit["SaveImage"])]
        rows.append(Row(f"drawing {number}", "", images, captions=() if rows else columns))
    return rows
