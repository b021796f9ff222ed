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
from ..demo.measure import Edit, Outcome, measure
from ..demo.workflows import LOOKS
from ..host import in_process
from ..host.packages import REPO
from .recipe import Recipe

CELLS = 16
# Of the first look; the others count on. The demo has others.
SEED = 1000
TOGETHER = REPO / ".host" / "together" / "together.safetensors"


@dataclass(frozen=True)
class Faces:
    """Drawn and judged faces, all of one look after the other.

    Args:
        images: (N, H, W, 3), of 255.
        chances: per attribute the classifier's probabilities, (N, values).
    """

    images: NDArray[np.uint8]
    chances: Mapping[str, NDArray[np.float32]]

    @cached_property
    def judged(self) -> dict[str, NDArray[np.intp]]:
        return {name: chances.argmax(1) for name, chances in self.chances.items()}


def compare(edit: Edit, before: Faces, after: Faces) -> Outcome:
    """Return what an edit did."""
    return measure(edit, before.judged, after.judged)


class Studio:
    """Draws faces by recipe, and keeps them in a folder until the code that draws them changes."""

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
        self.bar = tqdm(bar_format="{desc}: {n} faces drawn, {elapsed}")

    def draw(self, recipe: Recipe) -> Faces:
        """Return the faces of a recipe, drawn now or before."""
        if recipe.key not in self._seen:
            self._seen[recipe.key] = self.seen(self.kept(recipe.key, lambda: self._drawn(recipe)))
        return self._seen[recipe.key]

    def kept(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """Return what was made under a key, now or before, for each face."""
        file = self.folder / f"{key}.npy"
        if not file.exists():
            with torch.inference_mode():
                made = make()
            # Several programs may draw different parts at the same time.
            unfinished = file.with_suffix(f".{os.getpid()}.npy")
            np.save(unfinished, made.numpy())
            unfinished.rename(file)
            self.bar.update(len(made))
        return torch.from_numpy(np.load(file))

    def decoded(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the pictures of latents."""
        with torch.inference_mode():
            return (self.vae.decode(latents) * 255).round().to(torch.uint8).numpy()

    def seen(self, latents: Tensor) -> Faces:
        return self.judged(self.decoded(latents))

    def judged(self, images: NDArray[np.uint8]) -> Faces:
        """Return pictures with what the classifier sees in them."""
        with torch.inference_mode():
            logits = self.judge(torch.from_numpy(images).movedim(-1, 1).float() / 255)
        return Faces(images, {name: each.softmax(1).numpy() for name, each in logits.items()})

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def _drawn(self, recipe: Recipe) -> Tensor:
        return torch.cat([self._sample(recipe, look) for look in range(len(LOOKS))])

    def _sample(self, recipe: Recipe, look: int) -> Tensor:
        """Return the latents of one look."""
        model, clip = (self.model, self.clip) if recipe.model == "shipped" else self._together
        nodes, prompt = self.pack.nodes, recipe.prompt.format(look=LOOKS[look])
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (prompt, ""))
        known = {"prompt": prompt} if recipe.is_connected else {}
        concept = recipe.concept and nodes.SEGAConcept.execute(clip, **known, **recipe.concept)[0]
        empty = torch.zeros((self.per_look, self.vae.latent_channels, CELLS, CELLS))
        return nodes.SEGASampler.execute(
            model,
            seed=SEED + look,
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name="euler",
            scheduler="normal",
            positive=positive,
            negative=negative,
            latent_image={"samples": empty},
            denoise=1.0,
            concepts=concept,
        )[0]["samples"]

    @cached_property
    def _together(self) -> tuple[Any, Any]:
        if not TOGETHER.exists():
            raise FileNotFoundError(
                f"{TOGETHER} is missing: make it with `nox -s train -- --work {TOGETHER.parent} --together`"
            )
        return self._load(TOGETHER)[:2]


def _code() -> str:
    """Return a digest of everything that determines the pictures besides the recipe."""
    files = sorted(file for folder in ("sega_core", "nodes") for file in (REPO / folder).rglob("*.py"))
    files += [REPO / "dev" / "demo" / name for name in ("model.py", "codec.py", "faces.safetensors")]
    files += [TOGETHER] if TOGETHER.exists() else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
