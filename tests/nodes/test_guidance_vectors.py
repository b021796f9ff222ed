"""Guidance vectors: equal to diffusers' `sem_guidance`, and the same edit again wherever they are added.

A sampler that evaluates each step once, at its own noise level, makes the same bits again. One that evaluates between
the steps (Heun, DPM-2) gets the step's one vector there, and comes near.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import load_file
from dev.host.passes import Passes
from support.core import noise
from support.families import sampled
from support.host import Host
from support.pipeline import pipeline_arguments, random_edit
from support.tensors import relative

pytestmark = pytest.mark.compat(
    "Features", "guidance vectors: kept, saved, loaded, applied to another prompt or number of steps"
)

KINDS = ["EPS", "V_PREDICTION", "FLOW"]
VALUES = {
    "seed": 3, "steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
    "momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "reference",
}  # fmt: skip
# Another test file of this folder, for what it samples with.
parity = load_file("for_guidance_vectors", Path(__file__).with_name("test_parity_reference.py"))


@pytest.fixture(scope="module")
def models(host: Host) -> dict[str, Any]:
    import comfy.model_base

    return {kind: host.model(comfy.model_base.ModelType[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def silent(host: Host) -> dict[str, Any]:
    """Models that predict nothing: what is added to their estimates is all that happens."""
    import comfy.model_base

    made = {kind: host.model(comfy.model_base.ModelType[kind]) for kind in ("EPS", "FLOW")}
    for model in made.values():
        for parameter in model.model.diffusion_model.parameters():
            parameter.data.zero_()
    return made


def record(
    host: Host, sample: Callable[[Any], Any], *concepts: Any, model: Any = None, guidance: Any = None, **settings: Any
) -> tuple[Any, Any]:
    """Sample with a model that records; return what `sample` did and the vectors."""
    settings = {"momentum_scale": 0.3, **settings}
    patched, runs = host.recording(*concepts, model=model, guidance=guidance, **settings)
    out = sample(patched)
    assert len(runs) == 1
    return out, runs[0]


def custom(host: Host, model: Any, sampler: str, sigmas: Sequence[float], seed: int = 3) -> torch.Tensor:
    """Sample a schedule with SamplerCustom."""
    return host.custom.SamplerCustom.execute(
        model,
        True,
        seed,
        4.0,
        host.conditioning(1),
        host.conditioning(2),
        host.samplers.sampler_object(sampler),
        torch.tensor(sigmas),
        host.latent(),
    )[0]["samples"]


# Parity.


def concepts_of(host: Host, pipeline: Any, edit: dict[str, Any]) -> list[Any]:
    """Return the pipeline's concepts; a node takes a step as its share of all steps."""
    concepts = []
    for text, settings in zip(edit["prompts"], edit["concepts"], strict=False):
        given = dict(settings)
        given["start_percent"] = given.pop("warmup_steps") / parity.STEPS
        given["end_percent"] = (given.pop("cooldown_steps") or parity.STEPS) / parity.STEPS
        concepts.append(host.concept(parity.embedding(pipeline, text), **given))
    return concepts


def recorded_edit(host: Host, twin: Any, pipeline: Any, edit: dict[str, Any], start: torch.Tensor) -> Any:
    """Return our vectors of an edit that diffusers' pipeline makes too."""
    parity.sample_pipeline(pipeline, start, **pipeline_arguments(edit))
    concepts, sampling = concepts_of(host, pipeline, edit), {"model": twin, **edit["settings"]}
    return record(host, lambda model: parity.sample_host(host, model, pipeline, start), *concepts, **sampling)[1]


@pytest.mark.parametrize("seed", [0, 7])
def test_the_recorded_guidance_is_the_pipelines_sem_guidance(seed: int, host: Host, twin: Any, pipeline: Any) -> None:
    edit = random_edit(seed, parity.STEPS)
    kept = recorded_edit(host, twin, pipeline, edit, noise(edit["batch"], 4, 8, 8, seed=seed))
    (got,), want = kept.guidance, pipeline.sem_guidance[:-1]
    assert got.shape == want.shape
    assert kept.space == "noise"
    assert relative(got - want, want) < 0.01
    for step in range(parity.STEPS):
        # One element at the threshold may flip.
        assert (got[step] - want[step]).norm() <= 0.03 * want[step].norm()


