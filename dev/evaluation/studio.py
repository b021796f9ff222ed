"""Draws faces with the demo model in this process, through the nodes that a user would use, and judges them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..demo import classifier
from ..demo.workflows import LOOKS
from ..host import in_process
from ..host.packages import REPO
from .recipe import Recipe

CELLS = 16
# Every edit is made on faces of each look, and on as many whose prompt leaves the look open.
PROMPTS = (*LOOKS, *[""] * len(LOOKS))
# Of the first prompt; the others count on. Nothing else draws from these: no search, test or demo.
SEED = 30_000_000
# The share of the steps after which a later change of the prompt comes.
LATER = 0.2


@dataclass(frozen=True)
class Faces:
    """Drawn and judged faces, all of one prompt after the other.

    Args:
        images: (N, H, W, 3), of 255.
        values: per attribute the index, (N,), into its values.
        compositions: (N, 6), in the order and the units of `composition.NAMES`.
    """

    images: NDArray[np.uint8]
    values: Mapping[str, NDArray[np.intp]]
    compositions: NDArray[np.float32]


class Studio:
    """Draws faces by recipe, and keeps them in a folder until the code that draws them changes."""

    def __init__(self, folder: Path, faces: int) -> None:
        self.faces = faces
        self.folder = folder / f"{_code()}-{faces}"
        self.folder.mkdir(parents=True, exist_ok=True)
        in_process.start_host()
        self.pack: ModuleType = in_process.load_pack()
        # The host is configured when it is imported.
        from ..demo import model

        self.model, self.clip, self.vae = model.load()
        self.judge = classifier.load()
        self.bar = tqdm(bar_format="{desc}: {n} faces drawn, {elapsed}")

    def draw(self, recipes: Sequence[Recipe]) -> Faces:
        """Return the faces of a recipe for each of PROMPTS, drawn now or before."""
        return self.judged(np.concatenate([self._drawn(recipe, i) for i, recipe in enumerate(recipes)]))

    def kept(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what was made under a key, now or before, for each face."""
        file = self.folder / f"{key}.npz"
        if not file.exists():
            with torch.inference_mode():
                made = make()
            # Several programs may draw different parts at the same time.
            unfinished = file.with_suffix(f".{os.getpid()}.npz")
            np.savez_compressed(unfinished, made=made)
            unfinished.rename(file)
            self.bar.update(len(made))
        return np.load(file)["made"]

    def decoded(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the pictures of latents."""
        return (self.vae.decode(latents) * 255).round().to(torch.uint8).numpy()

    @torch.inference_mode()
    def judged(self, images: NDArray[np.uint8]) -> Faces:
        """Return pictures with what the judge sees in them."""
        pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
        logits, compositions = self.judge(pixels)
        return Faces(images, {name: each.argmax(1).numpy() for name, each in logits.items()}, compositions.numpy())

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def _drawn(self, recipe: Recipe, prompt: int) -> NDArray[np.uint8]:
        return self.kept(f"{recipe.key}-{prompt}", lambda: self.decoded(self._sample(recipe, SEED + prompt)))

    def _sample(self, recipe: Recipe, seed: int) -> Tensor:
        """Return the latents of a recipe."""
        empty = torch.zeros((self.faces // len(PROMPTS), self.vae.latent_channels, CELLS, CELLS))
        return self.pack.nodes.SEGASampler.execute(
            self._model(recipe),
            seed=seed,
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name="euler",
            scheduler="normal",
            positive=self._positive(recipe),
            negative=self.encode(recipe.negative),
            latent_image={"samples": empty},
            denoise=1.0,
            concepts=self._concepts(recipe),
            **recipe.settings,
        )[0]["samples"]

    def _model(self, recipe: Recipe) -> Any:
        from comfy_extras.nodes_perpneg import PerpNeg

        return PerpNeg.execute(self.model, self.encode(""), 1.0)[0] if recipe.is_perpendicular else self.model

    def _positive(self, recipe: Recipe) -> Any:
        import nodes as host_nodes

        prompt = self.encode(recipe.prompt)
        if recipe.later:
            span = host_nodes.ConditioningSetTimestepRange().set_range
            return span(prompt, 0.0, LATER)[0] + span(self.encode(recipe.later), LATER, 1.0)[0]
        if recipe.mixed_with:
            return host_nodes.ConditioningAverage().addWeighted(prompt, self.encode(recipe.mixed_with), 0.5)[0]
        return prompt

    def _concepts(self, recipe: Recipe) -> Any:
        if not recipe.concepts:
            return None
        nodes = self.pack.nodes
        made = [nodes.SEGAConcept.execute(self.clip, **values)[0] for values in recipe.concepts]
        return nodes.SEGAConceptStack.execute({f"concept_{i}": concept for i, concept in enumerate(made)})[0]


def _code() -> str:
    """Return a digest of everything that determines the pictures besides the recipe."""
    files = sorted(file for folder in ("sega_core", "nodes") for file in (REPO / folder).rglob("*.py"))
    files += [*sorted((REPO / "dev" / "demo").glob("*.py")), REPO / "dev" / "demo" / "faces.safetensors"]
    own = ("studio.py", "darkroom.py", "edits.py", "ledits.py", "places.py")
    files += [REPO / "dev" / "evaluation" / name for name in own]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
