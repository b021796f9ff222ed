"""Every sampler and every schedule of the host: finite, repeatable, edited, and each step at its own noise level."""

from __future__ import annotations

import ast
import bisect
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import COMFYUI
from dev.host.passes import options_of
from support.core import noise
from support.evaluations import Seen
from support.host import CONCEPT, KINDS, Host, find_node, wrapped
from support.models import WAN, family_model
from support.tensors import distance

STEPS = 5
# These choose noise levels of their own between the schedule's ends.
FREE = ["dpm_fast", "dpm_adaptive"]
# Start and end of two concepts, one of either kind: the second and the fourth step, the third and the fifth.
STEP_SPANS = [(1, 3), (2, 4)]
SPANS = [(start / STEPS, end / STEPS) for start, end in STEP_SPANS]
EVERY = pytest.mark.compat("Samplers", "every sampler, two concepts")
IN_TIME = pytest.mark.compat("Samplers", "every sampler: start, end and momentum, step by step")
NOISE = pytest.mark.compat("Samplers", "ancestral and SDE noise, churn; the sampler nodes' own options")
RISING = pytest.mark.compat("Samplers", "restarts and inversion: noise levels that rise")
SCHEDULES = pytest.mark.compat("Schedulers", "every scheduler and scheduler node, two concepts")
PARTIAL = pytest.mark.compat("Sampling nodes", "denoise below 1, KSamplerAdvanced in several parts")
STEP_BY_STEP = pytest.mark.compat("Sampling nodes", "one step at a time, and chains of parts (Impact, RES4LYF)")
CUSTOM = pytest.mark.compat("Sampling nodes", "SamplerCustom, SamplerCustomAdvanced, noise nodes")
Spans = Sequence[tuple[float, ...]]


