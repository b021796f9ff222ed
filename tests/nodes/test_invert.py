"""SEGAInvert: the host's own samplers come back to a given picture, and a concept on the way changes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from support import guiders
from support.host import Host
from support.models import controlnet

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")

STEPS, CFG = 8, 6.0
SAMPLERS = ["euler_ancestral", "dpmpp_2m_sde"]
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS)
# The host's euler_ancestral is another sampler for flow models.
each_pair = pytest.mark.parametrize(
    ("kind", "sampler"),
    [
        ("EPS", "euler_ancestral"),
        ("V_PREDICTION", "dpmpp_2m_sde"),
        ("EDM", "euler_ancestral"),
        ("FLOW", "euler_ancestral"),
        ("FLOW", "dpmpp_2m_sde"),
    ],
)


def of_kind(host: Host, kind: str, **changes: Any) -> Any:
    import comfy.model_base

    return host.model(getattr(comfy.model_base.ModelType, kind), **changes)


def picture(batch: int = 1, size: int = 8, seed: int = 6) -> dict[str, Any]:
    return {"samples": 3 * torch.randn((batch, 4, size, size), generator=torch.Generator().manual_seed(seed))}


def invert(host: Host, latent: dict[str, Any], model: Any = None, **changes: Any) -> tuple[dict[str, Any], Any, Tensor]:
    arguments = {"model": model or host.eps, "seed": 3, "steps": STEPS, "cfg": CFG, "latent_image": latent}
    arguments |= {"sampler_name": "euler_ancestral", "scheduler": "normal", "start_percent": 0.0}
    arguments |= {"positive": host.conditioning(1), "negative": host.conditioning(2)}
    return host.pack.nodes.SEGAInvert.execute(**{**arguments, **changes}).args


def sample(host: Host, inverted: Any, model: Any = None, cfg: float = CFG, **changes: Any) -> Tensor:
    """Sample what SEGAInvert gives with the host's SamplerCustom."""
    latent, sampler, sigmas = inverted
    given = {"model": model or host.eps, "add_noise": False, "noise_seed": 0, "cfg": cfg}
    given |= {"positive": host.conditioning(1), "negative": host.conditioning(2)}
    given |= {"sampler": sampler, "sigmas": sigmas, "latent_image": latent}
    return host.custom.SamplerCustom.execute(**{**given, **changes})[0]["samples"]


def error(back: Tensor, latent: dict[str, Any]) -> float:
    """Return the greatest error of a picture against its latent's norm."""
    samples = latent["samples"]
    return float(((back - samples).flatten(1).norm(dim=1) / samples.flatten(1).norm(dim=1)).max())


class Path:
    """The noisy latents of a sampling, by a wrapper of the host."""

    def __init__(self, model: Any) -> None:
        from comfy.patcher_extension import WrappersMP

        self.latents: list[Tensor] = []
        self.sigmas: list[float] = []
        self.model = model.clone()
        self.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "path", self._see)

    def _see(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any) -> Tensor:
        self.latents.append(x.clone())
        self.sigmas.append(float(timestep[0]))
        return executor(x, timestep, *args)


@each_pair
@pytest.mark.parametrize(("scheduler", "cfg"), [("normal", CFG), ("karras", 1.0)])
def test_a_picture_comes_back(host: Host, sampler: str, kind: str, scheduler: str, cfg: float) -> None:
    model, latent = of_kind(host, kind), picture(2)
    inverted = invert(host, latent, model, sampler_name=sampler, scheduler=scheduler, cfg=cfg)
    assert error(sample(host, inverted, model, cfg), latent) < 1e-6


@each_pair
def test_the_hosts_sampler_walks_over_the_picture_with_ever_less_noise(host: Host, sampler: str, kind: str) -> None:
    """Each noisy latent has a noise of its own: where the host changes its sampler, its step ends elsewhere."""
    path = Path(of_kind(host, kind))
    latent = picture(1, 16)
    sample(host, invert(host, latent, path.model, sampler_name=sampler), path.model)
    assert len(path.latents) == 2 * STEPS
    walked, repeated = path.latents[:STEPS], path.latents[STEPS:]
    clean = path.model.model.process_latent_in(latent["samples"])
    noises = []
    for x, again, sigma in zip(walked, repeated, path.sigmas, strict=False):
        assert torch.equal(x, again)
        noise = (x - (1 - sigma if kind == "FLOW" else 1) * clean) / sigma
        assert noise.std() == pytest.approx(1.0, abs=0.1)
        noises.append(noise.flatten())
    assert torch.corrcoef(torch.stack(noises)).fill_diagonal_(0).abs().max() < 0.2


