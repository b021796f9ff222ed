"""What a strength means: in units of the guider's own scale, over a curve, for each image, and its guard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from support import guiders
from support.evaluations import Seen
from support.host import STEPS, Host, every_kind, find_node, run_node
from support.models import LTXAV, family_model
from support.tensors import distance

POSITIVE, NEGATIVE, THIRD, OTHER = 1, 2, 4, 10
RELATIVE = {"guidance_scale": 0.0, "threshold": 0.0}
INDEPENDENT = {"mode": "independent", "momentum_scale": 0.0}
# What is never guarded, and the share of the unedited estimate's range that more may add at a step.
DEFAULT, ROOM = 1.5, 0.05


# Each guider, and how many times the positive prompt's estimate counts in its prediction.
GUIDERS: dict[str, tuple[guiders.Maker, float]] = {
    "CFGGuider": (guiders.cfg(4.0), 4.0),
    "CFGGuider, cfg 1": (guiders.cfg(1.0), 1.0),
    "BasicGuider": (guiders.basic(), 1.0),
    "DualCFGGuider, regular": (guiders.dual("regular"), 4.0),
    "DualCFGGuider, nested": (guiders.dual("nested"), 12.0),
    "PerpNegGuider": (guiders.perp_neg(4.0, 1.0), 4.0),
    "DualModelGuider": (guiders.two_models(4.0), 4.0),
}


@pytest.fixture(scope="module")
def small(host: Host) -> Any:
    """A MODEL that all guiders take, with those that have no text."""
    return host.model(host.eps.model.model_type, **guiders.SMALL)


@every_kind
@pytest.mark.parametrize("name", GUIDERS)
def test_a_strength_is_in_units_of_the_guiders_scale(host: Host, small: Any, name: str, instead_of: int | None) -> None:
    guider, scale = GUIDERS[name]
    mode = "reference" if instead_of is None else "independent"
    relative, absolute = (
        host.guide(guider(host, host.patched(host.concept(OTHER, instead_of, **given), model=small, mode=mode)))
        for given in ({"strength": 0.5, "guidance_scale": 0.0}, {"strength": 1.0, "guidance_scale": 0.5 * scale})
    )
    assert distance(relative, absolute) < 1e-5
    assert distance(relative, host.guide(guider(host, small))) > 1e-3


def scales_of(seen: Seen) -> torch.Tensor:
    """Return how many times a concept's difference was added at an evaluation, (B,)."""
    difference, guidance = seen.differences[0].flatten(1), seen.guidance.flatten(1)
    scale = (guidance * difference).sum(1) / difference.square().sum(1)
    torch.testing.assert_close(guidance, scale[:, None] * difference, rtol=1e-3, atol=1e-4)
    return scale


def assert_scales(evaluations: list[Seen], expected: Any, tolerance: float = 1e-3) -> None:
    found = torch.stack([scales_of(seen) for seen in evaluations])
    torch.testing.assert_close(found, torch.as_tensor(expected).expand_as(found), rtol=tolerance, atol=tolerance)


@pytest.mark.compat("Guidance and model nodes", "CFG Override")
@pytest.mark.parametrize("order", ["override first", "SEGA first"])
def test_a_strength_follows_a_cfg_that_is_overridden_for_some_steps(
    host: Host, order: str, evaluations: list[Seen]
) -> None:
    node = find_node("nodes_custom_sampler", "CFGOverride")

    def overridden(model: Any) -> Any:
        return run_node(node, model=model, cfg=2.0, start_percent=0.3, end_percent=0.8)

    concept = host.concept(OTHER, **RELATIVE)
    if order == "override first":
        model = host.patched(concept, model=overridden(host.eps), **INDEPENDENT)
    else:
        model = overridden(host.patched(concept, **INDEPENDENT))
    host.sample(model, scheduler="simple", steps=4, cfg=4.0)
    assert_scales(evaluations, [[4.0], [4.0], [2.0], [2.0]])


