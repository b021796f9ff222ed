"""The host's modules with the pack, short ways to sample with both, and tiny models with random weights.

ComfyUI is there once the fixture `host` has put it on sys.path, so functions import it.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import torch

from support.models import UNET, model_of, tiny_config

CONCEPT = {
    "direction": "add",
    "strength": 1.0,
    "guidance_scale": 5.0,
    "threshold": 0.5,
    "threshold_over": "channel",
    "start_percent": 0.0,
    "end_percent": 1.0,
    "weight": 1.0,
}
SETTINGS = {"momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "reference"}
STEPS = 4
# The two kinds of concepts: what a text is compared with, as the seed of that text. 1 is the positive prompt's; None is
# the negative prompt.
KINDS = {"bare": None, "with and without": 1}
every_kind = pytest.mark.parametrize("instead_of", list(KINDS.values()), ids=list(KINDS))


class Host:
    """The host's modules, the pack, and short ways to sample with both."""

    def __init__(self, pack: ModuleType) -> None:
        import comfy.model_base
        import comfy.samplers
        import nodes
        from comfy_extras import nodes_custom_sampler

        self.pack = pack
        self.nodes = nodes
        self.samplers = comfy.samplers
        self.custom = nodes_custom_sampler
        self.eps = self.model(comfy.model_base.ModelType.EPS)

    def model(self, model_type: Any, seed: int = 1, **changes: Any) -> Any:
        """Return a MODEL around a UNet with random weights."""
        import comfy.model_base

        shift = {"shift": 1.0} if model_type == comfy.model_base.ModelType.FLOW else {}
        config = tiny_config({**UNET, **changes}, **shift)
        return model_of(comfy.model_base.BaseModel(config, model_type), seed)

    def conditioning(self, seed: int, width: int = 32, **values: Any) -> list[Any]:
        """Return a CONDITIONING with a random embedding."""
        generator = torch.Generator().manual_seed(1000 + seed)
        return [[torch.randn((1, 77, width), generator=generator), dict(values)]]

    def pooled(self, seed: int, **values: Any) -> list[Any]:
        """Return a CONDITIONING with a random embedding and a random pooled output."""
        generator = torch.Generator().manual_seed(2000 + seed)
        return self.conditioning(seed, pooled_output=torch.randn((1, 32), generator=generator), **values)

    def latent(self, batch: int = 1, size: int = 8, fill: float = 0.0) -> dict[str, Any]:
        return {"samples": torch.full((batch, 4, size, size), fill)}

    def concept(self, text: int | list[Any] = 10, instead_of: int | list[Any] | None = None, **changes: Any) -> Any:
        """Return a SEGA_CONCEPT that acts from the first step on; its texts are conditionings or their seeds."""
        node = self.pack.nodes.SEGAConceptFromConditioning
        texts = (self.conditioning(each) if isinstance(each, int) else each for each in (text, instead_of))
        return node.execute(*texts, **{**CONCEPT, **changes})[0]

    def two(self, **changes: Any) -> list[Any]:
        """Return a concept of either kind."""
        return [self.concept(10 + i, other, **changes) for i, other in enumerate(KINDS.values())]

    def both_saying_the_same(self) -> list[Any]:
        """Return concepts of either kind that say what they are compared with, and are evaluated nevertheless."""
        return [self.concept(kept_apart(self.conditioning(other or 2)), other) for other in KINDS.values()]

    def stack(self, *concepts: Any) -> Any:
        node = self.pack.nodes.SEGAConceptStack
        return node.execute({f"concept_{i}": concept for i, concept in enumerate(concepts)})[0]

    def patched(self, *concepts: Any, model: Any = None, **settings: Any) -> Any:
        """Return the output of SEGAModelPatch."""
        stack = self.stack(*concepts) if concepts else None
        return self.pack.nodes.SEGAModelPatch.execute(model or self.eps, stack, **{**SETTINGS, **settings})[0]

    def recording(self, *concepts: Any, model: Any = None, **settings: Any) -> tuple[Any, list[Any]]:
        """Return a MODEL that records as SEGASampler does, and the list of what it has recorded."""
        runs: list[Any] = []
        guided = self.pack.nodes.guidance_inputs.guided_model
        settings = {**SETTINGS, **settings}
        return guided("SEGASampler", model or self.eps, concepts, **settings, record=runs.append), runs

    def _sampling(self) -> dict[str, Any]:
        """Return what both samplers are given where a test says nothing else."""
        prompts = {"positive": self.conditioning(1), "negative": self.conditioning(2)}
        chosen = {"sampler_name": "euler", "scheduler": "normal"}
        return {"seed": 3, "steps": STEPS, "cfg": 4.0, **chosen, **prompts, "denoise": 1.0}

    def sample(self, model: Any = None, *, latent: dict[str, Any] | None = None, **changes: Any) -> torch.Tensor:
        """Sample with the host's own KSampler."""
        arguments = {**self._sampling(), **changes}
        latent = self.latent() if latent is None else latent
        denoise = arguments.pop("denoise")
        (out,) = self.nodes.common_ksampler(model or self.eps, **arguments, latent=latent, denoise=denoise)
        return out["samples"]

    def sega(self, *concepts: Any, model: Any = None, latent: dict[str, Any] | None = None, **changes: Any) -> Any:
        """Sample with SEGASampler; return its LATENT's samples."""
        latent = self.latent() if latent is None else latent
        arguments = {**self._sampling(), "latent_image": latent, **SETTINGS, **changes}
        stack = self.stack(*concepts) if concepts else None
        return self.pack.nodes.SEGASampler.execute(model or self.eps, concepts=stack, **arguments)[0]["samples"]

    def guide(self, guider: Any, sampler: str = "euler", batch: int = 1) -> torch.Tensor:
        """Sample with SamplerCustomAdvanced."""
        sigmas = self.samplers.calculate_sigmas(self.eps.get_model_object("model_sampling"), "normal", STEPS)
        noise = self.custom.RandomNoise.execute(3)[0]
        chosen = self.samplers.sampler_object(sampler)
        return self.custom.SamplerCustomAdvanced.execute(noise, guider, chosen, sigmas, self.latent(batch))[0][
            "samples"
        ]


def kept_apart(conditioning: list[Any]) -> list[Any]:
    """Return a CONDITIONING that acts the same, but is not known to be the same text: it is evaluated by itself."""
    return [[text, {"start_percent": 0.0, **values}] for text, values in conditioning]


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Let all tests share what a function makes; it is gone before the interpreter is."""
    made = cache(make)
    atexit.register(made.cache_clear)
    return made


def find_node(module: str, name: str) -> Any:
    """Return the class of a node of the host, `nodes` or a module in comfy_extras; skip where this host has none."""
    full = module if module == "nodes" else f"comfy_extras.{module}"
    found = getattr(importlib.import_module(full), name, None) if importlib.util.find_spec(full) else None
    if found is None:
        pytest.skip(f"ComfyUI {importlib.import_module('comfyui_version').__version__} has no {name}")
    return found


def run_node(cls: Any, **inputs: Any) -> Any:
    """Run a node of the newer or the older kind; return its first output."""
    run = cls.execute if hasattr(cls, "execute") else getattr(cls(), cls.FUNCTION)
    return run(**inputs)[0]


def wrapped(model: Any, kind: str, wrapper: Callable[..., Any]) -> Any:
    """Return the MODEL with another pack's wrapper."""
    import comfy.patcher_extension

    model = model.clone()
    model.add_wrapper_with_key(getattr(comfy.patcher_extension.WrappersMP, kind), "another pack", wrapper)
    return model