@pytest.mark.parametrize("own", [False, True], ids=["alone", "with own concepts"])
def test_guidance_of_one_prompt_edits_another_as_the_pipelines_sem_guidance_does(
    own: bool, host: Host, twin: Any, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, other = random_edit(1, parity.STEPS), random_edit(101, parity.STEPS)
    start = noise(edit["batch"], 4, 8, 8, seed=1)
    ours, theirs = recorded_edit(host, twin, pipeline, edit, start), pipeline.sem_guidance.clone()
    monkeypatch.setattr(parity, "PROMPT", "old face")
    arguments = pipeline_arguments(other) if own else {}
    concepts, settings = (concepts_of(host, pipeline, other), other["settings"]) if own else ([], {})
    plain = parity.sample_pipeline(pipeline, start, **arguments)
    want = parity.sample_pipeline(pipeline, start, sem_guidance=theirs, **arguments)
    guided = host.patched(*concepts, model=twin, guidance=ours, **settings)
    got = parity.sample_host(host, guided, pipeline, start)
    assert relative(want - plain, want) > 1e-2
    assert relative(got - want, want) < 3e-4
    assert relative(got - want, want - plain) < 0.02


# The same edit again.


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ("uni_pc", "EPS"),
        ("euler_cfg_pp", "EPS"),
        ("dpmpp_2m", "V_PREDICTION"),
        ("dpmpp_2m_sde", "EPS"),
        ("euler_ancestral", "FLOW"),
    ],
)
def test_a_runs_own_guidance_makes_its_bits_again(
    host: Host, models: dict[str, Any], sampler: str, kind: str, one_pass_at_a_time: None
) -> None:
    concepts = [host.concept(start_percent=0.2), host.concept(11, direction="remove", end_percent=0.6)]
    arguments = {"sampler_name": sampler, "steps": 5, "latent": host.latent(2)}
    edited, kept = record(host, lambda model: host.sample(model, **arguments), *concepts, model=models[kind])
    again = host.sample(host.patched(model=models[kind], guidance=kept), **arguments)
    assert relative(edited - host.sample(models[kind], **arguments), edited) > 1e-2
    assert torch.equal(again, edited)
    assert kept.space == ("velocity" if kind == "FLOW" else "noise")


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde"])
def test_samplers_that_evaluate_between_the_steps_come_near(host: Host, models: dict[str, Any], sampler: str) -> None:
    model, arguments = models["V_PREDICTION"], {"sampler_name": sampler, "steps": 12}
    concept = host.concept(guidance_scale=2.0, threshold=0.0)
    edited, kept = record(host, lambda model: host.sample(model, **arguments), concept, model=model)
    plain = host.sample(model, **arguments)
    again = host.sample(host.patched(model=model, guidance=kept), **arguments)
    assert relative(edited - plain, plain) > 0.03
    assert relative(again - edited, edited - plain) < 0.4


def test_the_samplers_output_goes_into_its_own_input_and_that_of_the_model_patch(
    host: Host, one_pass_at_a_time: None
) -> None:
    arguments = {
        "model": host.eps, "positive": host.conditioning(1), "negative": host.conditioning(2),
        "latent_image": host.latent(), **VALUES, "momentum_scale": 0.3,
    }  # fmt: skip
    sampler = host.pack.nodes.SEGASampler
    concepts = [host.concept(start_percent=0.5, weight=0.5), host.concept(11, threshold=0.9)]
    latent, kept = sampler.execute(**arguments, concepts=host.stack(*concepts)).result
    assert torch.equal(sampler.execute(**arguments, guidance=kept)[0]["samples"], latent["samples"])
    assert torch.equal(host.sample(host.patched(guidance=kept)), latent["samples"])
    assert not torch.equal(host.sample(), latent["samples"])
    # What else the vectors say of the run.
    sigmas = schedule(host, host.eps, 4)
    levels = host.eps.get_model_object("model_sampling").percent_to_sigma
    assert kept.concepts == tuple(concept.settings.concept(sigmas, levels) for concept in concepts)
    assert [concept.warmup_steps for concept in kept.concepts] == [2, 0]
    assert kept.settings == host.pack.sega_core.Settings(0.3, 0.4, "reference")
    assert kept.shapes == [(1, 4, 8, 8)]
    assert list(kept.sigmas) == sigmas
    assert kept.magnitudes[:2, 0].tolist() == [0.0, 0.0]
    assert (kept.magnitudes[2:, 0] > 0).all()
    assert all((activity > 0).any() for activity in kept.activity[0])


