"""Every sampler and every schedule of the host: finite, repeatable, edited, and each step at its own noise level."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import COMFYUI
from support.evaluations import Seen
from support.host import CONCEPT, KINDS, Host, every_kind
from support.models import family_model
from support.tensors import distance

STEPS = 5
PREDICTIONS = ["EPS", "V_PREDICTION", "FLOW"]
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
CUSTOM = pytest.mark.compat("Sampling nodes", "SamplerCustom, SamplerCustomAdvanced, noise nodes")


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
    plugins = metafunc.config.pluginmanager.get_plugins()
    comfyui = next(plugin.COMFYUI for plugin in plugins if hasattr(plugin, "COMFYUI"))
    for name, values in listed_names(comfyui).items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)


@pytest.fixture(scope="module")
def models(host: Host) -> dict[str, Any]:
    import comfy.model_base

    return {name: host.model(comfy.model_base.ModelType[name]) for name in PREDICTIONS}


class Evaluations:
    """The evaluations of a MODEL: the noise level of each, and how many passes it took."""

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.sigmas: list[float] = []
        self.passes: list[int] = []
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "evaluations", self._note)

    def _note(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("transformer_options") or args[4]
        self.sigmas.append(float(options["sigmas"].max()))
        self.passes.append(x.shape[0])
        return executor(x, *args, **kwargs)


def step_at(sigma: float, sigmas: Sequence[float]) -> int:
    """Return the last step of a falling schedule that starts at this noise level or above."""
    return max((i for i, start in enumerate(sigmas[:-1]) if start >= sigma * (1 - 5e-5)), default=0)


def spans_on(model: Any, sigmas: Sequence[float]) -> list[tuple[float, ...]]:
    """Return starts and ends that lie half-way between the same steps of another schedule, as percents."""
    level = model.get_model_object("model_sampling").percent_to_sigma
    percents = torch.linspace(0, 1, 10_001)[1:].tolist()
    levels = [float(level(percent)) for percent in percents]

    def before(step: int) -> float:
        middle = math.sqrt(sigmas[step - 1] * sigmas[step])
        return next(percent for percent, at in zip(percents, levels, strict=True) if at <= middle)

    return [tuple(before(step) for step in span) for span in STEP_SPANS]


Spans = Sequence[tuple[float, ...]]


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


def assert_in_time(seen: Evaluations, sigmas: Sequence[float], spans: Spans = SPANS) -> None:
    """Check that each concept acts exactly from its start's noise level to its end's."""
    steps = [step_at(sigma, sigmas) for sigma in seen.sigmas]
    expected = acting(seen.model, sigmas, spans)
    found = list(zip(steps, seen.sigmas, [passes - 2 for passes in seen.passes], strict=True))
    assert found == list(zip(steps, seen.sigmas, [expected[step] for step in steps], strict=True))
    assert 0 in expected
    assert any(expected)


def schedule(host: Host, model: Any, sampler: str = "euler", scheduler: str = "normal", **options: Any) -> list[float]:
    made = host.samplers.KSampler(model, STEPS, "cpu", sampler=sampler, scheduler=scheduler, **options)
    return made.sigmas.tolist()


def custom(host: Host, model: Any, sampler: Any, sigmas: Any, **changes: Any) -> torch.Tensor:
    """Sample with SamplerCustom."""
    arguments = {"add_noise": True, "noise_seed": 3, "latent_image": host.latent(), **changes}
    return host.custom.SamplerCustom.execute(
        model,
        cfg=4.0,
        positive=host.conditioning(1),
        negative=host.conditioning(2),
        sampler=sampler,
        sigmas=torch.as_tensor(sigmas, dtype=torch.float32),
        **arguments,
    )[0]["samples"]


def picture(seed: int = 7) -> torch.Tensor:
    return torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def test_no_sampler_or_scheduler_of_the_host_is_left_out(host: Host) -> None:
    names = listed_names(COMFYUI)
    assert names["sampler"] == list(host.samplers.SAMPLER_NAMES)
    assert names["scheduler"] == list(host.samplers.SCHEDULER_NAMES)


@EVERY
def test_every_sampler_is_edited_and_repeatable(host: Host, sampler: str) -> None:
    concepts = host.concept(10), host.concept(11, instead_of=1, direction="remove")
    model = host.patched(*concepts, momentum_scale=0.5)
    plain, edited, again, other = (
        host.sample(each, sampler_name=sampler, steps=3, seed=seed)
        for each, seed in ((host.eps, 3), (model, 3), (model, 3), (model, 4))
    )
    assert edited.isfinite().all()
    assert other.isfinite().all()
    assert torch.equal(edited, again)
    assert distance(edited, plain) > 1e-3
    assert distance(other, edited) > 1e-2


@IN_TIME
def test_concepts_act_between_start_and_end(host: Host, sampler: str) -> None:
    seen = Evaluations(host.eps)
    out = host.sample(timed(host, seen.model), sampler_name=sampler, steps=STEPS)
    assert out.isfinite().all()
    assert_in_time(seen, schedule(host, host.eps, sampler))


@IN_TIME
@pytest.mark.parametrize(("kind", "mode"), [("V_PREDICTION", "reference"), ("FLOW", "independent")])
def test_momentum_advances_once_per_step(
    host: Host, models: dict[str, Any], kind: str, mode: str, sampler: str, evaluations: list[Seen]
) -> None:
    scale, beta = 0.5, 0.3
    seen = Evaluations(models[kind])
    core = host.pack.sega_core
    same = core.Concept(guidance_scale=CONCEPT["guidance_scale"], threshold=CONCEPT["threshold"], warmup_steps=0)
    concepts = [host.concept(10), host.concept(11, instead_of=1)]
    model = host.patched(*concepts, model=seen.model, mode=mode, momentum_scale=scale, momentum_beta=beta)
    host.sample(model, sampler_name=sampler, steps=STEPS)

    def gamma_of(done: Seen) -> torch.Tensor:
        return sum(core.concept_guidance(core.Comparison(done.differences[c]), same) for c in range(2))

    calls = [(done.step, gamma_of(done), done.guidance) for done in evaluations]
    steps = [step for step, _, _ in calls]
    assert steps == [step_at(sigma, schedule(host, models[kind], sampler)) for sigma in seen.sigmas]
    if sampler not in FREE:
        assert set(steps) == set(range(STEPS))
    # What a step leaves behind is its last evaluation's; with weights of 1 the modes add up to the same.
    last = {step: (gamma, out) for step, gamma, out in calls}
    momentum = torch.zeros_like(calls[0][2])
    for step in range(STEPS):
        gamma, out = last.get(step, (torch.zeros_like(momentum), None))
        edit = gamma + scale * momentum
        if out is not None:
            torch.testing.assert_close(out, edit, rtol=1e-4, atol=1e-4 * float(edit.abs().max()))
        momentum = beta * momentum + (1 - beta) * edit


SAMPLER_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "euler ancestral, eta 0.5": ("SamplerEulerAncestral", {"eta": 0.5, "s_noise": 0.9}),
    "euler ancestral CFG++": ("SamplerEulerAncestralCFGPP", {"eta": 0.5, "s_noise": 0.9}),
    "LMS, order 2": ("SamplerLMS", {"order": 2}),
    "DPM++ 2S ancestral": ("SamplerDPMPP_2S_Ancestral", {"eta": 0.5, "s_noise": 0.9}),
    "DPM++ SDE": ("SamplerDPMPP_SDE", {"eta": 0.5, "s_noise": 0.9, "r": 0.4, "noise_device": "cpu"}),
    "DPM++ SDE that looks ahead": ("SamplerDPMPP_SDE", {"eta": 1.0, "s_noise": 1.0, "r": 1.5, "noise_device": "cpu"}),
    "DPM++ 2M SDE": ("SamplerDPMPP_2M_SDE", {"solver_type": "heun", "eta": 0.5, "s_noise": 0.9, "noise_device": "gpu"}),
    "DPM++ 3M SDE": ("SamplerDPMPP_3M_SDE", {"eta": 0.5, "s_noise": 0.9, "noise_device": "cpu"}),
    "ER-SDE": ("SamplerER_SDE", {"solver_type": "Reverse-time SDE", "max_stage": 2, "eta": 0.5, "s_noise": 0.9}),
    "SEEDS-2": ("SamplerSEEDS2", {"solver_type": "phi_2", "eta": 0.5, "s_noise": 0.9, "r": 1.0}),
    "SA-Solver": (
        "SamplerSASolver",
        {
            "eta": 0.5,
            "sde_start_percent": 0.1,
            "sde_end_percent": 0.9,
            "s_noise": 0.9,
            "predictor_order": 2,
            "corrector_order": 2,
            "use_pece": True,
            "simple_order_2": True,
        },
    ),
}


@NOISE
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize("name", SAMPLER_NODES)
def test_sampler_nodes_with_options_of_their_own(host: Host, models: dict[str, Any], name: str, kind: str) -> None:
    node, options = SAMPLER_NODES[name]
    model = {"model": models[kind]} if node == "SamplerSASolver" else {}
    sampler = getattr(host.custom, node).execute(**model, **options)[0]
    assert_sampled_in_time(host, models[kind], sampler)


def assert_sampled_in_time(host: Host, model: Any, sampler: Any) -> Evaluations:
    sigmas = schedule(host, model)
    seen = Evaluations(model)
    edited = custom(host, timed(host, seen.model), sampler, sigmas)
    assert_in_time(seen, sigmas)
    assert edited.isfinite().all()
    assert distance(edited, custom(host, model, sampler, sigmas)) > 1e-4
    assert torch.equal(custom(host, timed(host, model), sampler, sigmas), edited)
    return seen


@NOISE
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize("name", ["euler", "heun", "heunpp2", "dpm_2"])
def test_churn_acts_at_the_noise_level_that_it_reaches(
    host: Host, models: dict[str, Any], name: str, kind: str
) -> None:
    sampler = host.samplers.ksampler(name, {"s_churn": 1.0})
    seen = assert_sampled_in_time(host, models[kind], sampler)
    assert max(seen.sigmas) > 1.1 * schedule(host, models[kind])[0]


@NOISE
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize(("order", "eta"), [(3, 0.0), (2, 1.0)])
def test_a_step_that_is_tried_again_is_the_same_step(
    host: Host, models: dict[str, Any], order: int, eta: float, kind: str
) -> None:
    options = {"rtol": 0.05, "atol": 0.0078, "pcoeff": 0.0, "icoeff": 1.0, "dcoeff": 0.0, "accept_safety": 0.81}
    sampler = host.custom.SamplerDPMAdaptative.execute(order=order, h_init=5.0, eta=eta, s_noise=1.0, **options)[0]
    seen = assert_sampled_in_time(host, models[kind], sampler)
    assert any(later > earlier for earlier, later in itertools.pairwise(seen.sigmas))


@NOISE
def test_ancestral_sampling_without_its_noise_is_the_plain_sampler_edited(host: Host) -> None:
    model, sigmas = host.patched(host.concept(10), host.concept(11)), schedule(host, host.eps)
    ancestral, loud = (host.custom.SamplerEulerAncestral.execute(eta, 1.0)[0] for eta in (0.0, 1.0))
    euler = custom(host, model, host.samplers.sampler_object("euler"), sigmas)
    assert distance(custom(host, model, ancestral, sigmas), euler) < 1e-4
    assert distance(custom(host, model, loud, sigmas), euler) > 1e-3


@NOISE
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_sampler_that_enlarges_the_latents_is_edited(host: Host, momentum: float) -> None:
    from comfy_extras import nodes_advanced_samplers

    sampler = nodes_advanced_samplers.SamplerLCMUpscale.execute(2.0, -1, "bicubic")[0]
    sigmas = schedule(host, host.eps)
    plain = custom(host, host.eps, sampler, sigmas)
    edited = custom(host, host.patched(host.concept(), momentum_scale=momentum), sampler, sigmas)
    assert edited.shape == plain.shape == (1, 4, 16, 16)
    assert edited.isfinite().all()
    assert distance(edited, plain) > 1e-3


RESTARTS = {
    "EPS": [14.6, 7.0, 3.0, 1.0, 5.0, 2.0, 0.5, 0.0],
    "FLOW": [0.99, 0.8, 0.5, 0.2, 0.7, 0.4, 0.1, 0.0],
}


@RISING
def test_restarts_count_the_steps_of_the_whole_schedule(host: Host, sampler: str, evaluations: list[Seen]) -> None:
    seen, sigmas = Evaluations(host.eps), RESTARTS["EPS"]
    chosen = host.samplers.sampler_object(sampler)
    model = host.patched(host.concept(), host.concept(11, instead_of=1), model=seen.model)
    # Some SDE samplers take the root of a negative number where the noise rises, with or without concepts.
    if custom(host, host.eps, chosen, sigmas).isfinite().all():
        assert custom(host, model, chosen, sigmas).isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"^SEGAModelPatch: the latent has become NaN or infinite"):
            custom(host, model, chosen, sigmas)
    steps = [done.step for done in evaluations]
    for sigma, step in zip(seen.sigmas, steps, strict=True):
        low, high = sorted(sigmas[step : step + 2])
        assert low * (1 - 1e-3) <= sigma <= high * (1 + 1e-3)
    if sampler not in FREE:
        assert set(steps) == set(range(len(sigmas) - 1))


@RISING
@every_kind
@pytest.mark.parametrize("kind", RESTARTS)
def test_a_restart_is_edited_from_the_first_step_of_its_levels_to_the_last(
    host: Host, models: dict[str, Any], kind: str, instead_of: int | None
) -> None:
    seen, sigmas = Evaluations(models[kind]), RESTARTS[kind]
    euler = host.samplers.sampler_object("euler")
    span = (
        {"start_percent": 0.25, "end_percent": 0.7} if kind == "FLOW" else {"start_percent": 0.15, "end_percent": 0.5}
    )
    level = models[kind].get_model_object("model_sampling").percent_to_sigma
    within = [level(span["end_percent"]) < sigma <= level(span["start_percent"]) for sigma in sigmas[:-1]]
    # The third step comes before the rise, the fourth has less noise than the concept's end.
    assert within == [False, False, True, False, True, True, False]
    model = host.patched(host.concept(instead_of=instead_of, **span), model=seen.model, momentum_scale=0.0)
    edited = custom(host, model, euler, sigmas)
    assert seen.passes == [2, 2, 3, 3, 3, 3, 2]
    assert distance(edited, custom(host, models[kind], euler, sigmas)) > 1e-4


@RISING
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize(("name", "steps"), [("euler", [0, 1, 2, 3, 4]), ("heun", [0, 1, 1, 2, 2, 3, 3, 4, 4])])
def test_an_inversion_counts_its_steps(
    host: Host, models: dict[str, Any], name: str, steps: list[int], kind: str
) -> None:
    seen = Evaluations(models[kind])
    flipped = host.custom.FlipSigmas.execute(torch.tensor(schedule(host, models[kind])))[0]
    # Numbers below 1 keep the last step of a flow model away from dividing by 1 - 1.
    flipped = flipped.clamp(max=0.99) if kind == "FLOW" else flipped
    latent = {"samples": picture()}
    sampler = host.samplers.sampler_object(name)
    edited = custom(host, timed(host, seen.model), sampler, flipped, add_noise=False, latent_image=latent)
    found = [passes - 2 for passes in seen.passes]
    # Heun's last corrector stands at the schedule's end: the last step is the one that leads there.
    counts = acting(models[kind], flipped.tolist())
    expected = [counts[step] for step in steps]
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {expected[-1]}
    assert edited.isfinite().all()
    plain = custom(host, models[kind], sampler, flipped, add_noise=False, latent_image=latent)
    assert distance(edited, plain) > 1e-4


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
    latent, sampler = {"samples": picture()}, comfy.samplers.KSAMPLER(invert)
    plain = custom(host, models[kind], sampler, sigmas, add_noise=False, latent_image=latent)
    unedited = denoised[0]
    denoised.clear()
    model = host.patched(host.concept(), host.concept(11), model=models[kind], momentum_scale=0.5)
    edited = custom(host, model, sampler, sigmas, add_noise=False, latent_image=latent)
    assert torch.equal(denoised[0], unedited)
    assert edited.isfinite().all()
    assert all(guidance is None or guidance.isfinite().all() for guidance in guidance_log)
    assert any(guidance is not None and guidance.any() for guidance in guidance_log)
    assert distance(edited, plain) > 1e-4


@SCHEDULES
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
def test_concepts_act_in_time_on_every_schedule(host: Host, models: dict[str, Any], kind: str, scheduler: str) -> None:
    seen, sigmas = Evaluations(models[kind]), schedule(host, models[kind], scheduler=scheduler)
    exact = scheduler in ("normal", "simple", "ddim_uniform") and len(sigmas) == STEPS + 1
    spans = SPANS if exact else spans_on(models[kind], sigmas)
    sampling = {"scheduler": scheduler, "steps": STEPS}
    edited, again = (host.sample(timed(host, model, spans), **sampling) for model in (seen.model, models[kind]))
    assert_in_time(seen, sigmas, spans)
    assert acting(models[kind], sigmas, spans)[:STEPS] == [0, 1, 2, 1, 0]
    assert len(seen.sigmas) == len(sigmas) - 1
    assert edited.isfinite().all()
    assert torch.equal(edited, again)
    assert distance(edited, host.sample(models[kind], scheduler=scheduler, steps=STEPS)) > 1e-4


SCHEDULE_NODES: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "Karras": lambda node, _: node.KarrasScheduler.execute(STEPS, 14.6, 0.03, 7.0)[0],
    "exponential": lambda node, _: node.ExponentialScheduler.execute(STEPS, 14.6, 0.03)[0],
    "polyexponential": lambda node, _: node.PolyexponentialScheduler.execute(STEPS, 14.6, 0.03, 1.5)[0],
    "Laplace": lambda node, _: node.LaplaceScheduler.execute(STEPS, 14.6, 0.03, 0.0, 0.5)[0],
    "VP": lambda node, _: node.VPScheduler.execute(STEPS, 19.9, 0.1, 0.001)[0],
    "split, first part": lambda node, sigmas: node.SplitSigmas.execute(sigmas, 4)[0],
    "split, second part": lambda node, sigmas: node.SplitSigmas.execute(sigmas, 1)[1],
    "split by denoise": lambda node, sigmas: node.SplitSigmasDenoise.execute(sigmas, 0.8)[1],
    "another first noise level": lambda node, sigmas: node.SetFirstSigma.execute(sigmas, 40.0)[0],
    "levels put in between": lambda node, sigmas: node.ExtendIntermediateSigmas.execute(sigmas, 2, -1.0, 2.0, "cosine")[
        0
    ],
    "written by hand": lambda node, _: node.ManualSigmas.execute("12, 7.5, 3, 1, 0.4, 0")[0],
}


@SCHEDULES
@pytest.mark.parametrize("name", SCHEDULE_NODES)
def test_concepts_act_in_time_on_the_schedule_nodes(host: Host, name: str) -> None:
    sigmas = SCHEDULE_NODES[name](host.custom, torch.tensor(schedule(host, host.eps)))
    assert_schedule_in_time(host, host.eps, sigmas)


def assert_schedule_in_time(host: Host, model: Any, sigmas: torch.Tensor) -> None:
    seen, euler = Evaluations(model), host.samplers.sampler_object("euler")
    spans = spans_on(model, sigmas.tolist())
    edited = custom(host, timed(host, seen.model, spans), euler, sigmas)
    assert_in_time(seen, sigmas.tolist(), spans)
    assert len(seen.sigmas) == len(sigmas) - 1
    assert edited.isfinite().all()
    # One of the schedules leaves noise of ten times the model's own level.
    assert distance(edited, custom(host, model, euler, sigmas)) > 1e-5


@SCHEDULES
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize("name", ["basic", "beta", "turbo", "align your steps", "GITS", "optimal steps"])
def test_concepts_act_in_time_on_the_schedules_of_models(
    host: Host, models: dict[str, Any], name: str, kind: str
) -> None:
    from comfy_extras import nodes_align_your_steps, nodes_gits, nodes_optimalsteps

    model = models[kind]
    sigmas = {
        "basic": lambda: host.custom.BasicScheduler.execute(model, "normal", STEPS, 0.7)[0],
        "beta": lambda: host.custom.BetaSamplingScheduler.execute(model, STEPS, 0.5, 0.7)[0],
        "turbo": lambda: host.custom.SDTurboScheduler.execute(model, STEPS, 1.0)[0],
        "align your steps": lambda: nodes_align_your_steps.AlignYourStepsScheduler.execute("SD1", STEPS, 1.0)[0],
        "GITS": lambda: nodes_gits.GITSScheduler.execute(1.2, STEPS, 1.0)[0],
        "optimal steps": lambda: nodes_optimalsteps.OptimalStepsScheduler.execute("FLUX", STEPS, 1.0)[0],
    }[name]()
    if kind == "FLOW" and name in ("align your steps", "GITS"):
        sigmas = sigmas / sigmas[0]
    assert_schedule_in_time(host, model, sigmas)


@PARTIAL
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
@pytest.mark.parametrize("name", ["euler", "ddim", "uni_pc", "dpmpp_2m_sde", "dpm_fast"])
def test_denoise_below_1_keeps_the_noise_levels_of_start_and_end(
    host: Host, models: dict[str, Any], name: str, kind: str
) -> None:
    seen, latent = Evaluations(models[kind]), {"samples": picture()}
    options = {"latent": latent, "sampler_name": name, "steps": STEPS, "denoise": 0.6}
    edited = host.sample(timed(host, seen.model), **options)
    sigmas = schedule(host, models[kind], name, denoise=0.6)
    assert sigmas[0] < 0.7 * schedule(host, models[kind], name)[0]
    assert_in_time(seen, sigmas)
    assert edited.isfinite().all()
    assert torch.equal(host.sample(timed(host, models[kind]), **options), edited)
    assert distance(edited, host.sample(models[kind], **options)) > 1e-4


def advanced(host: Host, model: Any, latent: torch.Tensor, **changes: Any) -> torch.Tensor:
    """Sample with KSamplerAdvanced; by default all steps, with noise, to the end."""
    arguments = {
        "add_noise": "enable",
        "noise_seed": 3,
        "steps": STEPS,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": host.conditioning(1),
        "negative": host.conditioning(2),
        "start_at_step": 0,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
        **changes,
    }
    return host.nodes.KSamplerAdvanced().sample(model, latent_image={"samples": latent}, **arguments)[0]["samples"]


FIRST = {"end_at_step": 2, "return_with_leftover_noise": "enable"}
SECOND = {"add_noise": "disable", "start_at_step": 2}


@PARTIAL
@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2"])
def test_two_halves_in_a_row_are_the_whole(host: Host, models: dict[str, Any], name: str, kind: str) -> None:
    model = host.patched(host.concept(10), host.concept(11, instead_of=1), model=models[kind], momentum_scale=0.0)
    whole = advanced(host, model, host.latent()["samples"], sampler_name=name)
    half = advanced(host, model, host.latent()["samples"], sampler_name=name, **FIRST)
    assert distance(advanced(host, model, half, sampler_name=name, **SECOND), whole) < 1e-4
    # The edit of either half alone is another image.
    assert distance(advanced(host, models[kind], half, sampler_name=name, **SECOND), whole) > 1e-3


@PARTIAL
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
def test_a_part_goes_on_where_the_one_before_ended(host: Host, models: dict[str, Any], kind: str) -> None:
    seen = Evaluations(models[kind])
    model, start = timed(host, seen.model), host.latent()["samples"]
    whole = advanced(host, model, start)
    assert [passes - 2 for passes in seen.passes] == [0, 1, 2, 1, 0]
    seen.passes.clear()
    in_parts = advanced(host, model, advanced(host, model, start, **FIRST), **SECOND)
    assert [passes - 2 for passes in seen.passes] == [0, 1, 2, 1, 0]
    assert distance(in_parts, whole) < 1e-4


@PARTIAL
def test_an_end_before_the_last_step_removes_the_rest_of_the_noise_where_asked(host: Host) -> None:
    model = host.patched(host.concept(10), host.concept(11))
    start = host.latent()["samples"]
    clean, noisy = (
        advanced(host, model, start, end_at_step=3, return_with_leftover_noise=value) for value in ("disable", "enable")
    )
    sigmas = [*schedule(host, host.eps)[:3], 0.0]
    assert torch.equal(clean, custom(host, model, host.samplers.sampler_object("euler"), sigmas))
    assert distance(noisy, clean) > 1e-3
    assert distance(clean, advanced(host, host.eps, start, end_at_step=3)) > 1e-3


@CUSTOM
@every_kind
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "uni_pc"])
def test_every_sampling_node_gives_the_same_bits(host: Host, name: str, instead_of: int | None) -> None:
    concepts = host.concept(10, instead_of), host.concept(11, instead_of, start_percent=0.2)
    model = host.patched(*concepts, momentum_scale=0.5)
    sampler, sigmas = host.custom.KSamplerSelect.execute(name)[0], torch.tensor(schedule(host, host.eps, name))
    with_node = host.sega(*concepts, momentum_scale=0.5, sampler_name=name, steps=STEPS)
    guider = host.custom.CFGGuider.execute(model, host.conditioning(1), host.conditioning(2), 4.0)[0]
    noise = host.custom.RandomNoise.execute(3)[0]
    advanced_out = host.custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, host.latent())
    assert torch.equal(host.sample(model, sampler_name=name, steps=STEPS), with_node)
    assert torch.equal(advanced(host, model, host.latent()["samples"], sampler_name=name), with_node)
    assert torch.equal(custom(host, model, sampler, sigmas), with_node)
    assert torch.equal(advanced_out[0]["samples"], with_node)
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
    model = host.patched(host.concept(10), host.concept(11), momentum_scale=0.5)
    sigmas = torch.tensor(schedule(host, host.eps)[2:])
    latent, euler = {"samples": picture()}, host.samplers.sampler_object("euler")
    noise, none = host.custom.RandomNoise.execute(3)[0], host.custom.DisableNoise.execute()[0]
    noisy = host.custom.AddNoise.execute(model, noise, sigmas, latent)[0]
    outputs = []
    for each, start in ((noise, latent), (none, noisy)):
        guider = host.custom.CFGGuider.execute(model, host.conditioning(1), host.conditioning(2), 4.0)[0]
        outputs.append(host.custom.SamplerCustomAdvanced.execute(each, guider, euler, sigmas, start)[0]["samples"])
    assert distance(outputs[1], outputs[0]) < 1e-3
    assert distance(outputs[0], custom(host, host.eps, euler, sigmas, latent_image=latent)) > 1e-3


@pytest.mark.compat("Refused with a clear error", "autoregressive video (SamplerARVideo), block by block")
def test_a_sampler_that_starts_anew_for_each_block_is_refused(host: Host) -> None:
    import comfy.supported_models
    import comfyui_version

    if not hasattr(comfy.supported_models, "WAN21_CausalAR_T2V"):
        pytest.skip(f"ComfyUI {comfyui_version.__version__} has no autoregressive video model")
    from comfy_extras import nodes_ar_video

    sizes = {"dim": 32, "ffn_dim": 32, "text_dim": 32, "freq_dim": 32, "num_heads": 2, "num_layers": 1}
    model = family_model("WAN21_CausalAR_T2V", {"image_model": "wan2.1", "model_type": "t2v", **sizes})
    sampler = nodes_ar_video.SamplerARVideo.execute(1)[0]

    def video(each: Any) -> torch.Tensor:
        guider = host.custom.BasicGuider.execute(each, host.conditioning(1))[0]
        noise, latent = host.custom.RandomNoise.execute(3)[0], {"samples": torch.zeros(1, 16, 3, 4, 4)}
        sigmas = torch.tensor([1.0, 0.7, 0.3, 0.0])
        return host.custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]["samples"]

    assert video(model).isfinite().all()
    with pytest.raises(ValueError, match="SEGAModelPatch: concepts"):
        video(host.patched(host.concept(), model=model))
