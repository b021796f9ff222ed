"""Fed with LEDITS++'s estimates and attention, or run on its weights, masks and thresholds give LEDITS++'s guidance.

The reference is diffusers' pipeline, on one image: of several it mixes up heads and images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from support.core import noise
from support.evaluations import Seen
from support.host import Host
from support.pipeline import NO_CHECKER, diffusers_unet, fill_with_noise, load_weights
from support.tensors import distance, relative

SIZE, LENGTH = 16, 12
# Of 8 steps the first is left out, as LEDITS++ leaves out the first of an inversion.
STEPS, SKIPPED = 7, 1
NEGATIVE = "blurry"
MASKS_ROW = "masks per concept"
SPACE_ROW = "threshold over space (LEDITS++)"
INVERSION_ROW = "real images: inversion, img2img"
ATTENTION_ROW = "attention masks (LEDITS++), beside other attention patches"
UNET = {
    "channel_mult": [1, 2, 2],
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1] * 6,
}


def ramp() -> Tensor:
    """A soft mask that leaves out the left quarter."""
    return torch.linspace(-1 / 3, 1, SIZE).clamp(min=0).expand(SIZE, SIZE).clone()


@dataclass(frozen=True)
class Kind:
    """One way of LEDITS++ to choose where it edits, in its words and in ours."""

    theirs: dict[str, Any]
    threshold: float
    attention_threshold: float
    mask: bool = False


NO_ATTENTION = {"use_intersect_mask": False, "use_cross_attn_mask": False}
ATTENTION_ALONE = {"use_intersect_mask": False, "use_cross_attn_mask": True}
BOTH = {"use_intersect_mask": True}
KINDS = {
    "no mask": Kind(NO_ATTENTION, 0.9, 0.0),
    "user mask": Kind(NO_ATTENTION, 0.8, 0.0, mask=True),
    "attention alone, user mask": Kind(ATTENTION_ALONE, 0.0, 0.5, mask=True),
    "both masks": Kind(BOTH, 0.6, 0.6),
    "both masks, user mask": Kind(BOTH, 0.8, 0.8, mask=True),
}
ROWS = {kind: ATTENTION_ROW if KINDS[kind].attention_threshold else SPACE_ROW for kind in KINDS} | {
    "user mask": MASKS_ROW
}
kinds = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=name, marks=pytest.mark.compat("Features", ROWS[name])) for name, kind in KINDS.items()],
)


# The concepts: their texts and settings.
TEXTS = ["old dog", "glasses", "a purple hat"]
SCALES = [5.0, 7.5, 3.0]
REMOVED = [False, True, False]
WARMUP = [0, 2, 1]
COOLDOWN = [STEPS, STEPS, 5]


def theirs(kind: Kind) -> dict[str, Any]:
    """Return the edit as arguments of the pipeline."""
    return {
        "editing_prompt": TEXTS,
        "edit_guidance_scale": SCALES,
        "reverse_editing_direction": REMOVED,
        "edit_warmup_steps": WARMUP,
        "edit_cooldown_steps": COOLDOWN,
        "edit_threshold": kind.threshold or kind.attention_threshold,
        "user_mask": ramp().view(1, 1, SIZE, SIZE) if kind.mask else None,
        **kind.theirs,
    }


def ours(kind: Kind) -> list[dict[str, Any]]:
    """Return the edit as settings of concepts."""
    return [
        {
            "direction": "remove" if removed else "add",
            "guidance_scale": scale,
            "warmup_steps": warmup,
            "cooldown_steps": cooldown,
            "threshold": kind.threshold,
            "threshold_over": "space",
            "attention_threshold": kind.attention_threshold,
        }
        for scale, removed, warmup, cooldown in zip(SCALES, REMOVED, WARMUP, COOLDOWN, strict=True)
    ]


@dataclass(frozen=True)
class Record:
    """What LEDITS++ made of an edit: per step its latents, estimates, attention per concept (1, h, w) and guidance."""

    latents: list[Tensor]
    estimates: list[tuple[Tensor, ...]]
    attention: list[dict[int, Tensor]]
    guidance: Tensor
    timesteps: list[int]
    result: Tensor


class Ledits:
    """Diffusers' LEDITS++ around tiny networks with three levels."""

    def __init__(self, pipeline: Any) -> None:
        from diffusers import LEditsPPPipelineStableDiffusion

        unet = diffusers_unet(SIZE, 32, 64, 64)
        fill_with_noise(unet, 5)
        # Random weights look at every word alike; with these a place looks at some words more than at others.
        for name, parameter in unet.named_parameters():
            if "attn2.to_q" in name or "attn2.to_k" in name:
                parameter.data *= 2
        unet.eval()
        parts = {name: getattr(pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
        self.pipe = LEditsPPPipelineStableDiffusion(**parts, unet=unet, **NO_CHECKER)
        self.pipe.set_progress_bar_config(disable=True)
        self.records: dict[str, Record] = {}

    def embedding(self, text: str) -> Tensor:
        ids = self.pipe.tokenizer(text, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
        return self.pipe.text_encoder(ids)[0].clone()

    def words(self, text: str) -> tuple[int, ...]:
        return tuple(range(1, len(self.pipe.tokenizer(text).input_ids) - 1))

    def record(self, kind: Kind, skipped: int = SKIPPED) -> Record:
        """Sample without the noise of an inversion; keep what every step saw and gave."""
        key = repr((kind, skipped))
        if key not in self.records:
            self.records[key] = self._record(kind, skipped)
        return self.records[key]

    def _record(self, kind: Kind, skipped: int) -> Record:
        from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import LeditsAttentionStore

        pipe = self.pipe
        latents: list[Tensor] = []
        estimates: list[tuple[Tensor, ...]] = []
        attention: list[dict[int, Tensor]] = []
        aggregate, encode = LeditsAttentionStore.aggregate_attention, pipe.encode_prompt

        def keep_estimates(module: Any, args: Any, out: Any) -> None:
            latents.append(args[0][:1].clone())
            estimates.append(out.sample.chunk(1 + len(TEXTS)))
            attention.append({})

        def keep_attention(store: Any, **arguments: Any) -> Tensor:
            maps, concept = aggregate(store, **arguments), arguments["select"]
            attention[-1][concept] = maps[..., list(self.words(TEXTS[concept]))].sum(-1)
            return maps

        def count_words(*args: Any, **kwargs: Any) -> Any:
            # Diffusers counts the padding as words with the tokenizers of today.
            concepts, negative, _ = encode(*args, **kwargs)
            return concepts, negative, [len(self.words(text)) for text in TEXTS]

        pipe.scheduler.set_timesteps(STEPS + SKIPPED)
        pipe.inversion_steps = pipe.scheduler.timesteps[skipped:]
        pipe.init_latents = noise(1, 4, SIZE, SIZE)
        pipe.zs = torch.zeros((len(pipe.inversion_steps), *pipe.init_latents.shape))
        pipe.eta, pipe.batch_size = 0.0, 1
        hook = pipe.unet.register_forward_hook(keep_estimates)
        LeditsAttentionStore.aggregate_attention, pipe.encode_prompt = keep_attention, count_words
        try:
            result = pipe(negative_prompt=NEGATIVE, output_type="latent", **theirs(kind)).images
        finally:
            hook.remove()
            LeditsAttentionStore.aggregate_attention, pipe.encode_prompt = aggregate, encode
        return Record(latents, estimates, attention, pipe.sem_guidance, pipe.inversion_steps.tolist(), result)


@pytest.fixture(scope="module")
def ledits(pipeline: Any) -> Ledits:
    return Ledits(pipeline)


@pytest.fixture(scope="module")
def twin(host: Host, ledits: Ledits) -> Any:
    """The host's MODEL with LEDITS++'s UNet weights."""
    model = host.model(host.eps.model.model_type, **copy.deepcopy(UNET))
    load_weights(ledits.pipe.unet, model, {**UNET, "transformer_depth_middle": 1})
    return model


@kinds
def test_fed_with_its_estimates_and_attention_the_guidance_is_leditspps(host: Host, ledits: Ledits, kind: Kind) -> None:
    record = ledits.record(kind)
    for step in range(STEPS):
        got, want = fed(host, record, kind, step), record.guidance[step]
        assert want.any()
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6 * float(want.abs().max()))


def fed(host: Host, record: Record, kind: Kind, step: int) -> Tensor:
    """Return our guidance from LEDITS++'s estimates and attention."""
    core = host.pack.sega_core
    concepts = [core.Concept(**settings) for settings in ours(kind)]
    run = core.GuidanceRun(concepts, core.Settings(momentum_scale=0.0, mode="independent"), len(record.timesteps))
    mask = ramp().view(1, 1, SIZE, SIZE) if kind.mask else None
    baseline, *estimates = record.estimates[step]
    attention = record.attention[step]
    return run.guidance(
        step, {c: core.Comparison(estimates[c] - baseline, 1.0, mask, attention.get(c)) for c in run.needed(step)}
    )


@pytest.mark.compat("Features", ATTENTION_ROW)
def test_where_there_is_more_noise_leditspp_leaves_out_the_threshold_of_the_estimates(
    host: Host, ledits: Ledits
) -> None:
    """The known difference: here both masks hold from the first step on."""
    kind = KINDS["both masks"]
    record = ledits.record(kind, skipped=0)
    assert record.timesteps[0] > 800 >= record.timesteps[1]
    alone = fed(host, record, Kind(kind.theirs, 0.0, kind.attention_threshold), 0)
    assert distance(alone, record.guidance[0]) < 1e-5
    both = fed(host, record, kind, 0)
    assert torch.equal(both, torch.where(both != 0, alone, 0))
    assert (both != 0).sum() < (alone != 0).sum()
    assert distance(fed(host, record, kind, 1), record.guidance[1]) < 1e-5


def concept_of(host: Host, ledits: Ledits, text: str, **settings: Any) -> Any:
    node = host.pack.nodes.SEGAConceptFromConditioning
    return node.execute([[ledits.embedding(text), {}]], strength=1.0, **settings)[0]


def patched(host: Host, ledits: Ledits, model: Any, kind: Kind) -> Any:
    """Return the MODEL with the concepts."""
    chosen = []
    for text, settings in zip(TEXTS, ours(kind), strict=True):
        # A step is a share of all steps, and the first ones are left out.
        for step, percent in (("warmup_steps", "start_percent"), ("cooldown_steps", "end_percent")):
            settings[percent] = (settings.pop(step) + SKIPPED) / (STEPS + SKIPPED)
        concept = concept_of(host, ledits, text, mask=ramp() if kind.mask else None, **settings)
        chosen.append(replace(concept, token_positions=ledits.words(text)))
    return host.patched(*chosen, model=model, momentum_scale=0.0, mode="independent")


def sample(host: Host, ledits: Ledits, model: Any, record: Record, step: int = 0, steps: int = STEPS) -> Tensor:
    """Follow LEDITS++ from one of its latents for some steps at cfg 1; return latents in its scale."""
    import comfy.sample

    sigmas = model.get_model_object("model_sampling").sigmas[record.timesteps]
    sigmas = torch.cat([sigmas, torch.zeros(1)])[step : step + steps + 1]
    start = record.latents[step] * (1 + sigmas[0] ** 2).sqrt() / sigmas[0]
    prompt, euler = [[ledits.embedding(NEGATIVE), {}]], host.samplers.sampler_object("euler")
    nothing = torch.zeros_like(start)
    out = comfy.sample.sample_custom(model, start, 1.0, euler, sigmas, prompt, prompt, nothing, disable_pbar=True)
    return out * model.model.latent_format.scale_factor


def acting(step: int) -> list[int]:
    return [c for c in range(len(TEXTS)) if WARMUP[c] <= step < COOLDOWN[c]]


@kinds
def test_a_step_on_its_weights_gives_its_guidance(
    host: Host, ledits: Ledits, twin: Any, evaluations: list[Seen], kind: Kind
) -> None:
    record, model = ledits.record(kind), patched(host, ledits, twin, kind)
    for step in range(STEPS):
        sample(host, ledits, model, record, step, 1)
    assert len(evaluations) == STEPS
    for step in range(STEPS):
        assert distance(evaluations[step].guidance, record.guidance[step]) < 1e-3
        attention = list(evaluations[step].attention.values())
        assert len(attention) == (len(acting(step)) if kind.attention_threshold else 0)
        for concept, got in zip(acting(step), attention, strict=False):
            torch.testing.assert_close(got, record.attention[step][concept], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["no mask", "both masks, user mask"])
def test_a_whole_sampling_on_its_weights_ends_in_its_latents(host: Host, ledits: Ledits, twin: Any, name: str) -> None:
    record = ledits.record(KINDS[name])
    unedited = sample(host, ledits, twin, record)
    got = sample(host, ledits, patched(host, ledits, twin, KINDS[name]), record)
    assert distance(unedited, record.result) > 0.1
    assert relative(got - record.result, record.result - unedited) < 0.01


def test_each_kind_edits_elsewhere(ledits: Ledits) -> None:
    """The comparisons above would hold for masks that are all black or all white."""
    guidance = [ledits.record(kind).guidance[3] for kind in KINDS.values()]
    assert all(0.05 < float((one != 0).float().mean()) < 0.95 for one in guidance)
    assert all(distance(one, other) > 0.1 for i, one in enumerate(guidance) for other in guidance[:i])


@dataclass(frozen=True)
class Inversion:
    """LEDITS++'s inversion of a picture: its noises, the latent that it starts from and the edited latents."""

    picture: Tensor
    drawn: list[Tensor]
    sigmas: Tensor
    timesteps: list[int]
    start: Tensor
    noises: Tensor
    edited: Tensor


@pytest.fixture(scope="module")
def inversion(ledits: Ledits) -> Inversion:
    """Invert a picture and edit it with LEDITS++'s own sampler, SDE-DPM-Solver++ of second order, and default skip."""
    from diffusers import DPMSolverMultistepScheduler
    from diffusers.pipelines.ledits_pp import pipeline_leditspp_stable_diffusion as module

    pipe = copy.copy(ledits.pipe)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    kind = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "steps_offset": 1}
    pipe.scheduler = DPMSolverMultistepScheduler(**betas, **kind)
    picture, *drawn = noise(STEPS + 1, 1, 4, SIZE, SIZE, seed=2).unbind()
    # The pipeline draws for the last step first.
    waiting = list(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "randn_tensor", lambda **_: waiting.pop())
        patch.setattr(pipe, "encode_image", lambda *_, **__: (picture, None), raising=False)
        pipe.invert(None, num_inversion_steps=STEPS)
        noises = pipe.zs.clone()
        edited = pipe(
            editing_prompt=TEXTS,
            edit_guidance_scale=SCALES,
            reverse_editing_direction=REMOVED,
            use_intersect_mask=False,
            output_type="latent",
        ).images
    levels = pipe.scheduler.sigmas[-STEPS - 1 :]
    return Inversion(picture, drawn, levels, pipe.inversion_steps.tolist(), pipe.init_latents, noises, edited)


@pytest.fixture
def ours_inverted(
    host: Host, ledits: Ledits, twin: Any, inversion: Inversion, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, ...]:
    """Return what SEGAInvert gives for the picture, with the noises that LEDITS++ drew and its noise levels."""
    import comfy.sample
    import comfy.samplers

    waiting = iter(inversion.drawn)
    monkeypatch.setattr(comfy.sample, "prepare_noise_inner", lambda *_: next(waiting))
    theirs = comfy.samplers.SchedulerHandler(lambda model_sampling, steps: inversion.sigmas)
    monkeypatch.setitem(comfy.samplers.SCHEDULER_HANDLERS, "leditspp", theirs)
    empty = [[ledits.embedding(""), {}]]
    latent = {"samples": inversion.picture / twin.model.latent_format.scale_factor}
    arguments = (twin, 0, STEPS, 1.0, "dpmpp_2m_sde", "leditspp", empty, empty, latent, 0.0)
    return host.pack.nodes.SEGAInvert.execute(*arguments).args


@pytest.mark.compat("Features", INVERSION_ROW)
def test_an_inversion_finds_leditspps_noises(ours_inverted: tuple[Any, ...], inversion: Inversion) -> None:
    walk = ours_inverted[1].walk
    assert len(walk.noises) == STEPS - 1
    for step, (got, want) in enumerate(zip(walk.noises, inversion.noises, strict=False)):
        assert distance(got, want) < 1e-4, step
    # LEDITS++ does not keep what its last step leaves of the picture.
    assert not inversion.noises[-1].any()
    assert walk.remainder.norm() > 0.01 * inversion.picture.norm()


@pytest.mark.compat("Features", INVERSION_ROW)
def test_an_edited_picture_is_leditspps_with_the_remainder(
    host: Host, ledits: Ledits, twin: Any, ours_inverted: tuple[Any, ...], inversion: Inversion
) -> None:
    settings = {"threshold": 0.9, "threshold_over": "space", "start_percent": 0.0}
    concepts = [
        concept_of(host, ledits, text, direction="remove" if out else "add", guidance_scale=scale, **settings)
        for text, scale, out in zip(TEXTS, SCALES, REMOVED, strict=True)
    ]
    empty = [[ledits.embedding(""), {}]]
    latent, sampler, sigmas = ours_inverted
    factor = twin.model.latent_format.scale_factor

    def sampled(model: Any) -> Tensor:
        given = (model, False, 0, 1.0, empty, empty, sampler, sigmas, latent)
        return host.custom.SamplerCustom.execute(*given)[0]["samples"] * factor

    back = sampled(twin)
    edited = sampled(host.patched(*concepts, model=twin, momentum_scale=0.0, mode="independent"))
    assert distance(back, inversion.picture) < 1e-6
    assert distance(edited, back) > 0.1
    assert relative(edited - sampler.walk.remainder - inversion.edited, edited - back) < 0.01