def test_the_guidance_of_a_restarted_schedule_makes_its_bits_again(host: Host, one_pass_at_a_time: None) -> None:
    sigmas = [14.6, 7.0, 3.0, 1.0, 5.0, 2.0, 0.5, 0.0]
    # It begins between 7 and 3.
    edited, kept = record(host, lambda model: custom(host, model, "euler", sigmas), host.concept(start_percent=0.3))
    assert kept.concepts[0].warmup_steps == 2
    assert torch.equal(custom(host, host.patched(guidance=kept), "euler", sigmas), edited)
    assert not torch.equal(custom(host, host.eps, "euler", sigmas), edited)


def test_supplied_guidance_is_not_recorded_again(host: Host) -> None:
    _, first = record(host, host.sample, host.concept())
    _, second = record(host, host.sample, guidance=first)
    assert second.concepts == ()
    assert not second.guidance[0].any()
    assert second.activity[0].shape == (0, 1, 8, 8)
    # Both edits at once: what the concepts add next to it.
    _, third = record(host, lambda model: host.sample(model, steps=1), host.concept(12), guidance=first)
    _, alone = record(host, lambda model: host.sample(model, steps=1), host.concept(12))
    assert torch.equal(third.guidance[0], alone.guidance[0])


def test_supplied_guidance_costs_no_pass_and_acts_at_cfg_1_without_a_negative_prompt(host: Host) -> None:
    _, kept = record(host, host.sample, host.concept())
    plain, guided = Passes(host.eps), Passes(host.eps)
    host.sample(plain.model)
    host.sample(host.patched(model=guided.model, guidance=kept))
    assert guided.labels == plain.labels
    guider = host.custom.BasicGuider.execute
    one, other = (host.guide(guider(m, host.conditioning(1))[0]) for m in (host.patched(guidance=kept), host.eps))
    assert not torch.equal(one, other)


def test_guidance_of_no_strength_is_the_plain_sampler(host: Host) -> None:
    _, kept = record(host, host.sample, host.concept(strength=0.0))
    assert not kept.guidance[0].any()
    assert torch.equal(host.sample(host.patched(guidance=kept)), host.sample())


def test_guidance_of_one_image_serves_any_number_and_that_of_a_batch_its_own(host: Host) -> None:
    plain = host.sample(latent=host.latent(3))
    for images, edited in ((1, [True, True, True]), (3, [False, True, False])):
        _, kept = record(host, lambda model, n=images: host.sample(model, latent=host.latent(n)), host.concept())
        if images == 3:
            (guidance,) = kept.guidance
            kept = dataclasses.replace(kept, guidance=(guidance * torch.tensor([0, 1, 0]).view(1, 3, 1, 1, 1),))
        change = host.sample(host.patched(guidance=kept), latent=host.latent(3)) - plain
        assert [bool(part.any()) for part in change] == edited


@pytest.mark.parametrize("name", ["LTXAV", "WAN21_T2V", "StableAudio"])
def test_every_shape_of_latents_is_kept_in_a_file_and_edited_again(
    host: Host, name: str, one_pass_at_a_time: None, tmp_path: Path
) -> None:
    model = sampled(host, name)
    arguments = {"latent": model.latent(0.5), "denoise": 0.8, "steps": 3}
    concepts = [model.concept(), model.concept(11, direction="remove", start_percent=1 / 3)]
    edited, kept = record(host, lambda patched: model.plain(model=patched, **arguments), *concepts, model=model.model)
    assert kept.shapes == [(model.family.batch, *shape) for shape in model.family.shapes]
    vectors = host.pack.sega_core.vectors
    vectors.save(kept, tmp_path / "x.safetensors")
    guided = host.patched(model=model.model, guidance=vectors.load(tmp_path / "x.safetensors"))
    plain, again = model.plain(**arguments), model.plain(model=guided, **arguments)
    assert all(map(torch.equal, again, edited))
    assert not any(map(torch.equal, plain, edited))


# Another schedule.


def marked(host: Host, sigmas: Sequence[float], space: str) -> Any:
    """Return vectors whose step i adds 1 to element i of the latents and nothing else."""
    steps = len(sigmas) - 1
    guidance = torch.zeros(steps, 1, 4, 8, 8)
    guidance.flatten(1)[torch.arange(steps), torch.arange(steps)] = 1
    core = host.pack.sega_core
    no_concept = (torch.zeros(0, 1, 8, 8),)
    return core.GuidanceVectors(
        (guidance,), no_concept, torch.zeros(steps, 0), tuple(sigmas), space, (), (), core.Settings()
    )