def listed_names(comfyui: Path) -> dict[str, list[str]]:
    """Read which samplers and schedulers the host has from its source: it cannot be imported yet."""
    values: dict[str, list[str]] = {}
    for node in ast.parse((comfyui / "comfy" / "samplers.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            listed = node.value.keys if isinstance(node.value, ast.Dict) else [node.value]
            parts = [part for item in listed if item is not None for part in ast.walk(item)]
            values[node.targets[0].id] = [
                part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
    samplers = values["KSAMPLER_NAMES"] + values["SAMPLER_NAMES"]
    return {"sampler": samplers, "scheduler": values["SCHEDULER_HANDLERS"]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, values in listed_names(COMFYUI).items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)


@pytest.fixture(scope="module")
def models(host: Host) -> dict[str, Any]:
    import comfy.model_base

    kinds = ("EPS", "V_PREDICTION", "FLOW")
    return {name: host.model(comfy.model_base.ModelType[name]) for name in kinds}


class Evaluations:
    """The evaluations of a MODEL: the noise level of each, and how many concepts took part."""

    def __init__(self, model: Any) -> None:
        self.sigmas: list[float] = []
        self.concepts: list[int] = []
        self.model = wrapped(model, "DIFFUSION_MODEL", self._note)

    def _note(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.sigmas.append(float(options_of(args, kwargs)["sigmas"].max()))
        self.concepts.append(x.shape[0] - 2)
        return executor(x, *args, **kwargs)


def step_at(sigma: float, sigmas: Sequence[float]) -> int:
    """Return the last step of a falling schedule that starts at this noise level or above."""
    return max((i for i, start in enumerate(sigmas[:-1]) if start >= sigma * (1 - 5e-5)), default=0)


def spans_on(model: Any, sigmas: Sequence[float]) -> Spans:
    """Return starts and ends that lie half-way between the same steps of another schedule, as percents."""
    level = model.get_model_object("model_sampling").percent_to_sigma

    def before(step: int) -> float:
        middle = math.sqrt(sigmas[step - 1] * sigmas[step])
        return (1 + bisect.bisect_left(range(1, 10_001), -middle, key=lambda i: -float(level(i / 10_000)))) / 10_000

    return [tuple(before(step) for step in span) for span in STEP_SPANS]


def timed(host: Host, model: Any, spans: Spans = SPANS) -> Any:
    """Return the model with a concept of either kind whose every pass shows that its concept acts."""
    concepts = [
        host.concept(10 + i, instead_of, start_percent=start, end_percent=end)
        for i, ((start, end), instead_of) in enumerate(zip(spans, KINDS.values(), strict=True))
    ]
    return host.patched(*concepts, model=model, momentum_scale=0.0)


def acting(model: Any, sigmas: Sequence[float], spans: Spans = SPANS) -> list[int]:
    """Return how many of the two concepts act at each step: from one noise level, included, to another, excluded."""
    level = model.get_model_object("model_sampling").percent_to_sigma
    levels = [[level(percent) * (1 + 5e-5) for percent in span] for span in spans]
    return [sum(end < sigma <= start for start, end in levels) for sigma in sigmas[:-1]]


def edited_in_time(
    host: Host, model: Any, sigmas: Sequence[float], sample: Callable[[Any], torch.Tensor], spans: Spans = SPANS
) -> tuple[torch.Tensor, Evaluations]:
    """Sample, and check that each concept acts exactly from its start's noise level to its end's."""
    seen = Evaluations(model)
    edited = sample(timed(host, seen.model, spans))
    steps = [step_at(sigma, sigmas) for sigma in seen.sigmas]
    expected = acting(model, sigmas, spans)
    found = list(zip(steps, seen.sigmas, seen.concepts, strict=True))
    assert found == list(zip(steps, seen.sigmas, [expected[step] for step in steps], strict=True))
    assert 0 in expected
    assert any(expected)
    assert edited.isfinite().all()
    # One of the schedules leaves noise of ten times the model's own level.
    assert distance(edited, sample(model)) > 1e-5
    return edited, seen


def schedule(host: Host, model: Any, sampler: str = "euler", scheduler: str = "normal", **options: Any) -> list[float]:
    made = host.samplers.KSampler(model, STEPS, "cpu", sampler=sampler, scheduler=scheduler, **options)
    return made.sigmas.tolist()


def custom(host: Host, model: Any, sampler: Any, sigmas: Any, **changes: Any) -> torch.Tensor:
    """Sample with SamplerCustom; a sampler may be given by its name."""
    inputs = {
        "model": model, "add_noise": True, "noise_seed": 3, "cfg": 4.0, "positive": host.conditioning(1),
        "negative": host.conditioning(2), "latent_image": host.latent(), **changes,
    }  # fmt: skip
    sampler = host.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    sigmas = torch.as_tensor(sigmas, dtype=torch.float32)
    return host.custom.SamplerCustom.execute(sampler=sampler, sigmas=sigmas, **inputs)[0]["samples"]


def test_no_sampler_or_scheduler_of_the_host_is_left_out(host: Host) -> None:
    names = listed_names(COMFYUI)
    assert names["sampler"] == list(host.samplers.SAMPLER_NAMES)
    assert names["scheduler"] == list(host.samplers.SCHEDULER_NAMES)


@EVERY
def test_every_sampler_is_edited_in_time_and_repeatable(host: Host, sampler: str) -> None:
    def sample(model: Any) -> torch.Tensor:
        return host.sample(model, sampler_name=sampler, steps=STEPS)

    edited, _ = edited_in_time(host, host.eps, schedule(host, host.eps, sampler), sample)
    assert torch.equal(sample(timed(host, host.eps)), edited)


@IN_TIME
def test_momentum_advances_once_per_step(
    host: Host, models: dict[str, Any], sampler: str, evaluations: list[Seen]
) -> None:
    scale, beta, core = 0.5, 0.3, host.pack.sega_core
    seen = Evaluations(models["FLOW"])
    same = core.Concept(guidance_scale=CONCEPT["guidance_scale"], threshold=CONCEPT["threshold"], warmup_steps=0)
    settings = {"mode": "independent", "momentum_scale": scale, "momentum_beta": beta}
    model = host.patched(*host.two(), model=seen.model, **settings)
    assert host.sample(model, sampler_name=sampler, steps=STEPS).isfinite().all()

    def gamma_of(done: Seen) -> torch.Tensor:
        return sum(core.concept_guidance(core.Comparison(done.differences[c]), same) for c in range(2))

    steps = [done.step for done in evaluations]
    assert steps == [step_at(sigma, schedule(host, models["FLOW"], sampler)) for sigma in seen.sigmas]
    if sampler not in FREE:
        assert set(steps) == set(range(STEPS))
    # What a step leaves behind is its last evaluation's.
    last = {done.step: (gamma_of(done), done.guidance) for done in evaluations}
    momentum = torch.zeros_like(evaluations[0].guidance)
    for step in range(STEPS):
        gamma, out = last.get(step, (torch.zeros_like(momentum), None))
        edit = gamma + scale * momentum
        if out is not None:
            torch.testing.assert_close(out, edit, rtol=1e-4, atol=1e-4 * float(edit.abs().max()))
        momentum = beta * momentum + (1 - beta) * edit


# The options of the nodes that have them, unless the node says otherwise.
OPTIONS = {
    "eta": 0.5, "s_noise": 0.9, "noise_device": "cpu", "r": 0.4, "order": 2, "sde_start_percent": 0.1,
    "sde_end_percent": 0.9, "predictor_order": 2, "corrector_order": 2, "use_pece": True, "simple_order_2": True,
}  # fmt: skip
SAMPLER_NODES: list[tuple[str, dict[str, Any]]] = [
    ("SamplerEulerAncestral", {}),
    ("SamplerEulerAncestralCFGPP", {}),
    ("SamplerLMS", {}),
    ("SamplerDPMPP_2S_Ancestral", {}),
    ("SamplerDPMPP_SDE", {}),
    # It looks ahead.
    ("SamplerDPMPP_SDE", {"eta": 1.0, "s_noise": 1.0, "r": 1.5}),
    ("SamplerDPMPP_2M_SDE", {"solver_type": "heun", "noise_device": "gpu"}),
    ("SamplerDPMPP_3M_SDE", {}),
    ("SamplerER_SDE", {"solver_type": "Reverse-time SDE", "max_stage": 2}),
    ("SamplerSEEDS2", {"solver_type": "phi_2", "r": 1.0}),
    ("SamplerSASolver", {}),
]


@NOISE
@pytest.mark.parametrize(("name", "options"), SAMPLER_NODES)
def test_sampler_nodes_with_options_of_their_own(
    host: Host, models: dict[str, Any], name: str, options: dict[str, Any]
) -> None:
    model, node = models["FLOW"], getattr(host.custom, name)
    known = {"model": model, **OPTIONS, **options}
    given = {key: known[key] for key in inspect.signature(node.execute).parameters if key in known}
    assert_sampler_in_time(host, model, node.execute(**given)[0])


def assert_sampler_in_time(host: Host, model: Any, sampler: Any) -> Evaluations:
    sigmas = schedule(host, model)
    return edited_in_time(host, model, sigmas, lambda each: custom(host, each, sampler, sigmas))[1]


@NOISE
@pytest.mark.parametrize(("name", "kind"), [("euler", "FLOW"), ("heun", "EPS"), ("heunpp2", "FLOW"), ("dpm_2", "EPS")])
def test_churn_acts_at_the_noise_level_that_it_reaches(
    host: Host, models: dict[str, Any], name: str, kind: str
) -> None:
    seen = assert_sampler_in_time(host, models[kind], host.samplers.ksampler(name, {"s_churn": 1.0}))
    assert max(seen.sigmas) > 1.1 * schedule(host, models[kind])[0]


@NOISE
@pytest.mark.parametrize(("order", "eta", "kind"), [(3, 0.0, "EPS"), (2, 1.0, "FLOW")])
def test_a_step_that_is_tried_again_is_the_same_step(
    host: Host, models: dict[str, Any], order: int, eta: float, kind: str
) -> None:
    options = {"rtol": 0.05, "atol": 0.0078, "pcoeff": 0.0, "icoeff": 1.0, "dcoeff": 0.0, "accept_safety": 0.81}
    sampler = host.custom.SamplerDPMAdaptative.execute(order=order, h_init=5.0, eta=eta, s_noise=1.0, **options)[0]
    seen = assert_sampler_in_time(host, models[kind], sampler)
    assert any(later > earlier for earlier, later in itertools.pairwise(seen.sigmas))


@NOISE
def test_a_sampler_that_enlarges_the_latents_is_edited(host: Host) -> None:
    from comfy_extras import nodes_advanced_samplers

    sampler = nodes_advanced_samplers.SamplerLCMUpscale.execute(2.0, -1, "bicubic")[0]
    sigmas = schedule(host, host.eps)
    plain = custom(host, host.eps, sampler, sigmas)
    edited = custom(host, host.patched(host.concept(), momentum_scale=0.5), sampler, sigmas)
    assert edited.shape == plain.shape == (1, 4, 16, 16)
    assert edited.isfinite().all()
    assert distance(edited, plain) > 1e-3


RESTARTS = {
    "EPS": [14.6, 7.0, 3.0, 1.0, 5.0, 2.0, 0.5, 0.0],
    "FLOW": [0.99, 0.8, 0.5, 0.2, 0.7, 0.4, 0.1, 0.0],
}
# One of each kind: in one evaluation, in two, with a memory, with noise, which not all of them survive.
RESTARTED = ["euler", "heun", "dpm_2_ancestral", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "uni_pc", *FREE]


@RISING
@pytest.mark.parametrize("name", RESTARTED)
def test_restarts_count_the_steps_of_the_whole_schedule(host: Host, name: str, evaluations: list[Seen]) -> None:
    seen, sigmas = Evaluations(host.eps), RESTARTS["EPS"]
    model = host.patched(*host.two(), model=seen.model)
    # Some SDE samplers take the root of a negative number where the noise rises, with or without concepts.
    if custom(host, host.eps, name, sigmas).isfinite().all():
        assert custom(host, model, name, sigmas).isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"^SEGAModelPatch: the latent has become NaN or infinite"):
            custom(host, model, name, sigmas)
    steps = [done.step for done in evaluations]
    for sigma, step in zip(seen.sigmas, steps, strict=True):
        low, high = sorted(sigmas[step : step + 2])
        assert low * (1 - 1e-3) <= sigma <= high * (1 + 1e-3)
    if name not in FREE:
        assert set(steps) == set(range(len(sigmas) - 1))


@RISING
@pytest.mark.parametrize(
    ("kind", "instead_of", "start", "end"), [("EPS", None, 0.15, 0.5), ("FLOW", 1, 0.25, 0.7)], ids=["EPS", "FLOW"]
)
def test_a_restart_is_edited_from_the_first_step_of_its_levels_to_the_last(
    host: Host, models: dict[str, Any], kind: str, instead_of: int | None, start: float, end: float
) -> None:
    seen, sigmas = Evaluations(models[kind]), RESTARTS[kind]
    # The third step comes before the rise, the fourth has less noise than the concept's end.
    assert acting(models[kind], sigmas, [(start, end)]) == [0, 0, 1, 0, 1, 1, 0]
    concept = host.concept(10, instead_of, start_percent=start, end_percent=end)
    edited = custom(host, host.patched(concept, model=seen.model, momentum_scale=0.0), "euler", sigmas)
    assert seen.concepts == [0, 0, 1, 1, 1, 1, 0]
    assert distance(edited, custom(host, models[kind], "euler", sigmas)) > 1e-4


@RISING
@pytest.mark.parametrize(
    ("name", "steps", "kind"), [("euler", [0, 1, 2, 3, 4], "FLOW"), ("heun", [0, 1, 1, 2, 2, 3, 3, 4, 4], "EPS")]
)
def test_an_inversion_counts_its_steps(
    host: Host, models: dict[str, Any], name: str, steps: list[int], kind: str
) -> None:
    seen = Evaluations(models[kind])
    flipped = host.custom.FlipSigmas.execute(torch.tensor(schedule(host, models[kind])))[0].tolist()
    # Numbers below 1 keep the last step of a flow model away from dividing by 1 - 1.
    flipped[-1] = min(flipped[-1], 0.99) if kind == "FLOW" else flipped[-1]
    start = {"add_noise": False, "latent_image": {"samples": noise(1, 4, 8, 8)}}
    edited = custom(host, timed(host, seen.model), name, flipped, **start)
    # Heun's last corrector stands at the schedule's end: the last step is the one that leads there.
    counts = acting(models[kind], flipped)
    expected = [counts[step] for step in steps]
    assert seen.concepts[: len(expected)] == expected
    assert set(seen.concepts[len(expected) :]) <= {expected[-1]}
    assert edited.isfinite().all()
    assert distance(edited, custom(host, models[kind], name, flipped, **start)) > 1e-4


@RISING
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
def test_an_evaluation_without_noise_is_left_alone(
    host: Host, models: dict[str, Any], kind: str, guidance_log: list[torch.Tensor | None]
) -> None:
    import comfy.samplers

    denoised: list[torch.Tensor] = []

    def invert(model: Any, x: torch.Tensor, sigmas: torch.Tensor, extra_args: Any = None, **_: Any) -> torch.Tensor:
        for sigma, after in itertools.pairwise(sigmas):
            out = model(x, sigma.expand(x.shape[0]), **extra_args)
            denoised.append(out)
            x = x if sigma == 0 else x + (x - out) / sigma * (after - sigma)
        return x

    sigmas = sorted({0.0, *(sigma for sigma in schedule(host, models[kind]) if kind == "EPS" or sigma < 1)})
    start = {"add_noise": False, "latent_image": {"samples": noise(1, 4, 8, 8)}}
    sampler = comfy.samplers.KSAMPLER(invert)
    plain = custom(host, models[kind], sampler, sigmas, **start)
    unedited = denoised[0]
    denoised.clear()
    edited = custom(host, host.patched(*host.two(), model=models[kind], momentum_scale=0.5), sampler, sigmas, **start)
    assert torch.equal(denoised[0], unedited)
    assert edited.isfinite().all()
    assert all(guidance is None or guidance.isfinite().all() for guidance in guidance_log)
    assert distance(edited, plain) > 1e-4


@SCHEDULES
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
def test_concepts_act_in_time_on_every_schedule(host: Host, models: dict[str, Any], kind: str, scheduler: str) -> None:
    model, sigmas = models[kind], schedule(host, models[kind], scheduler=scheduler)
    exact = scheduler in ("normal", "simple", "ddim_uniform") and len(sigmas) == STEPS + 1
    spans = SPANS if exact else spans_on(model, sigmas)
    assert acting(model, sigmas, spans)[:STEPS] == [0, 1, 2, 1, 0]
    sampling = {"scheduler": scheduler, "steps": STEPS}
    _, seen = edited_in_time(host, model, sigmas, lambda each: host.sample(each, **sampling), spans)
    assert len(seen.sigmas) == len(sigmas) - 1


# The node, what it is given, where "model" and "sigmas" stand for those, and which of its outputs is taken.
SCHEDULE_NODES: list[tuple[str, tuple[Any, ...], int]] = [
    ("KarrasScheduler", (STEPS, 14.6, 0.03, 7.0), 0),
    ("ExponentialScheduler", (STEPS, 14.6, 0.03), 0),
    ("PolyexponentialScheduler", (STEPS, 14.6, 0.03, 1.5), 0),
    ("LaplaceScheduler", (STEPS, 14.6, 0.03, 0.0, 0.5), 0),
    ("VPScheduler", (STEPS, 19.9, 0.1, 0.001), 0),
    ("SplitSigmas", ("sigmas", 4), 0),
    ("SplitSigmas", ("sigmas", 1), 1),
    ("SplitSigmasDenoise", ("sigmas", 0.8), 1),
    ("SetFirstSigma", ("sigmas", 40.0), 0),
    ("ExtendIntermediateSigmas", ("sigmas", 2, -1.0, 2.0, "cosine"), 0),
    ("ManualSigmas", ("12, 7.5, 3, 1, 0.4, 0",), 0),
    ("BasicScheduler", ("model", "normal", STEPS, 0.7), 0),
    ("BetaSamplingScheduler", ("model", STEPS, 0.5, 0.7), 0),
    ("SDTurboScheduler", ("model", STEPS, 1.0), 0),
    ("AlignYourStepsScheduler", ("SD1", STEPS, 1.0), 0),
    ("GITSScheduler", (1.2, STEPS, 1.0), 0),
    ("OptimalStepsScheduler", ("FLUX", STEPS, 1.0), 0),
]
MODULES = {"Align": "nodes_align_your_steps", "GITSS": "nodes_gits", "Optim": "nodes_optimalsteps"}


@SCHEDULES
@pytest.mark.parametrize(("name", "given", "output"), SCHEDULE_NODES)
def test_concepts_act_in_time_on_the_schedule_nodes(
    host: Host, models: dict[str, Any], name: str, given: tuple[Any, ...], output: int
) -> None:
    model = models["FLOW" if name in ("BetaSamplingScheduler", "OptimalStepsScheduler") else "EPS"]
    known = {"model": model, "sigmas": torch.tensor(schedule(host, model))}
    node = find_node(MODULES.get(name[:5], "nodes_custom_sampler"), name)
    made = node.execute(*(known.get(each, each) if isinstance(each, str) else each for each in given))
    sigmas = made[output].tolist()
    spans = spans_on(model, sigmas)
    _, seen = edited_in_time(host, model, sigmas, lambda each: custom(host, each, "euler", sigmas), spans)
    assert len(seen.sigmas) == len(sigmas) - 1


@PARTIAL
@pytest.mark.parametrize(
    ("name", "kind"),
    [("euler", "EPS"), ("ddim", "FLOW"), ("uni_pc", "EPS"), ("dpmpp_2m_sde", "FLOW"), ("dpm_fast", "EPS")],
)
def test_denoise_below_1_keeps_the_noise_levels_of_start_and_end(
    host: Host, models: dict[str, Any], name: str, kind: str
) -> None:
    model, sigmas = models[kind], schedule(host, models[kind], name, denoise=0.6)
    assert sigmas[0] < 0.7 * schedule(host, model, name)[0]
    options = {"latent": {"samples": noise(1, 4, 8, 8)}, "sampler_name": name, "steps": STEPS, "denoise": 0.6}
    edited_in_time(host, model, sigmas, lambda each: host.sample(each, **options))


def advanced(host: Host, model: Any, latent: torch.Tensor, **changes: Any) -> torch.Tensor:
    """Sample with KSamplerAdvanced; by default all steps, with noise, to the end."""
    inputs = {
        "add_noise": "enable", "noise_seed": 3, "steps": STEPS, "cfg": 4.0, "sampler_name": "euler",
        "scheduler": "normal", "positive": host.conditioning(1), "negative": host.conditioning(2), "start_at_step": 0,
        "end_at_step": 10000, "return_with_leftover_noise": "disable", **changes,
    }  # fmt: skip
    return host.nodes.KSamplerAdvanced().sample(model, latent_image={"samples": latent}, **inputs)[0]["samples"]


FIRST = {"end_at_step": 2, "return_with_leftover_noise": "enable"}
SECOND = {"add_noise": "disable", "start_at_step": 2}


@PARTIAL
@pytest.mark.parametrize(("name", "kind"), [("euler", "V_PREDICTION"), ("heun", "EPS"), ("dpm_2", "FLOW")])
def test_two_halves_in_a_row_are_the_whole(host: Host, models: dict[str, Any], name: str, kind: str) -> None:
    model, start = host.patched(*host.two(), model=models[kind], momentum_scale=0.0), host.latent()["samples"]
    whole = advanced(host, model, start, sampler_name=name)
    half = advanced(host, model, start, sampler_name=name, **FIRST)
    assert distance(advanced(host, model, half, sampler_name=name, **SECOND), whole) < 1e-4
    # The edit of either half alone is another image.
    assert distance(advanced(host, models[kind], half, sampler_name=name, **SECOND), whole) > 1e-3


@PARTIAL
def test_a_part_goes_on_where_the_one_before_ended(host: Host) -> None:
    seen = Evaluations(host.eps)
    model, start = timed(host, seen.model), host.latent()["samples"]
    whole = advanced(host, model, start)
    in_parts = advanced(host, model, advanced(host, model, start, **FIRST), **SECOND)
    assert seen.concepts == [0, 1, 2, 1, 0] * 2
    assert distance(in_parts, whole) < 1e-4


def step_by_step(host: Host, model: Any, **changes: Any) -> torch.Tensor:
    """Sample each step in a call of its own, and once more when nothing is left to do, as Impact's nodes."""
    latent = host.latent()["samples"]
    for step in range(STEPS + 1):
        span = {"start_at_step": step, "end_at_step": step + 1, "return_with_leftover_noise": "enable"}
        latent = advanced(host, model, latent, add_noise="disable" if step else "enable", **span, **changes)
    return latent


@STEP_BY_STEP
@pytest.mark.parametrize(("name", "kind"), [("euler", "EPS"), ("euler", "V_PREDICTION"), ("dpm_2", "FLOW")])
def test_one_step_at_a_time_is_the_whole(host: Host, models: dict[str, Any], name: str, kind: str) -> None:
    """Impact's TwoAdvancedSamplersForMask and RegionalSampler."""
    seen = Evaluations(models[kind])
    model, start = timed(host, seen.model), host.latent()["samples"]
    whole = advanced(host, model, start, sampler_name=name)
    in_one_go = list(seen.concepts)
    assert distance(step_by_step(host, model, sampler_name=name), whole) < 1e-4
    assert seen.concepts == in_one_go * 2
    assert distance(advanced(host, models[kind], start, sampler_name=name), whole) > 1e-3


@STEP_BY_STEP
@pytest.mark.parametrize("name", ["euler", "heun"])
@pytest.mark.parametrize("mode", ["reference", "independent"])
@pytest.mark.parametrize("memory", [{"momentum_scale": 0.9}, {"reuse_steps": 3}])
def test_one_step_at_a_time_remembers_nothing(host: Host, name: str, mode: str, memory: dict[str, float]) -> None:
    def patched(**settings: float) -> Any:
        return host.patched(*host.two(), mode=mode, **{"momentum_scale": 0.0, **settings})

    start = host.latent()["samples"]
    without = advanced(host, patched(), start, sampler_name=name)
    assert distance(step_by_step(host, patched(**memory), sampler_name=name), without) < 1e-5
    assert distance(advanced(host, patched(**memory), start, sampler_name=name), without) > 1e-4


@STEP_BY_STEP
@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION"])
def test_a_zero_in_front_of_a_schedule_is_no_step(host: Host, models: dict[str, Any], kind: str, first: int) -> None:
    """RES4LYF's chains: every part has the whole schedule, between two zeros, and begins where the last one ended."""
    import comfy.k_diffusion.sampling
    import comfy.samplers

    def part(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **options: Any) -> torch.Tensor:
        return comfy.k_diffusion.sampling.sample_euler(model, x, sigmas[1 + first : -1], **options)

    seen, sigmas = Evaluations(models[kind]), schedule(host, models[kind])
    model = timed(host, seen.model)
    start = {"add_noise": False, "latent_image": {"samples": sigmas[first] * noise(1, 4, 8, 8)}}
    expected = custom(host, model, "euler", sigmas[first:], **start)
    chained = custom(host, model, comfy.samplers.KSAMPLER(part), [0.0, *sigmas, 0.0], **start)
    assert torch.equal(chained, expected)
    assert seen.concepts == [0, 1, 2, 1, 0][first:] * 2


@PARTIAL
def test_an_end_before_the_last_step_removes_the_rest_of_the_noise_where_asked(host: Host) -> None:
    model, start = host.patched(*host.two()), host.latent()["samples"]
    clean, noisy = (
        advanced(host, model, start, end_at_step=3, return_with_leftover_noise=value) for value in ("disable", "enable")
    )
    assert torch.equal(clean, custom(host, model, "euler", [*schedule(host, host.eps)[:3], 0.0]))
    assert distance(noisy, clean) > 1e-3
    assert distance(clean, advanced(host, host.eps, start, end_at_step=3)) > 1e-3


def sample_advanced(host: Host, model: Any, noise: Any, sampler: str, sigmas: Any, latent: Any) -> torch.Tensor:
    """Sample with SamplerCustomAdvanced."""
    guider = host.custom.CFGGuider.execute(model, host.conditioning(1), host.conditioning(2), 4.0)[0]
    chosen, sigmas = host.custom.KSamplerSelect.execute(sampler)[0], torch.tensor(sigmas)
    return host.custom.SamplerCustomAdvanced.execute(noise, guider, chosen, sigmas, latent)[0]["samples"]


@CUSTOM
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "uni_pc"])
def test_every_sampling_node_gives_the_same_bits(host: Host, name: str) -> None:
    concepts, start = host.two(start_percent=0.2), host.latent()
    model, sigmas = host.patched(*concepts, momentum_scale=0.5), schedule(host, host.eps, name)
    with_node = host.sega(*concepts, momentum_scale=0.5, sampler_name=name, steps=STEPS)
    assert torch.equal(host.sample(model, sampler_name=name, steps=STEPS), with_node)
    assert torch.equal(advanced(host, model, start["samples"], sampler_name=name), with_node)
    assert torch.equal(custom(host, model, name, sigmas), with_node)
    random = host.custom.RandomNoise.execute(3)[0]
    assert torch.equal(sample_advanced(host, model, random, name, sigmas, start), with_node)
    assert distance(with_node, host.sample(sampler_name=name, steps=STEPS)) > 1e-3


@CUSTOM
def test_the_denoised_output_is_edited(host: Host) -> None:
    sigmas = torch.tensor(schedule(host, host.eps)[:3])
    euler = host.samplers.sampler_object("euler")

    def outputs(model: Any) -> list[torch.Tensor]:
        arguments = (host.conditioning(1), host.conditioning(2), euler, sigmas, host.latent())
        both = host.custom.SamplerCustom.execute(model, True, 3, 4.0, *arguments)
        return [both[0]["samples"], both[1]["samples"]]

    late = host.concept(start_percent=0.2)
    plain, edited = outputs(host.eps), outputs(host.patched(late, momentum_scale=0.0))
    # The last step goes from the second noise level to the third; its prediction goes all the way.
    part = float(1 - sigmas[2] / sigmas[1])
    assert distance(edited[1], plain[1]) > 1e-3
    assert distance(edited[0] - plain[0], part * (edited[1] - plain[1])) < 1e-3


@CUSTOM
def test_noise_that_is_added_beforehand_is_the_samplers_own(host: Host) -> None:
    model, sigmas = host.patched(*host.two(), momentum_scale=0.5), schedule(host, host.eps)[2:]
    latent, random = {"samples": noise(1, 4, 8, 8)}, host.custom.RandomNoise.execute(3)[0]
    noisy = host.custom.AddNoise.execute(model, random, torch.tensor(sigmas), latent)[0]
    added = sample_advanced(host, model, random, "euler", sigmas, latent)
    given = sample_advanced(host, model, host.custom.DisableNoise.execute()[0], "euler", sigmas, noisy)
    assert distance(given, added) < 1e-3
    assert distance(added, custom(host, host.eps, "euler", sigmas, latent_image=latent)) > 1e-3


@pytest.mark.compat("Refused with a clear error", "autoregressive video (SamplerARVideo), block by block")
def test_a_sampler_that_starts_anew_for_each_block_is_refused(host: Host) -> None:
    sampler = find_node("nodes_ar_video", "SamplerARVideo").execute(1)[0]
    model = family_model("WAN21_CausalAR_T2V", WAN)

    def video(each: Any) -> torch.Tensor:
        guider = host.custom.BasicGuider.execute(each, host.conditioning(1))[0]
        noise, latent = host.custom.RandomNoise.execute(3)[0], {"samples": torch.zeros(1, 16, 3, 4, 4)}
        sigmas = torch.tensor([1.0, 0.7, 0.3, 0.0])
        return host.custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]["samples"]

    assert video(model).isfinite().all()
    with pytest.raises(ValueError, match="SEGAModelPatch: concepts"):
        video(host.patched(host.concept(), model=model))
