"""Edits of pictures that are there already: drawings that the demo model has never seen, edited in each way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .comparison import Trial, comparisons, figures, figures_of_groups
from .darkroom import BATCH, Darkroom, Drawings, Images
from .edits import Task, tasks_named
from .places import PLACES
from .studio import Studio
from .verdict import ATTRIBUTES, Verdict, verdict
from .ways import OURS

BARE, COMPOSITE = "ours, empty prompt", "ours, as in the template"
ODE, REDRAWN, INPAINTED, LEDITS = "ODE inversion", "image to image", "inpainting in a box", "LEDITS++ of diffusers"
TASKS = tasks_named("+ glasses", "- hat", "+ pencil sketch", "+ forest")
# LEDITS++ has no prompt, so it meets ours without one, too.
PAIRS = ((OURS, ODE), (OURS, REDRAWN), (OURS, INPAINTED), (OURS, LEDITS), (BARE, LEDITS))
# An image to image user tries until it looks right.
DENOISES = (0.5, 0.7)
SETTING = ("sampler", "scheduler", "steps", "cfg", "dtype")
RECONSTRUCTIONS = (
    ("euler_ancestral", "normal", 20, 3.5, "fp32"),
    ("euler_ancestral", "normal", 4, 1.0, "fp32"),
    ("dpmpp_2m_sde", "karras", 20, 8.0, "fp32"),
    ("euler_ancestral", "normal", 20, 3.5, "bf16"),
)


def photos(studio: Studio) -> dict[str, Any]:
    """Return the figures of edits of drawings."""
    darkroom = Darkroom(studio)
    trials = [trial for task in TASKS for trial in _trials(darkroom, task)]
    return {
        "edits": figures(trials),
        "groups": figures_of_groups(trials),
        "comparisons": comparisons(trials, PAIRS),
        "reconstruction": _reconstructions(darkroom, darkroom.draw(TASKS[0]).parts(BATCH)[0]),
    }


def _trials(darkroom: Darkroom, task: Task) -> list[Trial]:
    drawings = darkroom.draw(task)
    before = darkroom.studio.judged(drawings.images)

    def judged(images: Images) -> Verdict:
        return verdict(task.edits, before, darkroom.studio.judged(images))

    tries = (judged(darkroom.kept(darkroom.image_to_image, drawings, denoise=denoise)) for denoise in DENOISES)
    found = {way: judged(images) for way, images in _edited(darkroom, drawings).items()}
    return [Trial(task, way, each) for way, each in {**found, REDRAWN: max(tries, key=_merit)}.items()]


def _edited(darkroom: Darkroom, drawings: Drawings) -> dict[str, Images]:
    """Return the drawings edited in each way but by image to image."""
    ours = darkroom.kept(darkroom.ours, drawings)
    made = {
        OURS: ours[..., :3],
        COMPOSITE: _composite(ours, drawings.images),
        BARE: darkroom.kept(darkroom.ours, drawings, is_described=False)[..., :3],
        ODE: darkroom.kept(darkroom.ode, drawings),
        LEDITS: darkroom.kept(darkroom.leditspp, drawings),
    }
    if PLACES.keys() >= set(drawings.attributes):
        made[INPAINTED] = darkroom.kept(darkroom.inpainted, drawings)
    return made


def _composite(edited: Images, images: Images) -> Images:
    """Return the drawings with the edit only where the concept acted, which is what the template saves."""
    mask = edited[..., 3:] / 255
    return (edited[..., :3] * mask + images * (1 - mask)).round().astype(np.uint8)


def _merit(each: Verdict) -> float:
    """Return the share of faces on which an edit succeeded, less where it did not keep the attributes."""
    return float(np.where(each.succeeded, each.kept[ATTRIBUTES], 0).mean())


def _reconstructions(darkroom: Darkroom, drawings: Drawings) -> list[dict[str, Any]]:
    """Return how far the latents that come back are from those of the drawings, against their norm."""
    settings = [dict(zip(SETTING, each, strict=True)) for each in RECONSTRUCTIONS]
    rows = [
        {"way": "SEGA Invert", **each, **_spread(darkroom.kept(darkroom.error, drawings, **each))} for each in settings
    ]
    others = {ODE: darkroom.error_of_ode, LEDITS: darkroom.error_of_leditspp}
    return rows + [{"way": name, **_spread(darkroom.kept(way, drawings))} for name, way in others.items()]


def _spread(errors: NDArray[np.float32]) -> dict[str, float]:
    return {"median": float(np.median(errors)), "worst": float(errors.max())}
