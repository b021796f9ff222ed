"""Guidance vectors: equal to diffusers' `sem_guidance`, and the same edit again wherever they are added.

A sampler that evaluates each step once, at its own noise level, makes the same bits again. One that evaluates between
the steps (Heun, DPM-2) gets the step's one vector there, and comes near.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import load_file
from support.core import noise
from support.families import sampled
from support.host import Host, Passes
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


def test_guidance_of_one_image_serves_any_number(host: Host) -> None:
    _, kept = record(host, host.sample, host.concept())
    wide = dataclasses.replace(
        kept,
        guidance=tuple(guidance.expand(-1, 3, -1, -1, -1) for guidance in kept.guidance),
        activity=tuple(activity.expand(-1, 3, -1, -1) for activity in kept.activity),
    )
    three = {"latent": host.latent(3)}
    one_for_all = host.sample(host.patched(guidance=kept), **three)
    assert torch.equal(one_for_all, host.sample(host.patched(guidance=wide), **three))
    change = one_for_all - host.sample(**three)
    assert (change.flatten(1).norm(dim=1) > 1e-2).all()


def test_each_image_of_a_batch_has_guidance_of_its_own(host: Host) -> None:
    _, kept = record(host, lambda model: host.sample(model, latent=host.latent(3)), host.concept())
    (guidance,) = kept.guidance
    only_second = dataclasses.replace(kept, guidance=(guidance * torch.tensor([0, 1, 0]).view(1, 3, 1, 1, 1),))
    plain = host.sample(latent=host.latent(3))
    change = host.sample(host.patched(guidance=only_second), latent=host.latent(3)) - plain
    assert [bool(part.any()) for part in change] == [False, True, False]


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


# Nothing is kept that nobody takes: workflows run by the host's executor.


class Give:
    """A node that gives what the test has put into it."""

    GIVEN: dict[str, Any] = {}  # noqa: RUF012
    RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {})}}

    def run(self, name: str) -> tuple[Any]:
        return (self.GIVEN[name],)


class Take:
    """An output node that shows the test what it was given, and gives it on."""

    TAKEN: dict[str, Any] = {}  # noqa: RUF012
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = ("*",), "run", "test", True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("*",)}, "hidden": {"node_id": "UNIQUE_ID"}}

    def run(self, value: Any, node_id: str) -> dict[str, Any]:
        self.TAKEN[node_id] = value
        return {"ui": {}, "result": (value,)}


class Expand:
    """A node that is a graph of its own: a sampler with the outputs that the node has."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT", "SEGA_GUIDANCE"), "run", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def run(self) -> dict[str, Any]:
        from comfy_execution.graph_utils import GraphBuilder

        graph = GraphBuilder()
        given = {name: graph.node("Give", name=name).out(0) for name in Give.GIVEN}
        sampler = graph.node("SEGASampler", **given, **VALUES)
        return {"result": (sampler.out(0), sampler.out(1)), "expand": graph.finalize()}


