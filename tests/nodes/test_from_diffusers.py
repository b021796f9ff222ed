"""A call of the reference pipeline and the workflow that the command makes of it give the same latents."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch

from support.core import noise
from support.host import Host
from support.tensors import distance, relative

STEPS = 10
CALL = {
    "prompt": "a dog",
    "negative_prompt": "blurry",
    "num_inference_steps": STEPS,
    "guidance_scale": 4,
    "generator": 5,
}
TWO = {"editing_prompt": ["smiling", "old"], "edit_warmup_steps": [2, 4], "edit_threshold": [0.5, 0.8]}
# What a call may hold, and what it asks of the host.
CALLS: dict[str, dict[str, Any]] = {
    "one concept": {"editing_prompt": "glasses", "edit_warmup_steps": 3},
    "four concepts, five weights": {
        "editing_prompt": ["smiling", "glasses", "hat", "beard"],
        "reverse_editing_direction": [False] * 4,
        "edit_warmup_steps": [2] * 4,
        "edit_guidance_scale": [4, 5, 5, 5.4],
        "edit_threshold": [0.99, 0.975, 0.925, 0.96],
        "edit_momentum_scale": 0.3,
        "edit_mom_beta": 0.6,
        "edit_weights": [1, 1, 1, 1, 1],
    },
    "reverse direction": {**TWO, "reverse_editing_direction": [True, False], "edit_weights": [0.5, 2]},
    "negative scale": {**TWO, "edit_guidance_scale": [-4, 6]},
    "no scale": {**TWO, "edit_guidance_scale": [0, 6]},
    "negative weight": {**TWO, "edit_weights": [2, -1]},
    "one cool-down for all": {**TWO, "edit_cooldown_steps": 7},
    "cool-down at once": {**TWO, "edit_cooldown_steps": [100, 0]},
    "cool-down before warm-up": {**TWO, "edit_cooldown_steps": [10**6, 3], "edit_momentum_scale": 0.0},
    "fractions of steps": {**TWO, "edit_warmup_steps": [1.5, 3.2], "edit_cooldown_steps": [7.9, 99.5]},
    "warm-up beyond the end": {**TWO, "edit_warmup_steps": [2, 99999]},
    "several prompts": {
        **TWO,
        "prompt": ["a dog", "a face"],
        "negative_prompt": ["blurry", "old"],
        "num_images_per_prompt": 2,
    },
    "a seed for each image": {**TWO, "num_images_per_prompt": 2, "generator": [7, 8]},
    "steps that do not divide 1000": {**TWO, "num_inference_steps": 12},
}


class Clip:
    """The pipeline's text encoder as the host's CLIP."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def tokenize(self, text: str) -> torch.Tensor:
        return self.pipe.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt").input_ids

    def encode_from_tokens_scheduled(self, tokens: torch.Tensor) -> list[Any]:
        return [[self.pipe.text_encoder(tokens)[0].clone(), {}]]


@pytest.fixture(scope="module")
def loaded(twin: Any, pipeline: Any) -> tuple[Any, Any, None]:
    """What a checkpoint loader gives: the host's MODEL with the pipeline's weights, its text encoder, no VAE."""
    return twin, Clip(pipeline), None


class Workflow:
    """Runs a workflow's nodes in process, each once."""

    def __init__(self, host: Host, nodes: dict[str, Any], loaded: tuple[Any, ...]) -> None:
        self.nodes = nodes
        self.done = {key: loaded for key in nodes if nodes[key]["class_type"] == "CheckpointLoaderSimple"}
        # The host's nodes_latent imports the first of them, and the other way round.
        extras = ("nodes_post_processing", "nodes_latent", "nodes_custom_sampler")
        self.modules = [host.pack.nodes, host.nodes, *(importlib.import_module(f"comfy_extras.{e}") for e in extras)]

    def output(self, key: str) -> tuple[Any, ...]:
        if key not in self.done:
            node, inputs = self.nodes[key], {}
            for name, value in node["inputs"].items():
                group, _, member = name.partition(".")
                value = self.output(value[0])[value[1]] if isinstance(value, list) else value
                inputs[group] = {**inputs.get(group, {}), member: value} if member else value
            name = node["class_type"]
            cls = next(getattr(module, name) for module in self.modules if hasattr(module, name))
            is_old = hasattr(cls, "FUNCTION") and "execute" not in vars(cls)
            self.done[key] = getattr(cls(), cls.FUNCTION)(**inputs) if is_old else cls.execute(**inputs).result
        return self.done[key]

    def samples(self) -> torch.Tensor:
        """Return all latents that the workflow saves or decodes, in order."""
        ends = [node for node in self.nodes.values() if node["class_type"] in ("VAEDecode", "SaveLatent")]
        links = [node["inputs"]["samples"] for node in ends]
        return torch.cat([self.output(key)[output]["samples"] for key, output in links])