def covering(sigma: float, recorded: Sequence[float]) -> int:
    """Return the step of a falling schedule that covers a noise level, to rounding."""
    return next(i for i, after in enumerate(recorded[1:]) if 1.0001 * after < sigma)


def assert_each_step_gets_what_covers_it(
    host: Host, model: Any, recorded: Sequence[float], applied: Sequence[float]
) -> None:
    space = "velocity" if recorded[0] == 1 else "noise"
    guided = host.patched(model=model, guidance=marked(host, recorded, space))
    change = custom(host, guided, "euler", applied) - custom(host, model, "euler", applied)
    # The host scales what it takes from the sampler to the latents of the model's VAE.
    change = model.model.process_latent_in(change).flatten()
    expected = torch.zeros(change.shape)
    for sigma, after in itertools.pairwise(applied):
        expected[covering(sigma, recorded)] += after - sigma
    assert expected.any()
    assert torch.allclose(change, expected, atol=1e-4)


def schedule(host: Host, model: Any, steps: int, scheduler: str = "normal", denoise: float = 1.0) -> list[float]:
    made = host.samplers.KSampler(model, steps, "cpu", "euler", scheduler, denoise=denoise)
    return made.sigmas.tolist()


@pytest.mark.parametrize(
    ("kind", "steps", "scheduler", "denoise"),
    [("EPS", 20, "normal", 1.0), ("FLOW", 7, "normal", 1.0), ("FLOW", 8, "karras", 1.0), ("EPS", 8, "beta", 0.7)],
)
def test_another_schedule_is_matched_by_noise_level(
    host: Host, silent: dict[str, Any], kind: str, steps: int, scheduler: str, denoise: float
) -> None:
    model = silent[kind]
    applied = schedule(host, model, steps, scheduler, denoise)
    assert_each_step_gets_what_covers_it(host, model, schedule(host, model, 10), applied)


def test_a_rising_schedule_is_matched_by_noise_level(host: Host, silent: dict[str, Any]) -> None:
    falling = [14.0, 6.0, 2.0, 0.5, 0.1, 0.0]
    assert_each_step_gets_what_covers_it(host, silent["EPS"], falling, [0.1, 0.5, 2.0, 6.0, 14.0])


def test_outside_of_the_noise_levels_that_were_recorded_nothing_is_added(host: Host) -> None:
    _, kept = record(host, lambda model: custom(host, model, "euler", [4.0, 2.0, 1.0]), host.concept())
    plain, supplied = host.patched(), host.patched(guidance=kept)
    for sigmas in ([9.0, 6.0, 4.5], [0.9, 0.5, 0.0]):
        assert torch.equal(custom(host, supplied, "euler", sigmas), custom(host, plain, "euler", sigmas))
    assert not torch.equal(custom(host, supplied, "euler", [4.0, 2.0]), custom(host, plain, "euler", [4.0, 2.0]))


# What does not fit.


