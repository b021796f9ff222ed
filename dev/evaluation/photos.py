"""Edits of pictures that you already have: drawings that the demo model has never seen, by our nodes and other ways."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..demo import faces
from ..demo.measure import EDITS, Edit, Outcome
from ..demo.workflows import CFG, STEPS
from . import statistics
from .first_edit import REPLACEMENTS
from .studio import Studio, compare

SEED = 20261128
BATCH = 16
STRENGTHS = (0.5, 1.0, 2.0)
DENOISES = (0.4, 0.5, 0.6, 0.7, 0.8)
SETTING = ("sampler", "scheduler", "steps", "cfg", "dtype")
RECONSTRUCTIONS = (
    ("euler_ancestral", "normal", 20, 3.5, "fp32"),
    ("euler_ancestral", "karras", 20, 8.0, "fp32"),
    ("euler_ancestral", "normal", 50, 1.0, "fp32"),
    ("euler_ancestral", "normal", 4, 3.5, "fp32"),
    ("dpmpp_2m_sde", "normal", 20, 3.5, "fp32"),
    ("dpmpp_2m_sde", "karras", 20, 8.0, "fp32"),
    ("euler_ancestral", "normal", 20, 3.5, "bf16"),
    ("dpmpp_2m_sde", "normal", 20, 3.5, "bf16"),
    ("euler_ancestral", "normal", 20, 3.5, "fp16"),
    ("dpmpp_2m_sde", "normal", 20, 3.5, "fp16"),
)


# Where an attribute can be in any face: left, top, right and bottom in pixels, in whole latent cells of 8 x 8.
REGIONS = {
    "mouth": (32, 64, 96, 112),
    "glasses": (16, 40, 112, 88),
    "hat": (8, 8, 120, 64),
    "beard": (16, 64, 112, 120),
}


@dataclass(frozen=True)
class Drawings:
    """Drawings that lack what is to be added, or have what is to be removed or replaced.

    Args:
        edit: what is to be done to them.
        instead_of: what they have in its place; nothing where nothing is replaced.
        faces: what they show.
        images: (N, H, W, 3), of 255.
        latents: theirs.
    """

    edit: Edit
    instead_of: str
    faces: Sequence[faces.Face]
    images: NDArray[np.uint8]
    latents: Tensor

    def captions(self, is_described: bool = True) -> list[str]:
        return [faces.description(face) if is_described else "" for face in self.faces]

    def parts(self, size: int) -> list[Drawings]:
        """Return them in parts of a size."""
        rows = [slice(first, first + size) for first in range(0, len(self.faces), size)]
        return [
            replace(self, faces=self.faces[each], images=self.images[each], latents=self.latents[each]) for each in rows
        ]


def region(attribute: str) -> NDArray[np.bool_]:
    """Return which pixels, (SIZE, SIZE), lie inside of an attribute's region: outside an edit should change nothing."""
    inside = np.zeros((faces.SIZE, faces.SIZE), bool)
    left, top, right, bottom = REGIONS[attribute]
    inside[top:bottom, left:right] = True
    return inside


def photos(studio: Studio) -> dict[str, Any]:
    """Return the figures of edits of drawings."""
    darkroom = Darkroom(studio)
    drawn = [darkroom.draw(edit) for edit in EDITS]
    replaced = [darkroom.draw(edit, instead_of) for edit, instead_of in REPLACEMENTS]
    first = drawn[0].parts(BATCH)[0]
    settings = [dict(zip(SETTING, each, strict=True)) for each in RECONSTRUCTIONS]
    others = {"ODE inversion": darkroom.ode, "LEDITS++ of diffusers": darkroom.leditspp}
    return {
        "reconstruction": [{**each, **_errors(darkroom.inverted(first, **each), first)} for each in settings],
        "other reconstructions": {
            name: _errors(darkroom.kept(way, drawn[0], strength=0.0), drawn[0]) for name, way in others.items()
        },
        "edits": [row for drawings in [*drawn, *replaced] for row in _edits(darkroom, drawings)],
        "rest": [_rest(darkroom, drawings) for drawings in drawn],
    }


def _errors(back: Tensor, drawings: Drawings) -> dict[str, float]:
    """Return how far latents are from those of the drawings, against their norm."""
    errors = (back - drawings.latents).flatten(1).norm(dim=1) / drawings.latents.flatten(1).norm(dim=1)
    return {"median": errors.median().item(), "worst": errors.max().item()}