@pytest.fixture
def run_call(host: Host, tool: ModuleType, loaded: Any) -> Callable[..., torch.Tensor]:
    """Convert a call and run the workflow; return its latents in the pipeline's scale."""

    def run(call: dict[str, Any]) -> torch.Tensor:
        workflow, _ = tool.convert({"height": 64, "width": 64, **call})
        return Workflow(host, workflow, loaded).samples() * loaded[0].model.latent_format.scale_factor

    return run


def run_pipeline(pipe: Any, call: dict[str, Any], start: torch.Tensor, generator: Any = None) -> torch.Tensor:
    call = {**call, "height": 8, "width": 8, "latents": start.clone(), "output_type": "latent"}
    return pipe(**{**call, "generator": generator}).images


def start_of(call: dict[str, Any], model: Any, pipe: Any) -> torch.Tensor:
    """Return the noise that makes the pipeline start where the host does.

    The host starts from sigma times the noise, the pipeline from sqrt(1 + sigma^2) times it.
    """
    pipe.scheduler.set_timesteps(call["num_inference_steps"])
    sigma = float(model.get_model_object("model_sampling").sigmas[pipe.scheduler.timesteps[0]])
    return drawn_noise(call) * sigma / math.sqrt(1 + sigma**2)


def drawn_noise(call: dict[str, Any]) -> torch.Tensor:
    """Draw what the pipeline draws on the CPU."""
    seeds = call["generator"]
    if isinstance(seeds, list):
        return torch.cat([noise(1, 4, 8, 8, seed=seed) for seed in seeds])
    prompts = len(call["prompt"]) if isinstance(call["prompt"], list) else 1
    return noise(prompts * call.get("num_images_per_prompt", 1), 4, 8, 8, seed=seeds)


@pytest.mark.compat("Features", "calls of diffusers' pipeline as workflows (scripts/from_diffusers.py)")
@pytest.mark.parametrize("name", CALLS)
def test_the_workflow_gives_the_pipelines_latents(name: str, run_call: Any, pipeline: Any, loaded: Any) -> None:
    call = {**CALL, **CALLS[name]}
    start = start_of(call, loaded[0], pipeline)
    want, got = run_pipeline(pipeline, call, start), run_call(call)
    unedited = run_pipeline(pipeline, {**call, "editing_prompt": None}, start)
    assert got.shape == want.shape
    assert distance(got, want) < 3e-4
    assert distance(want, unedited) > 1e-3
    assert relative(got - want, want - unedited) < 0.05


# 1000 is divided by the first alone; the last is the most that DDIM can have.
@pytest.fixture(params=[8, 12, 30, 99, 999])
def windows(request: pytest.FixtureRequest, tool: ModuleType) -> tuple[int, list[Any], list[dict[str, float]]]:
    """A number of steps, first and last steps that a call names, and what the workflow's concepts say instead."""
    steps = request.param
    asked = [(start, None) for start in (*range(min(steps, 48)), steps - 1, steps, steps + 1)]
    asked += [(0, end) for end in (*range(1, min(steps, 40)), steps - 1, steps, steps + 1)]
    starts, ends = zip(*asked, strict=True)
    edit = {"editing_prompt": ["hat"] * len(asked), "edit_warmup_steps": [*starts], "edit_cooldown_steps": [*ends]}
    nodes, _ = tool.convert({**CALL, **edit, "num_inference_steps": steps})
    concepts = [node["inputs"] for node in nodes.values() if node["class_type"] == "SEGAConcept"]
    return steps, asked, [{name: concept[name] for name in ("start_percent", "end_percent")} for concept in concepts]


def test_every_percent_is_the_step_of_the_call(windows: Any, host: Host, loaded: Any) -> None:
    steps, asked, given = windows
    sampling = loaded[0].get_model_object("model_sampling")
    sigmas = host.samplers.calculate_sigmas(sampling, "ddim_uniform", steps)[-(steps + 1) :].tolist()
    acts = [host.pack.sega_core.ConceptSettings(**each).concept(sigmas, sampling.percent_to_sigma) for each in given]
    want = [(min(start, steps), None if end is None or end >= steps else end) for start, end in asked]
    assert [(concept.warmup_steps, concept.cooldown_steps) for concept in acts] == want


def test_the_editor_keeps_every_percent(windows: Any, host: Host) -> None:
    # It rounds the numbers of an API workflow, or that a user types, to as many decimals as the input's step has.
    inputs = {i.id: i for i in host.pack.nodes.SEGAConcept.GET_SCHEMA().inputs}
    for concept in windows[2]:
        for name, percent in concept.items():
            assert percent == round(percent, -math.floor(math.log10(inputs[name].step)))


