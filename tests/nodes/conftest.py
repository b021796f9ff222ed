"""The real host in process on the CPU, the pack loaded as the host loads it, and a tiny model with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from support.evaluations import Seen, listening

UNET_CONFIG = {
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "context_dim": 32,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "adm_in_channels": None,
}
CONCEPT = {
    "direction": "add",
    "guidance_scale": 5.0,
    "threshold": 0.5,
    "warmup_steps": 0,
    "cooldown_steps": 0,
    "weight": 1.0,
}
SETTINGS = {"momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "reference", "baseline": "auto"}
STEPS = 4


class Host:
    """The host's modules, the pack, and short ways to sample with both."""

    def __init__(self, pack: ModuleType, fill: Callable) -> None:
        import comfy.model_base
        import comfy.samplers
        import nodes
        from comfy_extras import nodes_custom_sampler

        self.pack = pack
        self.fill = fill
        self.nodes = nodes
        self.samplers = comfy.samplers
        self.custom = nodes_custom_sampler
        self.eps = self.model(comfy.model_base.ModelType.EPS)

    def model(self, model_type: Any, seed: int = 1, **changes: Any) -> Any:
        """Return a MODEL around a UNet with random weights."""
        import comfy.latent_formats
        import comfy.model_base
        import comfy.model_patcher
        import comfy.supported_models_base

        class Config(comfy.supported_models_base.BASE):
            unet_extra_config = {"num_heads": 4, "num_head_channels": -1}  # noqa: RUF012
            latent_format = comfy.latent_formats.SD15

            def inpaint_model(self) -> bool:
                return False

        unet_config = {key: list(value) if isinstance(value, list) else value for key, value in UNET_CONFIG.items()}
        config = Config({**unet_config, **changes})
        config.sampling_settings = {"shift": 1.0} if model_type == comfy.model_base.ModelType.FLOW else {}
        config.set_inference_dtype(torch.float32, None)
        base = comfy.model_base.BaseModel(config, model_type)
        self.fill(base.diffusion_model, seed)
        base.eval()
        device = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(base, load_device=device, offload_device=device)

    def conditioning(self, seed: int, width: int = 32, **values: Any) -> list[Any]:
        """Return a CONDITIONING with a random embedding."""
        generator = torch.Generator().manual_seed(1000 + seed)
        return [[torch.randn((1, 77, width), generator=generator), dict(values)]]

    def latent(self, batch: int = 1, size: int = 8, fill: float = 0.0) -> dict[str, Any]:
        return {"samples": torch.full((batch, 4, size, size), fill)}

    def concept(self, seed: int = 10, **changes: Any) -> Any:
        """Return a SEGA_CONCEPT that acts from the first step on."""
        node = self.pack.nodes.SEGAConceptFromConditioning
        return node.execute(self.conditioning(seed), **{**CONCEPT, **changes})[0]

    def stack(self, *concepts: Any) -> Any:
        node = self.pack.nodes.SEGAConceptStack
        return node.execute({f"concept_{i}": concept for i, concept in enumerate(concepts)})[0]

    def patched(self, *concepts: Any, model: Any = None, **settings: Any) -> Any:
        """Return the output of SEGAModelPatch."""
        stack = self.stack(*concepts) if concepts else None
        return self.pack.nodes.SEGAModelPatch.execute(model or self.eps, stack, **{**SETTINGS, **settings})[0]

    def sample(self, model: Any = None, *, latent: dict[str, Any] | None = None, **changes: Any) -> torch.Tensor:
        """Sample with the host's own KSampler."""
        arguments = {
            "seed": 3,
            "steps": STEPS,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": self.conditioning(1),
            "negative": self.conditioning(2),
            "denoise": 1.0,
            **changes,
        }
        latent = self.latent() if latent is None else latent
        denoise = arguments.pop("denoise")
        (out,) = self.nodes.common_ksampler(model or self.eps, **arguments, latent=latent, denoise=denoise)
        return out["samples"]

    def sega(self, *concepts: Any, model: Any = None, latent: dict[str, Any] | None = None, **changes: Any) -> Any:
        """Sample with SEGASampler; return its LATENT's samples."""
        arguments = {
            "seed": 3,
            "steps": STEPS,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": self.conditioning(1),
            "negative": self.conditioning(2),
            "latent_image": self.latent() if latent is None else latent,
            "denoise": 1.0,
            **SETTINGS,
            **changes,
        }
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


@pytest.fixture(scope="session")
def host(comfyui_path: Path, repo: Path, package_loader: Callable, noise_filler: Callable, demo: ModuleType) -> Host:
    """Start the host without arguments and load the pack as the host does."""
    # pytest's importlib mode may have put a placeholder where the host's module goes.
    if getattr(sys.modules.get("nodes"), "__file__", None) is None:
        sys.modules.pop("nodes", None)
    sys.path.insert(0, str(comfyui_path))
    from sega_demo import in_process

    in_process.start_host()
    import nodes  # noqa: F401

    return Host(package_loader("comfyui_sega", repo), noise_filler)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the host runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def nothing_loaded(host: Host) -> Iterator[None]:
    """Forget the loaded models: the host collects garbage at each sampling, or stumbles, while one of them is gone."""
    import comfy.model_management

    yield
    comfy.model_management.current_loaded_models.clear()


class Passes:
    """A MODEL's calls of the UNet: the size and the labels of each."""

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.labels: list[list[int]] = []
        self.sizes: list[int] = []
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "count", self._count)

    def _count(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        # The host passes the options by position to the wrappers: x, timesteps, context, y, control, options.
        options = kwargs.get("transformer_options") or args[4]
        self.labels.append(list(options["cond_or_uncond"]))
        self.sizes.append(x.shape[0])
        return executor(x, *args, **kwargs)


@pytest.fixture
def count_passes() -> Callable[[Any], Passes]:
    return Passes


@pytest.fixture
def one_pass_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host find no free memory: it then evaluates one prompt per call, and equal prompts give equal bits."""
    import comfy.model_patcher

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)


@pytest.fixture
def evaluations() -> Iterator[list[Seen]]:
    """What each evaluation of this test did."""
    log: list[Seen] = []
    with listening(log.append):
        yield log


@pytest.fixture
def guidance_log() -> Iterator[list[torch.Tensor | None]]:
    """The guidance of each evaluation of this test; of packed latents that of each part."""
    log: list[torch.Tensor | None] = []
    with listening(lambda evaluation: log.extend(evaluation.parts)):
        yield log
