"""Guidance vectors: what the concepts of a run added, step by step, and their safetensors file.

They are diffusers' `sem_guidance`. Added to a run of another prompt with the same noise, they make the same edit (arXiv
2301.12247, section 4, uniqueness).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from . import tensor_file
from .concept import Concept, Settings
from .plan import covering_step

Space = Literal["noise", "velocity"]
SPACES: tuple[Space, ...] = get_args(Space)
KIND = "sega-guidance"
VERSION = "1"


@dataclass(frozen=True)
class GuidanceVectors:
    """The guidance of a whole run, and which concept acted where and when.

    Args:
        guidance: what the concepts added at each step, (steps, B, C, *spatial), fp32, on the CPU; one tensor for each
            part of packed latents (video and sound).
        activity: where each concept acted, (concepts, B, *spatial), as the mean magnitude of its share over steps and
            channels; one tensor for each part.
        magnitudes: how strongly each concept acted, (steps, concepts), as the mean magnitude of its share.
        sigmas: the schedule, steps + 1 numbers.
        space: of the estimates that the guidance is added to.
        concepts: the run's concepts.
        texts: the concepts' texts.
        settings: what the concepts shared.

    A concept's share is its part of the guidance, without momentum.

    Raises:
        ValueError: the tensors, the schedule and the concepts do not match.
    """

    guidance: tuple[Tensor, ...]
    activity: tuple[Tensor, ...]
    magnitudes: Tensor
    sigmas: tuple[float, ...]
    space: Space
    concepts: tuple[Concept, ...]
    texts: tuple[str, ...]
    settings: Settings

    def __post_init__(self) -> None:
        steps, concepts = len(self.sigmas) - 1, len(self.concepts)
        if steps < 1 or not all(math.isfinite(sigma) and sigma >= 0 for sigma in self.sigmas):
            raise ValueError(f"sigmas must be two or more numbers in [0, inf), got {list(self.sigmas)}")
        if self.space not in SPACES:
            raise ValueError(f"space must be one of {', '.join(SPACES)}, got {self.space!r}")
        if len(self.texts) != concepts:
            raise ValueError(f"texts must have one entry per concept ({concepts}), got {len(self.texts)}")
        if not self.guidance or len(self.activity) != len(self.guidance):
            raise ValueError(
                f"activity must have one tensor per guidance tensor ({len(self.guidance)}), got {len(self.activity)}"
            )
        for guidance, activity in zip(self.guidance, self.activity, strict=True):
            if guidance.ndim < 4 or guidance.shape[0] != steps or guidance.numel() == 0:
                raise ValueError(f"guidance must be ({steps}, B, C, *spatial), got {tuple(guidance.shape)}")
            _require_shape("activity", activity, (concepts, guidance.shape[1], *guidance.shape[3:]))
        _require_shape("magnitudes", self.magnitudes, (steps, concepts))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of the latents, (B, C, *spatial), for each part."""
        return [tuple(guidance.shape[1:]) for guidance in self.guidance]

    def step_at(self, sigma: float, before: int = 0) -> int | None:
        """Return the step that covers a noise level; None outside the recorded range."""
        return covering_step(sigma, self.sigmas, before)


def save(vectors: GuidanceVectors, path: Path) -> None:
    """Write guidance vectors to a safetensors file, whole or not at all.

    Raises:
        ValueError: they have a number that is not finite.
    """
    parts = range(len(vectors.guidance))
    tensors = {f"guidance.{part}": vectors.guidance[part] for part in parts}
    tensors |= {f"activity.{part}": vectors.activity[part] for part in parts}
    concepts = [
        {"text": text, **asdict(concept)} for text, concept in zip(vectors.texts, vectors.concepts, strict=True)
    ]
    metadata = {
        "version": VERSION,
        "space": vectors.space,
        "sigmas": json.dumps(vectors.sigmas),
        "concepts": json.dumps(concepts),
        "settings": json.dumps(asdict(vectors.settings)),
    }
    tensor_file.write(path, KIND, tensors | {"magnitudes": vectors.magnitudes}, metadata)


def load(path: Path) -> GuidanceVectors:
    """Read guidance vectors.

    Raises:
        ValueError: names the file and what is wrong with it.
        OSError: it cannot be read.
    """
    tensors, metadata = tensor_file.read(path, KIND)
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path.name}: version must be {VERSION}, got {metadata.get('version')!r}")
    try:
        texts, concepts = [], []
        for concept in _parsed(metadata, "concepts"):
            texts.append(str(concept["text"]))
            concepts.append(Concept(**{name: value for name, value in concept.items() if name != "text"}))
        parts = range(sum(name.startswith("guidance.") for name in tensors))
        return GuidanceVectors(
            guidance=tuple(tensors[f"guidance.{part}"].float() for part in parts),
            activity=tuple(tensors[f"activity.{part}"].float() for part in parts),
            magnitudes=tensors["magnitudes"].float(),
            sigmas=tuple(float(sigma) for sigma in _parsed(metadata, "sigmas")),
            space=metadata["space"],  # type: ignore[arg-type]
            concepts=tuple(concepts),
            texts=tuple(texts),
            settings=Settings(**_parsed(metadata, "settings")),
        )
    except KeyError as error:
        raise ValueError(f"{path.name}: {error.args[0]} is missing") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _parsed(metadata: Mapping[str, str], name: str) -> Any:
    return json.loads(metadata[name])


def _require_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