@pytest.mark.parametrize(("sampler", "dtype"), [("euler_ancestral", "fp16"), ("dpmpp_2m_sde", "bf16")])
def test_a_model_that_computes_in_few_digits_comes_back(host: Host, sampler: str, dtype: str) -> None:
    from comfy_extras.nodes_model_advanced import ModelComputeDtype

    (model,) = ModelComputeDtype().patch(host.eps, dtype)
    latent = picture(2)
    assert error(sample(host, invert(host, latent, model, sampler_name=sampler), model), latent) < 1e-6


@each_pair
def test_a_concept_changes_it_and_strength_0_does_not(host: Host, sampler: str, kind: str) -> None:
    model, latent = of_kind(host, kind), picture(2)
    inverted = invert(host, latent, model, sampler_name=sampler)
    edited = [sample(host, inverted, host.patched(host.concept(strength=strength), model=model)) for strength in (0, 1)]
    assert error(edited[0], latent) < 1e-6
    assert error(edited[1], latent) > 0.01


def test_the_noise_of_the_sampler_that_follows_has_no_effect(host: Host) -> None:
    latent = picture()
    inverted = invert(host, latent)
    assert error(sample(host, inverted, add_noise=True, noise_seed=5), latent) < 1e-6
    noise, guider = host.custom.RandomNoise.execute(8)[0], guiders.cfg(CFG)(host, host.eps)
    out = host.custom.SamplerCustomAdvanced.execute(noise, guider, *inverted[1:], inverted[0])[0]["samples"]
    assert error(out, latent) < 1e-6


def test_a_seed_draws_other_noises_and_the_same_ones_each_time(host: Host) -> None:
    latent, model = picture(), host.patched(host.concept())
    first, again, other = (sample(host, invert(host, latent, seed=seed), model) for seed in (3, 3, 0xFFFFFFFFFFFFFFFF))
    assert torch.equal(first, again)
    assert error(other, {"samples": first}) > 1e-3


@each_sampler
def test_an_image_of_a_batch_is_edited_as_it_is_alone(host: Host, sampler: str) -> None:
    batch, model = picture(3), host.patched(host.concept())
    together = sample(host, invert(host, batch, sampler_name=sampler), model)
    alone = {"samples": batch["samples"][1:2], "batch_index": [1]}
    edited = sample(host, invert(host, alone, sampler_name=sampler), model)
    assert error(edited, {"samples": together[1:2]}) < 1e-4


def test_one_inversion_serves_a_batch_of_the_same_picture(host: Host) -> None:
    latent = picture()
    _, sampler, sigmas = invert(host, latent)
    row = {"samples": latent["samples"].repeat(3, 1, 1, 1)}
    model = host.patched(host.concept(strengths=[0.0, 0.5, 1.0]))
    edited = sample(host, (row, sampler, sigmas), model)
    changes = (edited - row["samples"]).flatten(1).norm(dim=1)
    assert changes[0] < 0.01 < changes[1] < changes[2]


@each_sampler
def test_later_starts_leave_out_steps_and_keep_more(host: Host, sampler: str) -> None:
    latent, model = picture(), host.patched(host.concept())
    whole = host.custom.BasicScheduler.execute(host.eps, "normal", 10, 1.0)[0]
    changes, steps = [], []
    for start in (0.0, 0.3, 0.6):
        inverted = invert(host, latent, steps=10, start_percent=start, sampler_name=sampler)
        assert torch.equal(inverted[2], whole[-len(inverted[2]) :])
        assert error(sample(host, inverted), latent) < 1e-6
        changes.append(error(sample(host, inverted, model), latent))
        steps.append(len(inverted[2]) - 1)
    assert steps == [10, 7, 4]
    assert changes[0] > changes[1] > changes[2]