@pytest.mark.parametrize("steps", [1, 12])
def test_latents_from_a_file_give_the_pipelines_latents(
    steps: int, run_call: Any, pipeline: Any, hosts_folders: Path
) -> None:
    prompts = {"prompt": ["a dog", "a face"], "negative_prompt": ["blurry", "old"], "num_images_per_prompt": 2}
    call = {**CALL, **TWO, **prompts, "num_inference_steps": steps}
    latents = drawn_noise(call)
    # As docs/from_diffusers.md says.
    safetensors.torch.save_file({"latent_tensor": latents}, hosts_folders / "input" / "noise.latent")
    want, got = run_pipeline(pipeline, call, latents), run_call({**call, "latents": "noise.latent"})
    assert distance(got, want) < 3e-4


@pytest.mark.parametrize(("eta", "steps"), [(0.3, 12), (1.0, STEPS)])
def test_eta_adds_as_much_noise_as_in_the_pipeline(
    eta: float, steps: int, run_call: Any, pipeline: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.k_diffusion.sampling

    def same_noise(x: Any, seed: Any = None) -> Any:
        generator = torch.Generator().manual_seed(9)
        return lambda sigma, sigma_next: torch.randn(x.shape, generator=generator)

    monkeypatch.setattr(comfy.k_diffusion.sampling, "default_noise_sampler", same_noise)
    call = {**CALL, **TWO, "num_inference_steps": steps, "eta": eta}
    start = start_of(call, loaded[0], pipeline)
    want = run_pipeline(pipeline, call, start, torch.Generator().manual_seed(9))
    assert distance(run_call(call), want) < 3e-4
    assert distance(run_pipeline(pipeline, {**call, "eta": 0}, start), want) > 0.01


def test_embeddings_from_files_are_the_concepts(
    host: Host, run_call: Any, pipeline: Any, loaded: Any, hosts_folders: Path
) -> None:
    clip, files, texts = loaded[1], [], TWO["editing_prompt"]
    for text in texts:
        files.append(f"{text}.conditioning.safetensors")
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        host.pack.nodes.conditioning_file.save_conditioning(conditioning, hosts_folders / "input" / files[-1])
    call = {**CALL, **TWO, "num_images_per_prompt": 2}
    got = run_call({**call, "editing_prompt": None, "editing_prompt_embeddings": files})
    assert torch.equal(got, run_call(call))


@pytest.mark.parametrize(("edit", "steps"), [({}, 12), ({**TWO, "editing_prompt": ["hat", "beard"]}, STEPS)])
def test_the_pipelines_own_sem_guidance_acts_as_in_the_pipeline(
    edit: dict[str, Any], steps: int, host: Host, run_call: Any, pipeline: Any, loaded: Any, hosts_folders: Path
) -> None:
    call = {**CALL, "num_inference_steps": steps}
    start = start_of(call, loaded[0], pipeline)
    run_pipeline(pipeline, {**call, **TWO}, start)
    recorded = pipeline.sem_guidance[:steps].clone()
    core = host.pack.sega_core
    sigmas = loaded[0].get_model_object("model_sampling").sigmas[pipeline.scheduler.timesteps]
    vectors = core.GuidanceVectors(
        guidance=(recorded,),
        activity=(torch.zeros((0, *recorded.shape[1:2], *recorded.shape[3:])),),
        magnitudes=torch.zeros((steps, 0)),
        sigmas=(*sigmas.tolist(), 0.0),
        space="noise",
        concepts=(),
        texts=(),
        settings=core.Settings(),
    )
    core.vectors.save(vectors, hosts_folders / "input" / "a.guidance.safetensors")
    got = run_call({**call, **edit, "sem_guidance": "a.guidance.safetensors"})
    want = run_pipeline(pipeline, {**call, **edit, "sem_guidance": list(recorded)}, start)
    assert distance(got, want) < 3e-4
    assert relative(got - want, want - run_pipeline(pipeline, {**call, **edit}, start)) < 0.05


def test_at_cfg_1_the_pipeline_ignores_the_concepts_and_the_workflow_does_not(
    run_call: Any, pipeline: Any, loaded: Any
) -> None:
    call = {**CALL, "guidance_scale": 0.5}
    want = run_pipeline(pipeline, call, start_of(call, loaded[0], pipeline))
    assert distance(run_call(call), want) < 3e-4
    assert distance(run_call({**call, **TWO}), want) > 1e-3


def test_a_concept_that_never_acts_is_near_the_pipelines(run_call: Any, pipeline: Any, loaded: Any) -> None:
    # It feeds the pipeline's momentum until it cools down, and nothing here.
    call = {**CALL, **TWO, "edit_cooldown_steps": [10**6, 3]}
    start = start_of(call, loaded[0], pipeline)
    want, got = run_pipeline(pipeline, call, start), run_call(call)
    unedited = run_pipeline(pipeline, {**call, "editing_prompt": None}, start)
    assert relative(got - want, want - unedited) < 0.05