@pytest.mark.parametrize(
    ("recorded", "applied", "reasons"),
    [
        (("EPS", 1, 8), ("EPS", 1, 16), ["(1, 4, 16, 16)", "(1, 4, 8, 8)"]),
        (("EPS", 2, 8), ("EPS", 3, 8), ["(3, 4, 8, 8)", "(2, 4, 8, 8)", "number of images"]),
        (("EPS", 2, 8), ("EPS", 1, 8), ["(1, 4, 8, 8)", "(2, 4, 8, 8)"]),
        (("EPS", 1, 8), ("FLOW", 1, 8), ["predicts noise", "predicts velocity"]),
    ],
    ids=["another size", "more images", "fewer images", "another space"],
)
def test_what_does_not_fit_is_refused_with_both_shapes_or_spaces(
    host: Host, models: dict[str, Any], recorded: Any, applied: Any, reasons: list[str]
) -> None:
    latent = host.latent(*recorded[1:])
    _, kept = record(host, lambda model: host.sample(model, latent=latent), host.concept(), model=models[recorded[0]])
    model, latent = models[applied[0]], host.latent(*applied[1:])
    for name, sample in (
        ("SEGASampler", lambda: host.sega(model=model, guidance=kept, latent=latent)),
        ("SEGAModelPatch", lambda: host.sample(host.patched(model=model, guidance=kept), latent=latent)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: guidance") as failure:
            sample()
        assert all(reason in str(failure.value) for reason in reasons)


def test_noise_and_v_models_share_their_guidance(host: Host, models: dict[str, Any]) -> None:
    _, kept = record(host, host.sample, host.concept(), model=models["V_PREDICTION"])
    change = host.sample(host.patched(guidance=kept)) - host.sample()
    assert change.isfinite().all()
    assert change.norm() > 1e-2


def test_another_number_of_parts_is_refused_with_all_shapes(host: Host) -> None:
    packed, sound = sampled(host, "LTXAV"), sampled(host, "StableAudio")
    _, kept = record(host, lambda model: packed.plain(model=model), packed.concept(), model=packed.model)
    kept = dataclasses.replace(kept, space="noise")
    with pytest.raises(ValueError, match=r"^SEGAModelPatch: guidance must be for latents of shape") as failure:
        sound.plain(model=host.patched(model=sound.model, guidance=kept))
    for family in (packed.family, sound.family):
        assert all(str((family.batch, *shape)) in str(failure.value) for shape in family.shapes)


def test_a_sampler_that_enlarges_the_latents_is_refused(host: Host) -> None:
    from comfy_extras import nodes_advanced_samplers

    sampler = nodes_advanced_samplers.SamplerLCMUpscale.execute(2.0, -1, "bicubic")[0]
    sigmas = torch.tensor(schedule(host, host.eps, 4))
    noise = host.custom.RandomNoise.execute(3)[0]

    def sample(model: Any) -> Any:
        guider = host.custom.CFGGuider.execute(model, host.conditioning(1), host.conditioning(2), 4.0)[0]
        return host.custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, host.latent())

    _, kept = record(host, host.sample, host.concept())
    with pytest.raises(ValueError, match=r"^SEGAModelPatch: guidance must be .* \(1, 4, 12, 12\), got \(1, 4, 8, 8\)"):
        sample(host.patched(guidance=kept))
    with pytest.raises(ValueError, match=r"^SEGASampler: guidance .* from \(1, 4, 8, 8\) to \(1, 4, 12, 12\)"):
        record(host, sample, host.concept())
    # The next run is none the wiser.
    assert torch.equal(host.sample(host.patched()), host.sample())


@pytest.mark.parametrize("sigmas", [pytest.param([], id="no number"), pytest.param([5.0], id="one number")])
def test_a_schedule_of_no_steps_changes_nothing(host: Host, sigmas: list[float]) -> None:
    _, kept = record(host, host.sample, host.concept())
    latents = custom(host, host.eps, "euler", sigmas)
    assert torch.equal(custom(host, host.patched(host.concept(), guidance=kept), "euler", sigmas), latents)
    assert torch.equal(custom(host, host.patched(guidance=kept), "euler", sigmas), latents)


# What the sampler runs again for, and what it keeps then, is tested on a server in test_guidance_files.py.


def test_nothing_is_kept_that_nobody_takes(host: Host) -> None:
    """A subgraph's sampler has a name such as 12:5; one that a node makes while it runs may be taken by anything."""
    from comfy_execution.graph import DynamicPrompt

    def is_kept(output: int, name: str = "12:5", taken: str = "12:5") -> bool:
        sampler, save = {"class_type": "SEGASampler", "inputs": {}}, {"class_type": "Save", "inputs": {}}
        save["inputs"]["taken"] = [taken, output]
        graph = DynamicPrompt({"12:5": sampler, "12:6": sampler, "save": save})
        graph.add_ephemeral_node("made", sampler, "save", "save")
        hidden = types.SimpleNamespace(unique_id=name, dynprompt=graph)
        return host.pack.nodes.sampling.wiring.is_wired(hidden, 1)

    assert is_kept(1)
    assert not is_kept(0)
    assert not is_kept(1, "12:6")
    assert is_kept(0, "made")


def test_guidance_that_was_not_recorded_is_named_when_it_is_saved(host: Host) -> None:
    with pytest.raises(ValueError, match=r"SEGASaveGuidance: guidance must come from a SEGA Sampler .* got None"):
        host.pack.nodes.SEGASaveGuidance.execute(None, "guidance")