def _edits(darkroom: Darkroom, drawings: Drawings) -> Iterator[dict[str, Any]]:
    """Yield the figures of each way; for the others what ours keeps more, at its default strength, by face."""
    edit = drawings.edit
    name = f"{edit.text} instead of {drawings.instead_of}" if drawings.instead_of else edit.name
    before = darkroom.studio.seen(drawings.latents)

    def outcome_of(way: Callable[..., Tensor], **options: Any) -> Outcome:
        return compare(edit, before, darkroom.studio.seen(darkroom.kept(way, drawings, **options)))

    ours: dict[bool, Outcome] = {}
    for is_described, strength in product((True, False), (None, *STRENGTHS)):
        outcome = outcome_of(darkroom.ours, is_described=is_described, strength=strength)
        ours.setdefault(is_described, outcome)
        row = {"way": "ours", "is described": is_described, "strength": strength}
        yield {"edit": name, **row, **statistics.figures(outcome)}
    # An image to image user tries until it looks right.
    tries = {denoise: outcome_of(darkroom.image_to_image, denoise=denoise) for denoise in DENOISES}
    best = max(tries, key=lambda denoise: float((tries[denoise].done * tries[denoise].isolation).mean()))
    others = {
        "ODE inversion": (True, outcome_of(darkroom.ode)),
        f"image to image, denoise {best}": (True, tries[best]),
        "LEDITS++ of diffusers": (False, outcome_of(darkroom.leditspp)),
    }
    if edit.attribute in REGIONS:
        others["inpainting in a box"] = True, outcome_of(darkroom.inpainted)
    for way, (is_described, outcome) in others.items():
        gains = {
            "success gain": statistics.mean(ours[is_described].done * 1.0 - outcome.done),
            "gain": statistics.mean(ours[is_described].isolation - outcome.isolation),
        }
        yield {"edit": name, "way": way, "is described": is_described, **statistics.figures(outcome), **gains}


def _rest(darkroom: Darkroom, drawings: Drawings) -> dict[str, Any]:
    """Return how many pixels are to the bit those of the drawing: of the VAE alone, the edit and the composite."""
    studio, images = darkroom.studio, drawings.images
    edited = studio.decoded(darkroom.kept(darkroom.ours, drawings, is_described=True, strength=None))
    mask = darkroom.kept(darkroom.mask, drawings).numpy()[..., None]
    composite = (edited * mask + images * (1 - mask)).round().astype(np.uint8)
    pictures = {"VAE alone": studio.decoded(drawings.latents), "edited": edited, "composite": composite}
    same = {way: (each == images).all(-1) for way, each in pictures.items()}
    outside = ~region(drawings.edit.attribute)
    return {
        "edit": drawings.edit.name,
        "composite": statistics.figures(compare(drawings.edit, studio.judged(images), studio.judged(composite))),
        "mask": statistics.mean((mask > 0).mean((1, 2, 3))),
        "unchanged": {
            way: {
                "background": statistics.mean(unchanged[:, outside].mean(1)),
                "picture": statistics.mean(unchanged.mean((1, 2))),
            }
            for way, unchanged in same.items()
        },
    }


