"""One network of random weights in both: in diffusers' pipeline and in the host, where our nodes guide it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from ..host import in_process
from ..host.passes import Passes
from . import reference
from .scenarios import Scenario

CFG = 7.0
TOKENS = 77
MOST_CONCEPTS = 16


@dataclass(frozen=True)
class Shape:
    """A UNet's name in tables and its sizes: multiples of the channels and attention per level, blocks in each."""

    name: str
    channels: int
    multiples: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    context: int
    heads: int


TINY = Shape("tiny", 32, (1, 2), 1, (True, True), 32, 4)
SD15 = Shape("SD1.5", 320, (1, 2, 4, 4), 2, (True, True, True, False), 768, 8)


class Twin:
    """The network, its embeddings, and both ways to sample it."""

    def __init__(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> None:
        self.pack = in_process.load_pack()
        self.device = device
        embeddings = torch.randn((2 + MOST_CONCEPTS, TOKENS, shape.context), generator=torch.Generator().manual_seed(1))
        # The host's prompts stay on the CPU until it samples.
        self.embeddings = embeddings.to(dtype)
        unet = _diffusers_unet(shape, device, dtype)
        betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        scheduler = DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=True, steps_offset=1)
        self.pipeline = reference.make_pipeline(unet, scheduler, self.embeddings.to(device))
        passes = Passes(_host_model(shape, unet, device, dtype))
        self.model = passes.model
        # How many latents each network is asked about, call by call.
        self.our_calls = passes.sizes
        self.reference_calls: list[int] = []
        unet.register_forward_pre_hook(lambda _, args: self.reference_calls.append(len(args[0])))

    def sample_reference(self, scenario: Scenario, noise: Tensor) -> Tensor:
        """Sample with diffusers' pipeline."""
        noise = noise.to(self.device, self.embeddings.dtype)
        return reference.sample(self.pipeline, noise, scenario.steps, CFG, scenario.concepts, scenario.settings)

    def sample_ours(self, scenario: Scenario, noise: Tensor) -> Tensor:
        """Follow the pipeline's steps in the host, with our nodes; return latents in the pipeline's scale."""
        return self.sample_host(self.guided(scenario), scenario.steps, noise)

    @torch.inference_mode()
    def sample_host(self, model: Any, steps: int, noise: Tensor) -> Tensor:
        """Sample a MODEL with the host's euler, which is the pipeline's DDIM, on the pipeline's timesteps."""
        import comfy.sample
        import comfy.samplers

        self.pipeline.scheduler.set_timesteps(steps)
        sigmas = model.get_model_object("model_sampling").sigmas.cpu()[self.pipeline.scheduler.timesteps.cpu()]
        sigmas = torch.cat([sigmas, torch.zeros(1)])
        scale = float((1 + sigmas[0] ** 2).sqrt() / sigmas[0])
        out = comfy.sample.sample_custom(
            model,
            noise * scale,
            CFG,
            comfy.samplers.sampler_object("euler"),
            sigmas,
            self.conditioning(reference.POSITIVE),
            self.conditioning(reference.NEGATIVE),
            torch.zeros_like(noise),
            disable_pbar=True,
        )
        return out * model.model.latent_format.scale_factor

    @torch.inference_mode()
    def guided(self, scenario: Scenario) -> Any:
        """Return the MODEL with a scenario's concepts, through our nodes."""
        nodes, settings = self.pack.nodes, scenario.settings
        stack = nodes.SEGAConceptStack.execute(
            {
                f"concept_{c}": nodes.SEGAConceptFromConditioning.execute(
                    self.conditioning(reference.FIRST_CONCEPT + c),
                    direction=concept.direction,
                    strength=1.0,
                    guidance_scale=float(concept.guidance_scale),
                    threshold=concept.threshold,
                    start_percent=self._progress_at(concept.warmup_steps, scenario.steps),
                    end_percent=self._progress_at(concept.cooldown_steps or scenario.steps, scenario.steps),
                    weight=concept.weight,
                )[0]
                for c, concept in enumerate(scenario.concepts)
            }
        )[0]
        shared = {name: getattr(settings, name) for name in ("momentum_scale", "momentum_beta", "mode")}
        return nodes.SEGAModelPatch.execute(self.model, stack, **shared)[0]

    def _progress_at(self, step: int, steps: int) -> float:
        """Return a progress between the step before and this one; 0 before the first and 1 after the last."""
        if step in (0, steps):
            return float(step > 0)
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(steps)
        return 1 - float(scheduler.timesteps[step - 1 : step + 1].double().mean()) / (len(scheduler.alphas_cumprod) - 1)

    def unguided(self, more: int) -> Any:
        """Return the MODEL whose every step makes some more passes in the host's one call, and drops them."""
        import comfy.samplers

        def calc_cond_batch(args: dict[str, Any]) -> list[Tensor]:
            conds = [*args["conds"], *[args["conds"][1]] * more]
            out = comfy.samplers.calc_cond_batch(
                args["model"], conds, args["input"], args["sigma"], args["model_options"]
            )
            return out[: len(args["conds"])]

        model = self.model.clone()
        model.model_options["sampler_calc_cond_batch_function"] = calc_cond_batch
        return model

    def conditioning(self, place: int) -> list[Any]:
        """Return the host's CONDITIONING of one of the embeddings."""
        return [[self.embeddings[place : place + 1], {}]]


def _diffusers_unet(shape: Shape, device: torch.device, dtype: torch.dtype) -> UNet2DConditionModel:
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in shape.attention]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(shape.attention)]
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=tuple(shape.channels * multiple for multiple in shape.multiples),
            layers_per_block=shape.blocks,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            cross_attention_dim=shape.context,
            attention_head_dim=shape.heads,
        )
    unet = unet.to_empty(device=device).to(dtype).eval().requires_grad_(False)
    fill(unet)
    return unet


def fill(network: nn.Module) -> None:
    """Draw every parameter, keeping activations near unit size."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.normal_(mean=float("norm" in name and name.endswith("weight")), std=0.1)


def _host_model(shape: Shape, unet: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the host's MODEL with the very tensors of a UNet of diffusers."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models_base
    import comfy.utils

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config = {"num_heads": shape.heads, "num_head_channels": -1}  # noqa: RUF012
        latent_format = comfy.latent_formats.SD15

    levels = [int(attends) for attends in shape.attention]
    sizes = {
        "num_res_blocks": [shape.blocks] * len(levels),
        "channel_mult": list(shape.multiples),
        "transformer_depth": [depth for depth in levels for _ in range(shape.blocks)],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [depth for depth in levels for _ in range(shape.blocks + 1)],
    }
    # The host pops the transformer depths off these lists.
    names = comfy.utils.unet_to_diffusers(copy.deepcopy(sizes))
    inputs = {"image_size": 32, "in_channels": 4, "out_channels": 4, "context_dim": shape.context}
    kind = {"use_spatial_transformer": True, "use_linear_in_transformer": False, "legacy": False}
    left_out = {"use_temporal_attention": False, "use_temporal_resblock": False, "adm_in_channels": None}
    config = Config({**sizes, **inputs, **kind, **left_out, "model_channels": shape.channels})
    config.set_inference_dtype(dtype, None)
    base = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS, device=device)
    weights = {names[key]: value for key, value in unet.state_dict().items()}
    base.diffusion_model.load_state_dict(weights, strict=True, assign=True)
    return comfy.model_patcher.ModelPatcher(base.eval(), load_device=device, offload_device=device)
