"""Draws faces with the demo model in this process, through the nodes that a user would use, and judges them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..demo import classifier
from ..demo.run import LOOKS
from ..host import in_process
from ..host.packages import REPO
from .recipe import Recipe

CELLS = 16
TOGETHER = REPO / ".host" / "together" / "together.safetensors"


@dataclass(frozen=True)
class Faces:
    """Drawn and judged faces, all of one look after the other.

    Args:
        images: (N, H, W, 3), of 255.
        chances: per attribute the classifier's probabilities, (N, values).
        passes: of the host's UNet, per face and step; 0 where diffusers drew.
    """

    images: NDArray[np.uint8]
    chances: Mapping[str, NDArray[np.float32]]
    passes: float

    @cached_property
    def judged(self) -> dict[str, NDArray[np.intp]]:
        return {name: chances.argmax(1) for name, chances in self.chances.items()}


class Studio:
    """Draws recipes; what it drew is kept on disk, for as long as the code that draws is the same.

    Args:
        folder: where the latents are kept.
        faces: how many per recipe.
    """

    def __init__(self, folder: Path, faces: int) -> None:
        self.per_look = faces // len(LOOKS)
        self.folder = folder / f"{_code()}-{self.per_look}"
        self.folder.mkdir(parents=True, exist_ok=True)
        in_process.start_host()
        self.pack: ModuleType = in_process.load_pack()
        # The host is configured when it is imported.
        from ..demo import model

        self.model, self.clip, self.vae = model.load()
        self._load = model.load
        self.judge = classifier.load()
        self._seen: dict[str, Faces] = {}
        self._guidance: dict[tuple[str, int], Any] = {}
        self.bar = tqdm(bar_format="{desc}: {n} faces drawn, {elapsed}")

    def draw(self, recipe: Recipe) -> Faces:
        """Return the faces of a recipe, drawn now or before."""
        if recipe.key not in self._seen:
            latents, passes = self.latents(recipe)
            self._seen[recipe.key] = self.judged(self.decoded(latents), passes)
        return self._seen[recipe.key]

    def guidance(self, recipe: Recipe, look: int) -> Any:
        """Return the guidance that SEGASampler gives out for one look."""
        if (recipe.key, look) not in self._guidance:
            with torch.inference_mode():
                self._guidance[recipe.key, look] = self._sample(recipe, look)[1]
        return self._guidance[recipe.key, look]

    def latents(self, recipe: Recipe) -> tuple[Tensor, float]:
        """Return the latents of a recipe and the passes of the UNet per face and step."""
        kept = self.kept(recipe.key, lambda: self._drawn(recipe))
        return torch.from_numpy(kept["made"]), float(kept["passes"])

    def kept(self, key: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """Return what was made under a key, now or before: "made", one for each face, and what belongs to it."""
        file = self.folder / f"{key}.npz"
        if not file.exists():
            with torch.inference_mode():
                made = make()
            # Several programs may draw different parts at the same time.
            unfinished = file.with_suffix(f".{os.getpid()}.npz")
            np.savez(unfinished, **made)
            unfinished.rename(file)
            self.bar.update(len(made["made"]))
        with np.load(file) as found:
            return dict(found)

    def _drawn(self, recipe: Recipe) -> dict[str, Any]:
        counter = Passes(self._parts(recipe)[0])
        latents = torch.cat([self._sample(recipe, look, counter.model)[0] for look in recipe.looks])
        return {"made": latents.numpy(), "passes": counter.passes / (len(latents) * recipe.steps)}

    def decoded(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the pictures of latents."""
        with torch.inference_mode():
            return (self.vae.decode(latents) * 255).round().to(torch.uint8).numpy()

    def judged(self, images: NDArray[np.uint8], passes: float = 0.0) -> Faces:
        """Return pictures with what the classifier sees in them."""
        with torch.inference_mode():
            logits = self.judge(torch.from_numpy(images).movedim(-1, 1).float() / 255)
        return Faces(images, {name: each.softmax(1).numpy() for name, each in logits.items()}, passes)

    def _sample(self, recipe: Recipe, look: int, model: Any = None) -> tuple[Tensor, Any]:
        """Return the latents and the guidance of one look."""
        unpatched, clip, _ = self._parts(recipe)
        model = model or unpatched
        if recipe.way == "diffusers":
            return self.reference.sample(recipe, look), None
        prompts = (worded(text, look) for text in (recipe.prompt, recipe.negative))
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts)
        if recipe.average:
            positive = self._averaged(positive, self.encode(worded(recipe.average[0], look)), recipe.average[1])
        if recipe.way == "perpneg":
            return self._perp_neg(recipe, model, recipe.seed + look, positive, negative), None
        borrowed = self.guidance(recipe.guidance_of, look) if recipe.guidance_of else None
        # The sampler records only where nobody says that its guidance is not taken, so always here.
        latent, guidance = self.pack.nodes.SEGASampler.execute(
            model,
            seed=recipe.seed + look,
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name=recipe.sampler,
            scheduler="normal",
            positive=positive,
            negative=negative,
            latent_image=self.empty(),
            denoise=1.0,
            concepts=self._stack(recipe, clip, look),
            guidance=borrowed,
            **recipe.settings,
        ).args
        return latent["samples"], guidance

    @property
    def default_strength(self) -> float:
        """What a concept has where nobody says another."""
        return self.pack.sega_core.ConceptSettings().strength

    @cached_property
    def reference(self) -> Any:
        """Diffusers' pipeline on the demo model's weights."""
        # It needs the configured host.
        from .reference import Reference

        return Reference(self)

    def _perp_neg(self, recipe: Recipe, model: Any, seed: int, positive: Any, negative: Any) -> Tensor:
        """Sample with the host's PerpNegGuider, along the same noise levels."""
        import comfy.samplers
        from comfy_extras import nodes_custom_sampler, nodes_perpneg

        guider = nodes_perpneg.PerpNegGuider.execute(
            model, positive, negative, self.encode(""), recipe.cfg, recipe.perpneg_scale
        )[0]
        sigmas = nodes_custom_sampler.BasicScheduler.execute(model, "normal", recipe.steps, 1.0)[0]
        noise = nodes_custom_sampler.RandomNoise.execute(seed)[0]
        euler = comfy.samplers.sampler_object("euler")
        out = nodes_custom_sampler.SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, self.empty())
        return out[0]["samples"]

    def _averaged(self, prompt: Any, other: Any, strength: float) -> Any:
        import nodes as host_nodes

        return host_nodes.ConditioningAverage().addWeighted(other, prompt, strength)[0]

    def _stack(self, recipe: Recipe, clip: Any, look: int) -> Any:
        """Return the recipe's SEGA_CONCEPT_STACK, or None."""
        if not recipe.concepts:
            return None
        nodes = self.pack.nodes
        known = {"prompt": worded(recipe.prompt, look)} if recipe.is_connected else {}
        concepts = [
            nodes.SEGAConcept.execute(clip, **known, **{**values, "text": worded(values["text"], look)})[0]
            for values in recipe.concepts
        ]
        return nodes.SEGAConceptStack.execute({f"concept_{i}": concept for i, concept in enumerate(concepts)})[0]

    def _parts(self, recipe: Recipe) -> tuple[Any, Any, Any]:
        """Return the recipe's model, its text encoder and the VAE."""
        return (self.model, self.clip, self.vae) if recipe.model == "shipped" else self._together

    @cached_property
    def _together(self) -> tuple[Any, Any, Any]:
        if not TOGETHER.exists():
            raise FileNotFoundError(
                f"{TOGETHER} is missing: make it with `nox -s train -- --work {TOGETHER.parent} --together`"
            )
        return self._load(TOGETHER)

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def empty(self) -> dict[str, Tensor]:
        return {"samples": torch.zeros((self.per_look, self.vae.latent_channels, CELLS, CELLS))}


class Passes:
    """Counts the faces that a model's UNet is given."""

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.passes = 0
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "evaluation", self._count)

    def _count(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.passes += len(x)
        return executor(x, *args, **kwargs)


def worded(text: str, look: int) -> str:
    """Return a prompt with the words of a look in its places."""
    hair, skin, background = LOOKS[look].split(", ")
    other = LOOKS[(look + 1) % len(LOOKS)]
    return text.format(look=LOOKS[look], other=other, hair=hair, skin=skin, background=background)


def _code() -> str:
    """Return a digest of all that decides about the pictures besides the recipe."""
    files = sorted(file for folder in ("sega_core", "nodes") for file in (REPO / folder).rglob("*.py"))
    files += [REPO / "dev" / "demo" / name for name in ("model.py", "codec.py", "faces.safetensors")]
    files += [TOGETHER] if TOGETHER.exists() else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