class Darkroom:
    """Edits drawings with the nodes that a user would use; what it made is kept as the studio keeps what it drew."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.model, self.nodes = studio.model, studio.pack.nodes

    def draw(self, edit: Edit, instead_of: str = "") -> Drawings:
        """Return drawings that can show an edit, the same ones each time."""
        rng = random.Random(SEED)
        phrases = faces.PHRASES[edit.attribute]
        wanted = {edit.index} if edit.direction == "remove" else {*range(len(phrases))} - {edit.index}
        wanted = {phrases.index(instead_of)} if instead_of else wanted
        drawn: list[tuple[faces.Face, NDArray[np.uint8]]] = []
        while len(drawn) < 4 * self.studio.per_look:
            face = faces.random_face(rng)
            image = np.array(faces.draw(face, rng))
            if getattr(face, edit.attribute) in wanted:
                drawn.append((face, image))
        found, images = zip(*drawn, strict=True)
        pictures = np.stack(images)
        with torch.inference_mode():
            latents = self.studio.vae.encode(torch.from_numpy(pictures).float() / 255)
        return Drawings(edit, instead_of, found, pictures, latents)

    def kept(self, way: Callable[..., Tensor], drawings: Drawings, **options: Any) -> Tensor:
        """Return what a way makes of drawings, made now or before."""
        given = [way.__name__, asdict(drawings.edit), drawings.instead_of, SEED, options]
        key = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
        return self.studio.kept(key, lambda: torch.cat([way(part, **options) for part in drawings.parts(BATCH)]))

    def inverted(self, drawings: Drawings, dtype: str, **options: Any) -> Tensor:
        """Return what comes back of the latents without a concept."""
        with torch.inference_mode():
            return self._repeated(drawings, drawings.captions(), model=self._computing_in(dtype), **options)[0]

    def ours(self, drawings: Drawings, is_described: bool = True, strength: float | None = None) -> Tensor:
        """Return latents edited with SEGAInvert and a concept with default values."""
        captions = drawings.captions(is_described)
        return self._repeated(drawings, captions, self._concept(drawings, captions, strength))[0]

    def mask(self, drawings: Drawings) -> Tensor:
        """Return SEGAPreview's mask for each drawing."""
        heatmaps, masks = self.nodes.drawing.heatmaps, []
        for one in drawings.parts(1):
            captions = one.captions()
            guidance = self._repeated(one, captions, self._concept(one, captions))[1]
            heat = heatmaps.heat_of(guidance.activity[0], 1)
            masks.append(heatmaps.heat_mask(heat, 1, one.images.shape[1:3]))
        return torch.cat(masks)

    def ode(self, drawings: Drawings, strength: float | None = None) -> Tensor:
        """Return latents edited after an inversion by hand: Heun backwards at cfg 1, then forwards with the concept."""
        import comfy.samplers
        from comfy_extras import nodes_custom_sampler as custom

        # As strong as at the cfg of the others.
        concept = self._concept(drawings, drawings.captions(), strength, guidance_scale=CFG)
        prompts = self._prompts(drawings.captions())
        heun = comfy.samplers.sampler_object("heun")
        sigmas = custom.BasicScheduler.execute(self.model, "karras", STEPS, 1.0)[0]
        guided = self.nodes.SEGAModelPatch.execute(self.model, concept)[0]
        latent = {"samples": drawings.latents}
        for model, schedule in ((self.model, custom.FlipSigmas.execute(sigmas)[0]), (guided, sigmas)):
            latent = custom.SamplerCustom.execute(model, False, 0, 1.0, *prompts, heun, schedule, latent)[0]
        return latent["samples"]

    def image_to_image(self, drawings: Drawings, denoise: float) -> Tensor:
        """Return latents sampled anew from less noise with the prompt that says the edit."""
        return self._redrawn(drawings, {"samples": drawings.latents}, denoise)

    def inpainted(self, drawings: Drawings) -> Tensor:
        """Return latents whose box, where the attribute can be, is sampled anew with that prompt."""
        mask = torch.from_numpy(region(drawings.edit.attribute))[None, None].float()
        return self._redrawn(drawings, {"samples": drawings.latents, "noise_mask": mask}, 1.0)

    def leditspp(self, drawings: Drawings, strength: float = 1.0) -> Tensor:
        """Return latents edited by diffusers' LEDITS++ with its default values, or a share of its default scale."""
        return self._ledits.edit(drawings.latents, drawings.edit, STEPS, SEED, strength)

    @cached_property
    def _ledits(self) -> Any:
        # It needs the configured host.
        from .ledits import Ledits

        return Ledits(self.studio)

    def _redrawn(self, drawings: Drawings, latent: dict[str, Tensor], denoise: float) -> Tensor:
        import nodes as host_nodes

        texts = [self._compared(drawings, caption) for caption in drawings.captions()]
        goals = [without if drawings.edit.direction == "remove" else with_it for with_it, without in texts]
        arguments = (SEED, STEPS, CFG, "euler", "normal", *self._prompts(goals), latent)
        return host_nodes.common_ksampler(self.model, *arguments, denoise=denoise)[0]["samples"]

    def _repeated(
        self,
        drawings: Drawings,
        captions: Sequence[str],
        concept: Any = None,
        model: Any = None,
        sampler: str = "euler_ancestral",
        scheduler: str = "normal",
        steps: int = STEPS,
        cfg: float = CFG,
    ) -> tuple[Tensor, Any]:
        """Return the latents that come out of the inversion, and the guidance."""
        model, prompts = model or self.model, self._prompts(captions)
        latent, repeating, sigmas = self.nodes.SEGAInvert.execute(
            model, SEED, steps, cfg, sampler, scheduler, *prompts, {"samples": drawings.latents}, 0.0
        ).args
        out, guidance = self.nodes.SEGASamplerCustom.execute(
            model, True, 0, cfg, *prompts, repeating, sigmas, latent, concepts=concept
        ).args
        return out["samples"], guidance

    def _concept(
        self, drawings: Drawings, captions: Sequence[str], strength: float | None = None, **values: Any
    ) -> Any:
        """Return a concept whose texts are each picture's caption with the text and without it, as in SEGAConcept."""
        texts = [self._compared(drawings, caption) for caption in captions]
        both = [self._encoded(each) for each in zip(*texts, strict=True)]
        if strength is not None:
            values["strength"] = strength
        return self.nodes.SEGAConceptFromConditioning.execute(*both, direction=drawings.edit.direction, **values)[0]

    def _compared(self, drawings: Drawings, caption: str) -> tuple[str, str]:
        """Return a caption with the text and without it; what it says of the attribute makes room."""
        edit, instead_of = drawings.edit, drawings.instead_of
        if edit.direction == "add" and not instead_of:
            said = [phrase for phrase in faces.PHRASES[edit.attribute] if phrase and phrase in caption]
            instead_of = said[0] if said else ""
        texts = self.studio.pack.sega_core.compared_texts(edit.text, caption, instead_of)
        return texts.text, texts.instead_of or ""

    def _prompts(self, captions: Sequence[str]) -> tuple[Any, Any]:
        return self._encoded(captions), self.studio.encode("")

    def _encoded(self, texts: Sequence[str]) -> Any:
        each = [self.studio.encode(text)[0] for text in texts]
        return [[torch.cat([embedding for embedding, _ in each]), dict(each[0][1])]]

    def _computing_in(self, dtype: str) -> Any:
        from comfy_extras import nodes_model_advanced

        return self.model if dtype == "fp32" else nodes_model_advanced.ModelComputeDtype().patch(self.model, dtype)[0]
