"""Editing pictures that were there before: drawings that the demo model has never seen, by every way that there is."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..demo import faces
from ..demo.measure import Edit
from ..demo.run import EDITS
from ..demo.workflows import CFG, STEPS
from . import statistics
from .first_edit import REPLACEMENTS
from .outcome import Outcome, compare
from .recipe import name_of
from .regions import REGIONS, background
from .studio import Faces, Studio

SEED = 20261128
BATCH = 16
STRENGTHS = (0.5, 1.0, 2.0)
DENOISES = (0.4, 0.5, 0.6, 0.7, 0.8)
# Samplers, schedulers, steps, cfg and the type that the model computes in.
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


@dataclass(frozen=True)
class Drawings:
    """Drawings that lack what is to be added, or have what is to be removed or replaced.

    Args:
        edit: what is to be done to them.
        instead_of: what they have in its place; nothing where nothing is replaced.
        faces: what they show.
        images: (N, H, W, 3), of 255.
        latents: theirs.
        before: the latents' pictures, judged.
    """

    edit: Edit
    instead_of: str
    faces: Sequence[faces.Face]
    images: NDArray[np.uint8]
    latents: Tensor
    before: Faces

    def captions(self, is_described: bool) -> list[str]:
        return [faces.description(face) if is_described else "" for face in self.faces]


def photos(studio: Studio) -> dict[str, Any]:
    """Return the figures of edits of drawings."""
    darkroom = Darkroom(studio)
    drawn = [darkroom.draw(edit) for edit in EDITS]
    replaced = [darkroom.draw(edit, instead_of) for edit, instead_of in REPLACEMENTS]
    return {
        "reconstruction": [_reconstruction(darkroom, drawn[0], *each) for each in RECONSTRUCTIONS],
        "other reconstructions": {
            way: _errors(darkroom.kept(made, drawn[0], strength=0.0), drawn[0])
            for way, made in {"ODE inversion": darkroom.ode, "LEDITS++ of diffusers": darkroom.leditspp}.items()
        },
        "edits": [row for drawings in [*drawn, *replaced] for row in _edits(darkroom, drawings)],
        "rest": [_rest(darkroom, drawings) for drawings in drawn],
    }


def _reconstruction(
    darkroom: Darkroom, drawings: Drawings, sampler: str, scheduler: str, steps: int, cfg: float, dtype: str
) -> dict[str, Any]:
    back = darkroom.inverted(drawings, sampler=sampler, scheduler=scheduler, steps=steps, cfg=cfg, dtype=dtype)
    setting = {"sampler": sampler, "scheduler": scheduler, "steps": steps, "cfg": cfg, "dtype": dtype}
    return {**setting, **_errors(back, drawings)}


def _errors(back: Tensor, drawings: Drawings) -> dict[str, float]:
    """Return how far latents are from those of the drawings, against their norm."""
    latents = drawings.latents[: len(back)]
    errors = (back - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)
    return {"median": errors.median().item(), "worst": errors.max().item()}


def _edits(darkroom: Darkroom, drawings: Drawings) -> Iterator[dict[str, Any]]:
    """Yield the figures of each way; for the others what ours keeps more, at its default strength, by face."""
    edit = drawings.edit
    name = f"{edit.text} instead of {drawings.instead_of}" if drawings.instead_of else name_of(edit)
    ours: dict[bool, Outcome] = {}
    for is_described in (True, False):
        for strength in (None, *STRENGTHS):
            outcome = _outcome(darkroom, drawings, darkroom.ours, is_described=is_described, strength=strength)
            ours.setdefault(is_described, outcome)
            row = {"way": "ours", "is described": is_described, "strength": strength}
            yield {"edit": name, **row, **outcome.figures()}
    # An image to image user tries until it looks right.
    tries = {denoise: _outcome(darkroom, drawings, darkroom.image_to_image, denoise=denoise) for denoise in DENOISES}
    best = max(tries, key=lambda denoise: float((tries[denoise].done * tries[denoise].isolation).mean()))
    others = {
        "ODE inversion": (True, _outcome(darkroom, drawings, darkroom.ode)),
        f"image to image, denoise {best}": (True, tries[best]),
        "LEDITS++ of diffusers": (False, _outcome(darkroom, drawings, darkroom.leditspp)),
    }
    if edit.attribute in REGIONS:
        others["inpainting in a box"] = True, _outcome(darkroom, drawings, darkroom.inpainted)
    for way, (is_described, outcome) in others.items():
        gains = {
            "success gain": asdict(statistics.mean(ours[is_described].done * 1.0 - outcome.done)),
            "gain": asdict(statistics.mean(ours[is_described].isolation - outcome.isolation)),
        }
        yield {"edit": name, "way": way, "is described": is_described, **outcome.figures(), **gains}


def _outcome(darkroom: Darkroom, drawings: Drawings, way: Callable[..., Tensor], **options: Any) -> Outcome:
    after = darkroom.studio.judged(darkroom.studio.decoded(darkroom.kept(way, drawings, **options)))
    return compare([drawings.edit], drawings.before, after)


def _rest(darkroom: Darkroom, drawings: Drawings) -> dict[str, Any]:
    """Return how many pixels are to the bit those of the drawing: of the VAE alone, the edit and the composite."""
    edited = darkroom.studio.decoded(darkroom.kept(darkroom.ours, drawings, is_described=True, strength=None))
    mask = darkroom.kept(darkroom.mask, drawings).numpy()[..., None]
    composite = (edited * mask + drawings.images * (1 - mask)).round().astype(np.uint8)
    region = background([drawings.edit.attribute])
    pictures = {"VAE alone": drawings.before.images, "edited": edited, "composite": composite}
    outcome = compare([drawings.edit], darkroom.studio.judged(drawings.images), darkroom.studio.judged(composite))
    return {
        "edit": name_of(drawings.edit),
        "composite": outcome.figures(),
        "mask": asdict(statistics.mean((mask > 0).mean((1, 2, 3)))),
        "unchanged": {
            way: {
                "background": asdict(statistics.mean(_same(images, drawings.images)[:, region].mean(1))),
                "picture": asdict(statistics.mean(_same(images, drawings.images).mean((1, 2)))),
            }
            for way, images in pictures.items()
        },
    }


def _same(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (images == others).all(-1)


class Darkroom:
    """Edits drawings with the nodes that a user would use; what it made is kept as the studio keeps what it drew."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.count = 4 * studio.per_look

    def draw(self, edit: Edit, instead_of: str = "") -> Drawings:
        """Return drawings that can show an edit, the same ones each time."""
        rng = random.Random(SEED)
        phrases = faces.PHRASES[edit.attribute]
        wanted = {edit.index} if edit.direction == "remove" else {*range(len(phrases))} - {edit.index}
        wanted = {phrases.index(instead_of)} if instead_of else wanted
        found: list[faces.Face] = []
        images: list[NDArray[np.uint8]] = []
        while len(found) < self.count:
            face = faces.random_face(rng)
            image = np.array(faces.draw(face, rng))
            if getattr(face, edit.attribute) in wanted:
                found.append(face)
                images.append(image)
        pictures = np.stack(images)
        with torch.inference_mode():
            latents = self.studio.vae.encode(torch.from_numpy(pictures).float() / 255)
        before = self.studio.judged(self.studio.decoded(latents))
        return Drawings(edit, instead_of, found, pictures, latents, before)

    def kept(self, way: Callable[..., Tensor], drawings: Drawings, **options: Any) -> Tensor:
        """Return what a way makes of drawings, made now or before."""
        given = [way.__name__, asdict(drawings.edit), drawings.instead_of, SEED, options]
        key = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
        rows = [slice(first, first + BATCH) for first in range(0, self.count, BATCH)]
        kept = self.studio.kept(
            key, lambda: {"made": torch.cat([way(drawings, each, **options) for each in rows]).numpy()}
        )
        return torch.from_numpy(kept["made"])

    def inverted(self, drawings: Drawings, dtype: str = "fp32", **options: Any) -> Tensor:
        """Return what comes back of the latents without a concept, of one batch."""
        model = self.studio.model
        rows = slice(0, BATCH)
        with torch.inference_mode():
            if dtype != "fp32":
                model = _computing_in(model, dtype)
            return self._repeated(drawings, rows, model, drawings.captions(True), **options)[0]

    def ours(self, drawings: Drawings, rows: slice, is_described: bool = True, strength: float | None = None) -> Tensor:
        """Return latents edited with SEGAInvert and a concept with default values."""
        concept = self._concept(drawings, rows, is_described, **_given(strength=strength))
        captions = drawings.captions(is_described)
        return self._repeated(drawings, rows, self.studio.model, captions, concept=concept)[0]

    def mask(self, drawings: Drawings, rows: slice) -> Tensor:
        """Return SEGAPreview's mask for each drawing."""
        heat_mask, masks = self.studio.pack.nodes.drawing.heatmaps.heat_mask, []
        for row in range(self.count)[rows]:
            one = slice(row, row + 1)
            concept = self._concept(drawings, one, True)
            captions = drawings.captions(True)
            guidance = self._repeated(drawings, one, self.studio.model, captions, concept=concept)[1]
            masks.append(heat_mask(guidance.activity[0], 1, drawings.images.shape[1:3]))
        return torch.cat(masks)

    def ode(self, drawings: Drawings, rows: slice, strength: float | None = None) -> Tensor:
        """Return latents edited after an inversion by hand: Heun backwards at cfg 1, then forwards with the concept."""
        import comfy.samplers
        from comfy_extras import nodes_custom_sampler as custom

        # As strong as at the cfg of the others.
        concept = self._concept(drawings, rows, True, guidance_scale=CFG, **_given(strength=strength))
        positive, negative = self._prompts(drawings.captions(True)[rows])
        heun = comfy.samplers.sampler_object("heun")
        sigmas = custom.BasicScheduler.execute(self.studio.model, "karras", STEPS, 1.0)[0]
        guided = self.studio.pack.nodes.SEGAModelPatch.execute(self.studio.model, concept)[0]
        latent = {"samples": drawings.latents[rows]}
        ways = ((self.studio.model, custom.FlipSigmas.execute(sigmas)[0]), (guided, sigmas))
        for model, schedule in ways:
            latent = custom.SamplerCustom.execute(model, False, 0, 1.0, positive, negative, heun, schedule, latent)[0]
        return latent["samples"]

    def image_to_image(self, drawings: Drawings, rows: slice, denoise: float) -> Tensor:
        """Return latents sampled anew from less noise with the prompt that says the edit."""
        return self._redrawn(drawings, rows, {"samples": drawings.latents[rows]}, denoise)

    def inpainted(self, drawings: Drawings, rows: slice) -> Tensor:
        """Return latents whose box, where the attribute can be, is sampled anew with that prompt."""
        left, top, right, bottom = REGIONS[drawings.edit.attribute]
        mask = torch.zeros((1, 1, *drawings.images.shape[1:3]))
        mask[..., top:bottom, left:right] = 1
        return self._redrawn(drawings, rows, {"samples": drawings.latents[rows], "noise_mask": mask}, 1.0)

    def leditspp(self, drawings: Drawings, rows: slice, strength: float = 1.0) -> Tensor:
        """Return latents edited by diffusers' LEDITS++ with its default values, or a share of its default scale."""
        return self._ledits.edit(drawings.latents[rows], drawings.edit, STEPS, SEED, strength)

    @cached_property
    def _ledits(self) -> Any:
        # It needs the configured host.
        from .ledits import Ledits

        return Ledits(self.studio)

    def _redrawn(self, drawings: Drawings, rows: slice, latent: dict[str, Tensor], denoise: float) -> Tensor:
        import nodes as host_nodes

        texts = [self._compared(drawings, caption) for caption in drawings.captions(True)[rows]]
        goals = [without if drawings.edit.direction == "remove" else with_it for with_it, without in texts]
        positive, negative = self._prompts(goals)
        arguments = (SEED, STEPS, CFG, "euler", "normal", positive, negative, latent)
        return host_nodes.common_ksampler(self.studio.model, *arguments, denoise=denoise)[0]["samples"]

    def _repeated(
        self,
        drawings: Drawings,
        rows: slice,
        model: Any,
        captions: Sequence[str],
        concept: Any = None,
        sampler: str = "euler_ancestral",
        scheduler: str = "normal",
        steps: int = STEPS,
        cfg: float = CFG,
    ) -> tuple[Tensor, Any]:
        """Return the latents that come out of the inversion, and the guidance."""
        nodes = self.studio.pack.nodes
        positive, negative = self._prompts(captions[rows])
        latent, repeating, sigmas = nodes.SEGAInvert.execute(
            model, SEED, steps, cfg, sampler, scheduler, positive, negative, {"samples": drawings.latents[rows]}, 0.0
        ).args
        out, guidance = nodes.SEGASamplerCustom.execute(
            model, True, 0, cfg, positive, negative, repeating, sigmas, latent, concepts=concept
        ).args
        return out["samples"], guidance

    def _concept(self, drawings: Drawings, rows: slice, is_described: bool, **values: Any) -> Any:
        """Return a concept whose texts are each picture's caption with the text and without it, as in SEGAConcept."""
        node = self.studio.pack.nodes.SEGAConceptFromConditioning
        texts = [self._compared(drawings, caption) for caption in drawings.captions(is_described)[rows]]
        with_it, without = (self._encoded(each) for each in zip(*texts, strict=True))
        return node.execute(with_it, without, direction=drawings.edit.direction, **values)[0]

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


def _given(**values: Any) -> dict[str, Any]:
    """Return the values that are not left to the node."""
    return {name: value for name, value in values.items() if value is not None}


def _computing_in(model: Any, dtype: str) -> Any:
    from comfy_extras import nodes_model_advanced

    return nodes_model_advanced.ModelComputeDtype().patch(model, dtype)[0]