@pytest.mark.compat("Guidance and model nodes", "VideoLinearCFGGuidance, VideoTriangleCFGGuidance")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("VideoLinearCFGGuidance", [1.0, 2.0, 3.0, 4.0]), ("VideoTriangleCFGGuidance", [1.0, 3.0, 3.0, 1.0])],
)
def test_a_strength_follows_the_scale_of_each_frame(
    host: Host, name: str, expected: list[float], evaluations: list[Seen]
) -> None:
    model = run_node(find_node("nodes_video_model", name), model=host.eps, min_cfg=1.0)
    host.sega(host.concept(OTHER, **RELATIVE), model=model, latent=host.latent(4), **INDEPENDENT)
    assert_scales(evaluations, [expected] * STEPS)


# The guard.


class Predictions:
    """A MODEL, and what is predicted with it: before the concepts act, and after."""

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.plain: list[torch.Tensor] = []
        self.edited: list[torch.Tensor] = []
        self.model = model.clone()
        self.model.set_model_sampler_post_cfg_function(self._note)
        kind = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
        self.model.add_wrapper_with_key(kind, "predictions", self._predict)

    def _note(self, args: dict[str, Any]) -> torch.Tensor:
        self.plain.append(args["denoised"].clone())
        return args["denoised"]

    def _predict(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.edited.append(executor(*args, **kwargs).clone())
        return self.edited[-1]


def beyond(strong: torch.Tensor, default: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """Return how far a strong edit goes beyond that of the default strength, in rooms, (B,)."""
    axes = tuple(range(2, plain.ndim))
    room = ROOM * (plain.amax(axes, keepdim=True) - plain.amin(axes, keepdim=True))
    return ((strong - default).abs() / room).flatten(1).amax(1)


def loud(host: Host, **values: Any) -> Any:
    """Return a concept from which the prompts are far away."""
    text = [[5 * embedding, more] for embedding, more in host.conditioning(OTHER)]
    return replace(host.concept(OTHER, **{**RELATIVE, **values}), conditioning=text)


def first_predictions(host: Host, *concepts: Any, **arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the first step predicts without and with the concepts."""
    seen = Predictions(arguments.pop("model", host.eps))
    host.sega(*concepts, model=seen.model, **{"latent": host.latent(2), "steps": 2, **INDEPENDENT, **arguments})
    return seen.plain[0], seen.edited[0]


def test_above_the_default_strength_an_edit_has_little_room(host: Host) -> None:
    plain, default = first_predictions(host, loud(host, strength=DEFAULT))
    for strength in ({"strength": 4.0}, {"strength": 100.0}, {"strength": 32.0, "weight": 0.25}):
        _, strong = first_predictions(host, loud(host, **strength))
        torch.testing.assert_close(beyond(strong, default, plain), torch.ones(2), rtol=1e-3, atol=1e-3)
    assert (beyond(default, plain, plain) > 4).all()


@pytest.mark.parametrize(
    ("strength", "settings"),
    [
        ({"strength": DEFAULT}, {}),
        ({"strength": 8.0}, {"mode": "reference"}),
        ({"strength": 8.0, "guidance_scale": 4.0}, {}),
        ({"strength": 4.0, "weight": 0.25}, {}),
    ],
    ids=["default strength", "reference mode", "absolute scale", "strength 1 by its weight"],
)
def test_nothing_is_guarded_otherwise(host: Host, strength: dict[str, float], settings: dict[str, Any]) -> None:
    plain, whole = first_predictions(host, loud(host, **strength), **settings)
    half = {name: value / 2 if name == "strength" else value for name, value in strength.items()}
    _, halved = first_predictions(host, loud(host, **half), **settings)
    assert distance(whole - plain, 2 * (halved - plain)) < 1e-4


def test_a_concepts_guard_is_its_own(host: Host) -> None:
    """Two concepts add what each adds alone, and of a batch only the strong images are guarded."""
    plain, strong = first_predictions(host, loud(host, strength=8.0))
    other = host.concept(THIRD, POSITIVE, **RELATIVE, strength=1.0)
    _, weak = first_predictions(host, other)
    _, both = first_predictions(host, loud(host, strength=8.0), other)
    assert distance(both - plain, (strong - plain) + (weak - plain)) < 1e-4
    _, row = first_predictions(host, replace(loud(host, strength=1.0), strengths=(1.0, 8.0)))
    _, free = first_predictions(host, loud(host, strength=1.0))
    assert distance(row[0] - plain[0], free[0] - plain[0]) < 1e-4
    assert distance(row[1] - plain[1], strong[1] - plain[1]) < 1e-4


def test_each_packed_part_is_guarded_by_its_own_range(host: Host) -> None:
    import comfy.nested_tensor
    import comfy.utils

    shapes = [(1, 128, 3, 6, 6), (1, 8, 10, 16)]
    latent = {"samples": comfy.nested_tensor.NestedTensor([torch.zeros(shape) for shape in shapes])}
    prompts = {name: host.conditioning(seed, width=64) for name, seed in (("positive", 1), ("negative", 2))}
    scene = {"model": family_model("LTXAV", LTXAV), "latent": latent, **prompts}
    text = host.conditioning(OTHER, width=64)
    edits = [
        replace(host.concept(OTHER, prompts["positive"], **RELATIVE, strength=strength), conditioning=text)
        for strength in (DEFAULT, 400.0)
    ]
    (plain, default), (_, strong) = (first_predictions(host, concept, **scene) for concept in edits)
    parts = [comfy.utils.unpack_latents(packed, shapes) for packed in (strong, default, plain)]
    for part in zip(*parts, strict=True):
        torch.testing.assert_close(beyond(*part), torch.ones(1), rtol=1e-3, atol=1e-3)


# Curves.


class Falling:
    """A CURVE from 2 to 0."""

    def interp(self, x: float) -> float:
        assert 0 <= x <= 1
        return 2.0 * (1 - x)


def test_a_curve_is_a_factor_of_the_strength_from_start_to_end(host: Host, evaluations: list[Seen]) -> None:
    window = {"start_percent": 0.2, "end_percent": 0.8}
    concept = host.concept(OTHER, **RELATIVE, **window, strength=0.4, curve=Falling())
    host.sega(concept, steps=10, scheduler="simple", cfg=4.0, **INDEPENDENT)
    acting = [seen for seen in evaluations if seen.guidance is not None]
    assert [seen.step for seen in acting] == [2, 3, 4, 5, 6, 7]
    # The first step has the first of the model's 1000 noise levels, the others every hundredth after it.
    assert_scales(acting, [[0.4 * 4.0 * 2 * (1 - i / 6)] for i in range(6)], tolerance=5e-3)


def test_the_hosts_curve_editor_makes_a_curve(host: Host, evaluations: list[Seen]) -> None:
    node = find_node("nodes_curve", "CurveEditor")
    curve = run_node(node, curve={"points": [[0.0, 1.0], [1.0, 0.0]], "interpolation": "linear"})
    concept = host.concept(OTHER, POSITIVE, **RELATIVE, curve=curve)
    host.sega(concept, steps=4, scheduler="simple", cfg=4.0, **INDEPENDENT)
    assert_scales(evaluations, [[4.0], [3.0], [2.0], [1.0]], tolerance=5e-3)


@pytest.mark.parametrize(("node", "scheduler"), [("KSamplerAdvanced", "normal"), ("SplitSigmas", "karras")])
def test_windows_and_curves_go_on_in_the_next_part_of_a_sampling(host: Host, node: str, scheduler: str) -> None:
    concepts = [
        host.concept(OTHER, start_percent=0.3, end_percent=0.8, curve=Falling(), strength=0.5),
        host.concept(11, POSITIVE, end_percent=0.6),
    ]
    model = host.patched(*concepts, **INDEPENDENT)
    arguments = {"noise_seed": 3, "cfg": 4.0, "positive": host.conditioning(1), "negative": host.conditioning(2)}

    def in_parts(*cuts: int) -> torch.Tensor:
        latent = host.latent()
        for first, last in zip((0, *cuts), (*cuts, 8), strict=True):
            noisy = first == 0
            if node == "KSamplerAdvanced":
                noises = {"add_noise": "enable" if noisy else "disable"}
                noises["return_with_leftover_noise"] = "disable" if last == 8 else "enable"
                schedule = {"steps": 8, "sampler_name": "euler", "scheduler": scheduler}
                part = {"latent_image": latent, "start_at_step": first, "end_at_step": last}
                (latent,) = host.nodes.KSamplerAdvanced().sample(model, **noises, **schedule, **part, **arguments)
                continue
            sigmas = host.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, 8)
            rest = host.custom.SplitSigmas.execute(sigmas, first)[1]
            here = host.custom.SplitSigmas.execute(rest, last - first)[0]
            sampler = host.samplers.sampler_object("euler")
            latent = host.custom.SamplerCustom.execute(
                model, noisy, sampler=sampler, sigmas=here, latent_image=latent, **arguments
            )[0]
        return latent["samples"]

    assert distance(in_parts(2, 5), in_parts()) < 1e-4


# A strength for each image.

CASES = {
    "a row up to 1": {"strengths": [0.0, 0.5, 1.0]},
    "beyond 1": {"strengths": [0.7, 1.0, 4.0]},
    "in turn": {"strengths": [0.0, 0.8]},
    "absolute": {"strengths": [0.0, 0.5, 2.0], "guidance_scale": 5.0},
}


@pytest.mark.parametrize(("name", "mode"), [*((name, "independent") for name in CASES), ("beyond 1", "reference")])
def test_each_image_is_edited_as_strongly_as_it_is_alone(host: Host, name: str, mode: str) -> None:
    values = {"threshold": 0.3, **CASES[name]}
    factors = values.pop("strengths")
    row = loud(host, strength=1.0, strengths=factors, **values)
    together = host.sega(row, latent=host.latent(3), mode=mode)
    for image in range(3):
        latent = {**host.latent(), "batch_index": [image]}
        alone = loud(host, **values, strength=factors[image % len(factors)])
        assert distance(together[image], host.sega(alone, latent=latent, mode=mode)[0]) < 1e-4


@pytest.mark.parametrize("strengths", [[0.5], 0.5])
def test_one_strength_is_for_all_images(host: Host, strengths: Any) -> None:
    edited = host.sega(host.concept(OTHER, strengths=strengths), latent=host.latent(2))
    assert distance(edited, host.sega(host.concept(OTHER, strength=0.5), latent=host.latent(2))) < 1e-5


def strengths(host: Host, **inputs: Any) -> list[float]:
    return host.pack.nodes.SEGAStrengths.execute(**inputs)[0]


def test_the_strengths_node_makes_a_row(host: Host) -> None:
    assert strengths(host, first=0.0, last=2.0, count=5) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert strengths(host, first=2.0, last=0.5, count=4) == [2.0, 1.5, 1.0, 0.5]
    assert strengths(host, first=1.5, last=9.0, count=1) == [1.5]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_strengths_node_gives_a_share_of_the_images_the_concept(host: Host, share: float) -> None:
    row = {"first": 1.0, "last": 2.0, "count": 16}
    whole = strengths(host, **row)
    drawn = [strengths(host, **row, share=share, seed=seed) for seed in (1, 1, 2)]
    for values in drawn:
        assert sum(value > 0 for value in values) == 16 * share
        assert all(value in (0.0, kept) for value, kept in zip(values, whole, strict=True))
    assert drawn[0] == drawn[1]
    assert (drawn[0] != drawn[2]) == (0 < share < 1)
