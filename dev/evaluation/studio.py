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
from ..demo.workflows import LOOKS
from ..host import in_process
from ..host.packages import REPO
from ..host.passes import Passes
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
        passes: of the UNet, per face and step; 0 where they were not counted.
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
        self.bar = tqdm(bar_format="{desc}: {n} faces drawn, {elapsed}")

    def draw(self, recipe: Recipe) -> Faces:
        """Return the faces of a recipe, drawn now or before."""
        if recipe.key not in self._seen:
            kept = self.kept(recipe.key, lambda: self._drawn(recipe))
            images = self.decoded(torch.from_numpy(kept["made"]))
            self._seen[recipe.key] = self.judged(images, float(kept["passes"]))
        return self._seen[recipe.key]

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

    def decoded(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the pictures of latents."""
        with torch.inference_mode():
            return (self.vae.decode(latents) * 255).round().to(torch.uint8).numpy()

    def judged(self, images: NDArray[np.uint8], passes: float = 0.0) -> Faces:
        """Return pictures with what the classifier sees in them."""
        with torch.inference_mode():
            logits = self.judge(torch.from_numpy(images).movedim(-1, 1).float() / 255)
        return Faces(images, {name: each.softmax(1).numpy() for name, each in logits.items()}, passes)

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def _drawn(self, recipe: Recipe) -> dict[str, Any]:
        model, clip = (self.model, self.clip) if recipe.model == "shipped" else self._together
        passes = Passes(model)
        latents = torch.cat([self._sample(recipe, look, passes.model, clip) for look in range(len(LOOKS))])
        return {"made": latents.numpy(), "passes": sum(passes.sizes) / (len(latents) * recipe.steps)}

    def _sample(self, recipe: Recipe, look: int, model: Any, clip: Any) -> Tensor:
        """Return the latents of one look."""
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
    """Return a digest of all that decides about the pictures besides the recipe."""
    files = sorted(file for folder in ("sega_core", "nodes") for file in (REPO / folder).rglob("*.py"))
    files += [REPO / "dev" / "demo" / name for name in ("model.py", "codec.py", "faces.safetensors")]
    files += [TOGETHER] if TOGETHER.exists() else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
