"""Invalid set-ups raise an error that names what is wrong; unusual ones give the image that they mean."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from dev.host.passes import Passes
from support import guiders
from support.core import noise
from support.host import Host
from support.models import FLUX, UNET, family_model, model_of, sdxl_model, tiny_config

REFUSED = "Refused with a clear error"
UNUSUAL = "Unusual inputs"


def mentions(*parts: object) -> str:
    return ".*".join(re.escape(str(part)) for part in parts)


# Models of the host's unusual families: the class, and in what its UNet differs.
NUMBERED = {"num_classes": "sequential"}
VIDEO = {"in_channels": 8, "adm_in_channels": 3 * 256, **NUMBERED, "video_kernel_size": [3, 1, 1]}
VIDEO |= {"use_temporal_attention": True, "use_temporal_resblock": True, "extra_ff_mix_layer": True}
NO_TEXT = {"context_dim": None, "use_spatial_transformer": False, "transformer_depth": [0, 0]}
NO_TEXT |= {"transformer_depth_middle": -1, "transformer_depth_output": [0, 0, 0, 0]}
CASCADE = {"c_cond": 32, "c_hidden": [32, 64], "nhead": [-1, 4], "c_clip": 32, "level_config": ["CT", "CTA"]}
CASCADE |= {"blocks": [[1, 1], [1, 1]], "block_repeat": [[1, 1], [1, 1]]}


def make_model(kind: str) -> Any:
    import comfy.model_base

    class TextIgnored(comfy.model_base.BaseModel):
        def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
            return super().extra_conds(**{key: value for key, value in kwargs.items() if key != "cross_attn"})

    if kind == "cascade":
        return model_of(comfy.model_base.StableCascade_B(tiny_config(CASCADE, "SC_B")))
    if kind == "video":
        levels = {"sigma_max": 700.0, "sigma_min": 0.002}
        video = {**UNET, **VIDEO, "merge_strategy": "learned_with_images"}
        return model_of(comfy.model_base.SVD_img2vid(tiny_config(video, **levels)))
    if kind == "lotus":
        return model_of(comfy.model_base.Lotus(tiny_config({**UNET, "adm_in_channels": 4, **NUMBERED})))
    return sdxl_model() if kind == "sdxl" else model_of(TextIgnored(tiny_config({**UNET, **NO_TEXT})))


def embedding(*shape: int, seed: int = 0) -> torch.Tensor:
    return noise(*shape, seed=3000 + seed)


def concept(host: Host, tensor: torch.Tensor | None = None, **values: Any) -> Any:
    """Return a concept of any embedding, with whatever else stands in its conditioning; it edits everywhere."""
    settings = {"guidance_scale": 5.0, "threshold": 0.0, "start_percent": 0.0}
    settings |= {key: values.pop(key) for key in settings if key in values}
    return replace(host.concept(**settings), conditioning=[[tensor, values]])


def prompts(host: Host, **values: Any) -> dict[str, Any]:
    return {"positive": host.conditioning(1, **values), "negative": host.conditioning(2, **values)}


def pooled_prompts(host: Host) -> dict[str, Any]:
    prior = torch.zeros(1, 16, 4, 4)
    return prompts(host, pooled_output=embedding(1, 32, seed=1), stable_cascade_prior=prior)


@pytest.mark.compat(REFUSED, "a concept encoded for another model, empty or not finite")
@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (embedding(1, 77, 48), (48, 32)),
        (embedding(77, 32), ("shape",)),
        (embedding(1, 0, 32), ("empty",)),
        (None, ("no text",)),
        (torch.full((1, 77, 32), math.nan), ("finite",)),
    ],
    ids=["width", "no batch axis", "no tokens", "no embedding", "nan"],
)
def test_an_embedding_that_does_not_fit_is_named(
    host: Host, tensor: torch.Tensor | None, words: tuple[Any, ...]
) -> None:
    passes = Passes(host.eps)
    other = concept(host, tensor)
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 2", *words)):
        host.sega(host.concept(), other, model=passes.model)
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 1", *words)):
        host.sega(host.concept(10, [[tensor, {}]]), model=passes.model)
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch: concepts: concept 1", *words)):
        host.sample(host.patched(other, model=passes.model))
    assert not passes.labels


@pytest.mark.compat(REFUSED, "a concept encoded for another model, empty or not finite")
@pytest.mark.parametrize(
    ("kind", "pooled", "words"), [("sdxl", None, ()), ("sdxl", 48, (48, 32)), ("cascade", None, ())]
)
def test_a_pooled_output_that_does_not_fit_is_named(host: Host, kind: str, pooled: int | None, words: tuple) -> None:
    values = {} if pooled is None else {"pooled_output": embedding(1, pooled)}
    other, model = concept(host, embedding(1, 77, 32), **values), make_model(kind)
    given = pooled_prompts(host)
    fitting = concept(host, embedding(1, 77, 32), pooled_output=embedding(1, 32))
    assert host.sega(fitting, model=model, **given).isfinite().all()
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 1", "pooled", *words)):
        host.sega(other, model=model, **given)


@pytest.mark.compat(REFUSED, "a guider without a positive or a negative prompt")
def test_a_guider_without_the_prompts_is_refused(host: Host) -> None:
    import comfy.samplers

    class Guider(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None) -> Any:
            cond = self.conds["main"]
            return comfy.samplers.sampling_function(self.inner_model, x, timestep, None, cond, 1.0, model_options, seed)

    def make_guider(model: Any) -> Guider:
        guider = Guider(model)
        guider.inner_set_conds({"main": host.conditioning(1)})
        return guider

    assert host.guide(make_guider(host.eps)).isfinite().all()
    guider = make_guider(host.patched(host.concept()))
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch: concepts", "prompt", "Guider")):
        host.guide(guider)
    assert set(guider.conds) == {"main"}


@pytest.mark.compat(REFUSED, "a guider without a positive or a negative prompt")
def test_prompts_that_are_empty_lists_are_refused(host: Host) -> None:
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts", "prompt")):
        host.sega(host.concept(), positive=[], negative=[])


def custom(
    host: Host, *concepts: Any, sampler: Any = None, sigmas: list[float] | None = None, **settings: Any
) -> torch.Tensor:
    """Sample with SamplerCustomAdvanced over any sigmas with any sampler."""
    guider, noises = guiders.cfg(4.0)(host, host.patched(*concepts, **settings)), host.custom.RandomNoise.execute(3)[0]
    chosen = sampler or host.samplers.sampler_object("euler")
    schedule = torch.tensor([14.6, 5.0, 1.0, 0.0] if sigmas is None else sigmas)
    return host.custom.SamplerCustomAdvanced.execute(noises, guider, chosen, schedule, host.latent())[0]["samples"]


@pytest.mark.compat(REFUSED, "a guider or sampler that predicts in a way of its own")
def test_a_sampler_with_predictions_of_its_own_is_refused(host: Host) -> None:
    def sample(wrap: Any, x: Any, sigmas: Any, extra_args: dict[str, Any], **kwargs: Any) -> Any:
        guider, options = wrap.inner_model, extra_args["model_options"]
        conds = guider.conds["negative"], guider.conds["positive"]
        return host.samplers.sampling_function(guider.inner_model, x, sigmas[:1], *conds, 4.0, options)

    sampler = host.samplers.KSAMPLER(sample)
    assert custom(host, sampler=sampler).isfinite().all()
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch: concepts", "sampler", "CFGGuider or KSampler")):
        custom(host, host.concept(), sampler=sampler)


@pytest.mark.compat(REFUSED, "a model that takes no text")
@pytest.mark.parametrize("kind", ["text ignored", "cascade"])
def test_a_model_that_takes_no_text_is_refused(host: Host, kind: str) -> None:
    model, given = make_model(kind), pooled_prompts(host)
    chosen = concept(host, embedding(1, 77, 32), pooled_output=given["negative"][0][1]["pooled_output"])
    assert host.sega(model=model, **given).isfinite().all()
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 1", "takes no text")):
        host.sega(chosen, model=model, **given)


def test_a_text_that_differs_in_what_the_model_does_not_read_is_not_refused(host: Host) -> None:
    given = pooled_prompts(host)
    same = concept(host, given["negative"][0][0], pooled_output=embedding(1, 32, seed=9))
    assert host.sega(same, **given).isfinite().all()


def test_flux_does_without_a_pooled_output_but_not_with_another_models(host: Host) -> None:
    model = family_model("Flux", {**FLUX, "guidance_embed": False})
    given = {"model": model, "latent": {"samples": torch.zeros(1, 16, 8, 8)}, **pooled_prompts(host)}
    assert host.sega(concept(host, embedding(1, 9, 32)), **given).isfinite().all()
    with pytest.raises(ValueError, match=mentions("concept 1", "pooled", 48, 32)):
        host.sega(concept(host, embedding(1, 9, 32), pooled_output=embedding(1, 48)), **given)


@pytest.mark.compat(REFUSED, "a latent image of another model, empty or not finite")
@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.ones(1, 16, 8, 8), (4, 16)),
        (torch.ones(1, 4, 1, 8, 8), (4, 5)),
        (torch.zeros(1, 64, 100), (4, 3)),
        (torch.zeros(0, 4, 8, 8), ("0, 4, 8, 8",)),
        (torch.full((1, 4, 8, 8), math.inf), ("finite",)),
    ],
    ids=["channels", "video", "empty sound", "no image", "infinite"],
)
def test_a_latent_image_that_does_not_fit_is_named(host: Host, samples: torch.Tensor, words: tuple[Any, ...]) -> None:
    passes = Passes(host.eps)
    with pytest.raises(ValueError, match=mentions("SEGASampler: latent_image", *words)):
        host.sega(host.concept(), model=passes.model, latent={"samples": samples})
    assert not passes.labels


def predicted(host: Host, model: Any, text: Any, latent: dict[str, Any]) -> torch.Tensor:
    """Return what the model makes of one text alone in a single step."""
    return host.sample(model, positive=text, negative=text, cfg=1.0, steps=1, latent=latent)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("lotus", marks=pytest.mark.compat(UNUSUAL, "depth models (Lotus)")),
        pytest.param("video", marks=pytest.mark.compat(UNUSUAL, "image to video with a text (SVD)")),
    ],
)
def test_models_that_start_from_an_image_are_edited_by_the_concept(host: Host, kind: str) -> None:
    model, latent = make_model(kind), host.latent(3, fill=0.5)
    other = host.conditioning(10)
    edited = host.sega(concept(host, other[0][0], guidance_scale=2.0), model=model, latent=latent, steps=1)
    plain = host.sega(model=model, latent=latent, steps=1)
    moved = 2.0 * (predicted(host, model, other, latent) - predicted(host, model, host.conditioning(2), latent))
    assert edited.isfinite().all()
    assert moved.norm() > 1e-2 * plain.norm()
    assert (edited - plain - moved).norm() < 1e-2 * moved.norm()


@pytest.mark.compat(UNUSUAL, "cfg 0 and cfg below 1")
@pytest.mark.parametrize("guidance_scale", [5.0, 0.0], ids=["absolute", "in units of cfg"])
@pytest.mark.parametrize("cfg", [0.0, 0.5])
def test_an_edit_is_as_strong_as_its_scale_says_at_any_cfg(host: Host, cfg: float, guidance_scale: float) -> None:
    chosen = concept(host, embedding(1, 77, 32), guidance_scale=guidance_scale)
    weak, strong = (host.sega(chosen, cfg=at, steps=1) - host.sega(cfg=at, steps=1) for at in (cfg, 4.0))
    assert strong.norm() > 1e-2 * host.sega(cfg=4.0, steps=1).norm()
    share = 1 if guidance_scale else cfg / 4
    assert (weak - share * strong).norm() < 1e-3 * strong.norm()
    assert host.sega(chosen, cfg=cfg).isfinite().all()


@pytest.mark.compat(UNUSUAL, "no steps, denoise 0, schedules that are empty or stand still")
@pytest.mark.parametrize("nothing", [{"steps": 0}, {"denoise": 0.0}], ids=str)
def test_nothing_to_sample_returns_the_latent_image(host: Host, nothing: dict[str, Any]) -> None:
    latent = host.latent(2, fill=0.3)
    assert torch.equal(host.sega(host.concept(), latent=latent, **nothing), latent["samples"])


@pytest.mark.compat(UNUSUAL, "no steps, denoise 0, schedules that are empty or stand still")
@pytest.mark.parametrize("sigmas", [[], [14.6], [5.0, 5.0]], ids=str)
def test_a_schedule_that_leads_nowhere_is_the_plain_one(host: Host, sigmas: list[float]) -> None:
    edited = custom(host, host.concept(), sigmas=sigmas)
    assert edited.isfinite().all()
    assert torch.equal(edited, custom(host, sigmas=sigmas))


@pytest.mark.compat(UNUSUAL, "no steps, denoise 0, schedules that are empty or stand still")
@pytest.mark.parametrize(
    "sigmas", [[14.6, 14.6, 5.0, 1.0, 0.0], [14.6, 5.0, 5.0, 5.0, 1.0, 0.0]], ids=["at the start", "in between"]
)
def test_a_step_that_stands_still_changes_nothing(host: Host, sigmas: list[float]) -> None:
    chosen = concept(host, embedding(1, 77, 32))
    still, straight = (
        custom(host, chosen, sigmas=each, momentum_scale=0.0) for each in (sigmas, [14.6, 5.0, 1.0, 0.0])
    )
    assert (still - straight).norm() < 1e-3 * (straight - custom(host)).norm()


@pytest.mark.compat(UNUSUAL, "latents of any size, embeddings of any batch and length")
@pytest.mark.parametrize("size", [(1, 1), (7, 9)], ids=str)
def test_latents_of_odd_sizes_are_edited(host: Host, size: tuple[int, int]) -> None:
    latent = {"samples": torch.zeros(1, 4, *size)}
    edited, plain = host.sega(host.concept(), latent=latent), host.sega(latent=latent)
    assert edited.shape == (1, 4, *size)
    assert edited.isfinite().all()
    assert not torch.equal(edited, plain)


@pytest.mark.compat(UNUSUAL, "latents of any size, embeddings of any batch and length")
@pytest.mark.parametrize("tokens", [1, 154])
def test_embeddings_of_any_length_edit(host: Host, tokens: int) -> None:
    edited = host.sega(concept(host, embedding(1, tokens, 32)))
    assert edited.isfinite().all()
    assert (edited - host.sega()).norm() > 1e-3 * edited.norm()


@pytest.mark.compat(UNUSUAL, "latents of any size, embeddings of any batch and length")
def test_each_image_takes_its_row_of_an_embedding(host: Host) -> None:
    rows, latent = embedding(2, 77, 32), host.latent(3)
    edited, plain = host.sega(concept(host, rows), latent=latent), host.sega(latent=latent)
    alone = [host.sega(concept(host, row[None]), latent=latent) for row in rows]
    assert not torch.allclose(alone[0], alone[1])
    for image in range(3):
        expected = alone[image % 2][image]
        assert (edited[image] - expected).norm() < 1e-3 * (expected - plain[image]).norm()


@pytest.mark.compat(UNUSUAL, "the same concept twice, SEGA on top of SEGA")
@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_the_same_concept_twice_is_one_of_twice_the_weight(host: Host, mode: str) -> None:
    once = host.concept(threshold=0.0)
    double = host.concept(threshold=0.0, weight=2.0)
    twice, expected = host.sega(once, once, mode=mode), host.sega(double, mode=mode)
    size = (expected - host.sega()).norm()
    assert (twice - expected).norm() < 1e-3 * size
    assert (twice - host.sega(once, mode=mode)).norm() > 0.1 * size


@pytest.mark.compat(UNUSUAL, "the same concept twice, SEGA on top of SEGA")
def test_sega_on_a_patched_model_makes_both_edits(host: Host) -> None:
    first, other = (concept(host, embedding(1, 77, 32, seed=seed)) for seed in (1, 2))
    patched, plain = host.patched(first), host.sega(steps=1)
    one, two, both = (
        host.sega(*outer, model=model, steps=1) - plain
        for outer, model in (([], patched), ([other], host.eps), ([other], patched))
    )
    # In a single step no edit sees what the other has changed: they add up.
    assert min(one.norm(), two.norm()) > 1e-3 * plain.norm()
    assert (both - one - two).norm() < 1e-3 * both.norm()
