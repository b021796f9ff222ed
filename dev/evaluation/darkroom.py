"""Edits drawings, which stand for pictures that are there already, with the nodes that a user would use."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..demo import drawing, faces
from ..demo.composition import random_composition
from ..demo.workflows import CFG, STEPS
from .edits import Task, changed, texts_of
from .places import places
from .recipe import digest
from .studio import SEED, Studio

BATCH = 16
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawings:
    """Drawings that can show an edit.

    Args:
        task: what is to be done to them.
        faces: what they show.
        compositions: how the faces lie, (N, 6).
        images: (N, H, W, 3), of 255.
        latents: theirs.
        seed: of the noise that they are edited with.
    """

    task: Task
    faces: Sequence[faces.Face]
    compositions: NDArray[np.float64]
    images: Images
    latents: Tensor
    seed: int

    @property
    def captions(self) -> list[str]:
        return [faces.description(face) for face in self.faces]

    @property
    def attributes(self) -> list[str]:
        """Return the edited attributes."""
        return [edit.attribute for edit in self.task.edits]

    def parts(self, size: int) -> list[Drawings]:
        """Return them in parts of a size, each with noise of its own."""
        return [
            replace(
                self,
                faces=self.faces[first : first + size],
                compositions=self.compositions[first : first + size],
                images=self.images[first : first + size],
                latents=self.latents[first : first + size],
                seed=self.seed + first,
            )
            for first in range(0, len(self.faces), size)
        ]


class Darkroom:
    """Edits drawings in several ways; what it made is kept as the studio keeps what it drew."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.model, self.nodes = studio.model, studio.pack.nodes

    def draw(self, task: Task) -> Drawings:
        """Return drawings that can show an edit, the same ones each time."""
        rng = random.Random(SEED)
        found, compositions, drawn = [], [], []
        while len(found) < self.studio.faces:
            face = faces.random_face(rng)
            if _can_show(task, face):
                composition = random_composition(face, rng)
                found.append(face)
                compositions.append(composition.row())
                drawn.append(np.asarray(drawing.draw_composed(face, composition, rng)))
        images = np.stack(drawn)
        with torch.inference_mode():
            latents = self.studio.vae.encode(torch.from_numpy(images).float() / 255)
        return Drawings(task, found, np.array(compositions), images, latents, SEED)

    def kept(self, way: Callable[..., NDArray[Any]], drawings: Drawings, **options: Any) -> NDArray[Any]:
        """Return what a way makes of drawings, made now or before."""
        key = digest([way.__name__, drawings.task.name, len(drawings.faces), options])
        return self.studio.kept(key, lambda: np.concatenate([way(part, **options) for part in drawings.parts(BATCH)]))

    def ours(self, drawings: Drawings, is_described: bool = True) -> Images:
        """Return what SEGA Invert and concepts with default values make; the fourth channel is where they acted."""
        captions = drawings.captions if is_described else [""] * len(drawings.faces)
        latents, guidance = self._repeated(drawings, captions, self._concept(drawings, captions))
        acted = [self._mask(one) for one in guidance.activity[0].split(1, dim=1)]
        mask = (torch.cat(acted) * 255).round().to(torch.uint8).numpy()
        return np.concatenate([self.studio.decoded(latents), mask[..., None]], axis=-1)

    def ode(self, drawings: Drawings) -> Images:
        """Return an inversion by hand: Heun backwards at cfg 1, then forwards with the concept, as strong as at CFG."""
        concept = self._concept(drawings, drawings.captions, guidance_scale=CFG)
        return self.studio.decoded(self._there_and_back(drawings, concept))

    def image_to_image(self, drawings: Drawings, denoise: float) -> Images:
        """Return the drawings sampled anew from less noise with the prompt that says the edit."""
        return self._redrawn(drawings, {"samples": drawings.latents}, denoise)

    def inpainted(self, drawings: Drawings) -> Images:
        """Return the drawings whose box around the place of the edit is sampled anew with that prompt."""
        inside = places(drawings.attributes, drawings.compositions)
        mask = torch.from_numpy(inside).float()[:, None]
        return self._redrawn(drawings, {"samples": drawings.latents, "noise_mask": mask}, 1.0)

    def leditspp(self, drawings: Drawings) -> Images:
        """Return what diffusers' LEDITS++ makes with its default values."""
        return self.studio.decoded(self._ledits.edit(drawings.latents, drawings.task.edits, drawings.seed))

    def error(self, drawings: Drawings, dtype: str, **options: Any) -> NDArray[np.float32]:
        """Return how far each latent is, in parts of its norm, from what comes back of it without a concept."""
        from comfy_extras import nodes_model_advanced

        model = self.model if dtype == "fp32" else nodes_model_advanced.ModelComputeDtype().patch(self.model, dtype)[0]
        return _errors(self._repeated(drawings, drawings.captions, model=model, **options)[0], drawings)

    def error_of_ode(self, drawings: Drawings) -> NDArray[np.float32]:
        return _errors(self._there_and_back(drawings, None), drawings)

    def error_of_leditspp(self, drawings: Drawings) -> NDArray[np.float32]:
        latents = self._ledits.edit(drawings.latents, drawings.task.edits, drawings.seed, scale=0.0)
        return _errors(latents, drawings)

    @cached_property
    def _ledits(self) -> Any:
        # It needs the configured host.
        from .ledits import Ledits

        return Ledits(self.studio)

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
            model, drawings.seed, steps, cfg, sampler, scheduler, *prompts, {"samples": drawings.latents}, 0.0
        ).args
        out, guidance = self.nodes.SEGASamplerCustom.execute(
            model, True, 0, cfg, *prompts, repeating, sigmas, latent, concepts=concept
        ).args
        return out["samples"], guidance

    def _mask(self, activity: Tensor) -> Tensor:
        """Return SEGAPreview's mask of one drawing."""
        heatmaps = self.nodes.drawing.heatmaps
        return heatmaps.heat_mask(heatmaps.heat_of(activity, 1), 1, (drawing.SIZE, drawing.SIZE))

    def _there_and_back(self, drawings: Drawings, concept: Any) -> Tensor:
        import comfy.samplers
        from comfy_extras import nodes_custom_sampler as custom

        prompts, heun = self._prompts(drawings.captions), comfy.samplers.sampler_object("heun")
        sigmas = custom.BasicScheduler.execute(self.model, "karras", STEPS, 1.0)[0]
        guided = self.nodes.SEGAModelPatch.execute(self.model, concept)[0]
        latent = {"samples": drawings.latents}
        for model, schedule in ((self.model, custom.FlipSigmas.execute(sigmas)[0]), (guided, sigmas)):
            latent = custom.SamplerCustom.execute(model, False, 0, 1.0, *prompts, heun, schedule, latent)[0]
        return latent["samples"]

    def _redrawn(self, drawings: Drawings, latent: dict[str, Tensor], denoise: float) -> Images:
        import nodes as host_nodes

        goals = [changed(caption, drawings.task.edits) for caption in drawings.captions]
        arguments = (drawings.seed, STEPS, CFG, "euler", "normal", *self._prompts(goals), latent)
        return self.studio.decoded(host_nodes.common_ksampler(self.model, *arguments, denoise=denoise)[0]["samples"])

    def _concept(self, drawings: Drawings, captions: Sequence[str], **values: Any) -> Any:
        """Return a concept whose texts are each picture's caption with the text and without it, as in SEGAConcept."""
        (edit,) = drawings.task.edits
        texts = [texts_of(edit, caption) for caption in captions]
        both = ([each.text for each in texts], [each.instead_of or "" for each in texts])
        conditionings = (self._encoded(each) for each in both)
        return self.nodes.SEGAConceptFromConditioning.execute(*conditionings, direction=edit.direction, **values)[0]

    def _prompts(self, captions: Sequence[str]) -> tuple[Any, Any]:
        return self._encoded(captions), self.studio.encode("")

    def _encoded(self, texts: Sequence[str]) -> Any:
        each = [self.studio.encode(text)[0] for text in texts]
        return [[torch.cat([embedding for embedding, _ in each]), dict(each[0][1])]]


def _can_show(task: Task, face: faces.Face) -> bool:
    """Say whether a face has what is to be removed, and lacks what is to be added."""
    return all((getattr(face, edit.attribute) == edit.value) == (edit.direction == "remove") for edit in task.edits)


def _errors(back: Tensor, drawings: Drawings) -> NDArray[np.float32]:
    difference = (back - drawings.latents).flatten(1).norm(dim=1)
    return (difference / drawings.latents.flatten(1).norm(dim=1)).numpy()