class Workplace:
    """The host's executor with the test's nodes beside the pack's, and the queue of a server."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        import execution

        self.running: list[Any] = []
        self.executed: list[str] = []
        server = types.SimpleNamespace(
            client_id="test", last_node_id=None, send_sync=self._send, prompt_queue=self, sockets_metadata={}
        )
        prompt_server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=server))
        monkeypatch.setitem(sys.modules, "server", prompt_server)
        ours = {node.__name__: node for node in (Give, Take, Expand, host.pack.nodes.SEGASampler)}
        for name, node in ours.items():
            monkeypatch.setitem(host.nodes.NODE_CLASS_MAPPINGS, name, node)
        monkeypatch.setattr(Take, "TAKEN", {})
        given = {"model": host.eps, "positive": host.conditioning(1), "negative": host.conditioning(2)}
        given |= {"latent_image": host.latent(), "concepts": host.stack(host.concept())}
        monkeypatch.setattr(Give, "GIVEN", given)
        arguments = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        self.executor = execution.PromptExecutor(server, execution.CacheType.CLASSIC, arguments)

    def get_current_queue_volatile(self) -> tuple[list[Any], list[Any]]:
        return self.running, []

    def _send(self, event: str, data: Any, client: Any = None) -> None:
        if event == "executing" and data["node"] is not None:
            self.executed.append(data["node"])

    def run(self, nodes: dict[str, Any]) -> dict[str, Any]:
        """Run a workflow of these nodes; return what its output nodes took. `self.executed` says which nodes ran."""
        gives = {name: {"class_type": "Give", "inputs": {"name": name}} for name in Give.GIVEN}
        prompt = {**gives, **{name: {**node, "inputs": dict(node["inputs"])} for name, node in nodes.items()}}
        outputs = [name for name, node in prompt.items() if node["class_type"] == "Take"]
        self.executed.clear()
        Take.TAKEN.clear()
        self.running[:] = [(0, "prompt", prompt, {}, outputs)]
        self.executor.execute(prompt, "prompt", {"client_id": "test"}, outputs)
        assert self.executor.success, self.executor.status_messages[-1]
        return dict(Take.TAKEN)


def sampler(**inputs: Any) -> dict[str, Any]:
    links = {name: [name, 0] for name in Give.GIVEN}
    return {"class_type": "SEGASampler", "inputs": {**links, **VALUES, **inputs}}


def take(node: str, output: int) -> dict[str, Any]:
    return {"class_type": "Take", "inputs": {"value": [node, output]}}


@pytest.fixture
def workplace(host: Host, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(host, monkeypatch)


@pytest.fixture
def recorders(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What records from now on."""
    found: list[Any] = []
    recorder = host.pack.sega_core.Recorder
    keep = recorder.keep

    def keep_and_tell(self: Any, *args: Any, **kwargs: Any) -> None:
        if self not in found:
            found.append(self)
        keep(self, *args, **kwargs)

    monkeypatch.setattr(recorder, "keep", keep_and_tell)
    return found


def test_the_sampler_runs_again_when_its_guidance_is_first_taken_and_is_cached_then(
    workplace: Workplace, recorders: list[Any]
) -> None:
    bare = {"s": sampler(), "image": take("s", 0)}
    wired = {**bare, "guidance": take("s", 1)}
    images = []
    for nodes, runs, records in ((bare, 1, 0), (bare, 0, 0), (wired, 1, 1), (wired, 0, 1), (bare, 1, 1), (wired, 1, 2)):
        taken = workplace.run(nodes)
        assert workplace.executed.count("s") == runs
        assert len(recorders) == records
        if runs:
            images.append(taken["image"]["samples"])
            assert taken.keys() == nodes.keys() - {"s"}
            assert not any(value is None for value in taken.values())
        else:
            assert not workplace.executed
    assert all(torch.equal(image, images[0]) for image in images)


def test_only_the_sampler_whose_guidance_is_taken_records(workplace: Workplace, recorders: list[Any]) -> None:
    nodes = {"1": sampler(), "11": sampler(seed=4), "image": take("1", 0), "other": take("11", 0)}
    taken = workplace.run({**nodes, "guidance": take("11", 1)})
    assert len(recorders) == 1
    assert torch.equal(taken["guidance"].guidance[0], recorders[0].guidance())


def test_samplers_of_subgraphs_record_as_others_do(workplace: Workplace, recorders: list[Any]) -> None:
    # The editor writes a subgraph's nodes out, under names such as 12:5.
    alone = workplace.run({"12:5": sampler(), "image": take("12:5", 0)})
    assert not recorders
    flat = workplace.run({"12:5": sampler(), "image": take("12:5", 0), "guidance": take("12:5", 1)})
    assert len(recorders) == 1
    # A node may also turn into a graph while the workflow runs.
    expanded = {"class_type": "Expand", "inputs": {}}
    deep = workplace.run({"e": expanded, "image": take("e", 0), "guidance": take("e", 1)})
    assert torch.equal(deep["guidance"].guidance[0], flat["guidance"].guidance[0])
    assert torch.equal(deep["image"]["samples"], alone["image"]["samples"])


def test_guidance_that_was_not_recorded_is_named_when_it_is_saved(host: Host) -> None:
    with pytest.raises(ValueError, match=r"SEGASaveGuidance: guidance must come from a SEGA Sampler .* got None"):
        host.pack.nodes.SEGASaveGuidance.execute(None, "guidance")