@each_pair
def test_outside_a_mask_on_the_latent_nothing_changes(host: Host, sampler: str, kind: str) -> None:
    model, latent = of_kind(host, kind), picture(2)
    mask = torch.zeros((1, 1, 8, 8))
    mask[..., 4:] = 1
    latent["noise_mask"] = mask
    inverted = invert(host, latent, model, sampler_name=sampler)
    assert error(sample(host, inverted, model), latent) < 1e-6
    edited = sample(host, inverted, host.patched(host.concept(), model=model))
    torch.testing.assert_close(edited[..., :4], latent["samples"][..., :4], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(edited[..., 4:], latent["samples"][..., 4:], atol=0.01)


def test_an_inpainting_model_comes_back(host: Host) -> None:
    import comfy.model_base

    model = host.model(comfy.model_base.ModelType.EPS, in_channels=9)
    model.model.set_inpaint()
    latent = picture()
    mask = torch.zeros((1, 8, 8))
    mask[..., 4:] = 1
    concat = {"concat_latent_image": latent["samples"] * (1 - mask), "concat_mask": mask}
    prompts = {"positive": host.conditioning(1, **concat), "negative": host.conditioning(2, **concat)}
    inverted = invert(host, latent, model, **prompts)
    assert error(sample(host, inverted, model, **prompts), latent) < 1e-6
    assert error(sample(host, inverted, host.patched(host.concept(), model=model), **prompts), latent) > 0.01


def test_a_picture_under_a_controlnet_comes_back(host: Host) -> None:
    hint = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(4))
    prompts = host.conditioning(1), host.conditioning(2)
    apply = host.nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, negative = apply(*prompts, controlnet(3), hint, 1.0, 0.0, 1.0)
    latent, controlled = picture(), {"positive": positive, "negative": negative}
    inverted = invert(host, latent, **controlled)
    assert error(sample(host, inverted, **controlled), latent) < 1e-6
    assert error(sample(host, inverted), latent) > 1e-3


def refused(host: Host, **changes: Any) -> str:
    with pytest.raises(ValueError, match="SEGAInvert: ") as caught:
        invert(host, **{"latent": picture(), **changes})
    return str(caught.value)


def test_what_cannot_be_inverted_is_refused(host: Host) -> None:
    assert "one of euler_ancestral, dpmpp_2m_sde, which add noise once per step, got 'euler'" in refused(
        host, sampler_name="euler"
    )

    assert "model must not have concepts" in refused(host, model=host.patched(host.concept()))
    assert "start_percent 0.95 leaves none of 4 steps" in refused(host, steps=4, scheduler="simple", start_percent=0.95)

    assert "start_percent must be in [0, 1], got -0.1" in refused(host, start_percent=-0.1)
    assert "latent_image must be a picture, got an empty latent" in refused(host, latent=host.latent())
    assert "latent_image must have 4 channels for this model, got 16" in refused(
        host, latent={"samples": torch.ones((1, 16, 8, 8))}
    )
    assert "seed must be in [0, 18446744073709551615], got -1" in refused(host, seed=-1)
    assert "steps must be in [1, 10000], got 0" in refused(host, steps=0)
    assert "cfg must be a finite number, got nan" in refused(host, cfg=float("nan"))
    # It repeats noise levels where there are more steps than the model has.
    assert "adds no noise" in refused(host, steps=1200, scheduler="simple")


def test_a_sampler_that_follows_with_something_else_is_refused(host: Host) -> None:
    import comfy.model_base

    latent, sampler, sigmas = invert(host, picture())
    flipped = host.custom.FlipSigmas.execute(sigmas)[0]
    other = host.custom.BasicScheduler.execute(host.eps, "karras", STEPS, 1.0)[0]
    larger, flow = picture(1, 16), host.model(comfy.model_base.ModelType.FLOW)
    predicts_v = host.model(comfy.model_base.ModelType.V_PREDICTION)
    cases = [
        ((latent, sampler, flipped), {}, "sigmas must fall, got a schedule that rises from"),
        ((latent, sampler, other), {}, "sigmas must match the inversion, 8 steps from 14.6146 to 0, got 8 steps"),
        ((latent, sampler, sigmas[:4]), {}, "got 3 steps from"),
        ((larger, sampler, sigmas), {}, r"latent_image must match the inversion, \(1, 4, 8, 8\), got"),
        ((latent, sampler, sigmas), {"model": predicts_v}, r"inversion, BaseModel \(EPS\), got BaseModel \(V_"),
        ((latent, sampler, sigmas), {"model": flow}, r"got BaseModel \(FLOW\); connect the same model to both"),
    ]
    for inverted, changes, message in cases:
        with pytest.raises(ValueError, match=f"SEGAInvert: .*{message}"):
            sample(host, inverted, **changes)
    assert error(sample(host, (latent, sampler, sigmas)), latent) < 1e-6


def test_another_cfg_is_noted_in_the_log(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    inverted = invert(host, picture())
    sample(host, inverted)
    assert not caplog.records
    sample(host, inverted, cfg=2.0)
    assert "cfg is 2 in the sampler but was 6 in the inversion" in caplog.text
