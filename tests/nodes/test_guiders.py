"""SamplerCustomAdvanced with every guider of the host: the edit is added to what the guider predicts, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from support.evaluations import Seen
from support.guiders import (
    LTXAV_WIDTH,
    NEGATIVE,
    POSITIVE,
    SMALL,
    Maker,
    basic,
    cfg,
    dual,
    of_parts,
    perp_neg,
    two_models,
)
from support.host import STEPS, Host, every_kind, wrapped
from support.models import LTXAV, family_model

# A noise level in the middle of each prediction's schedule.
MIDDLE = {"EPS": 6.0, "V_PREDICTION": 6.0, "FLOW": 0.7}
REFUSED = pytest.mark.compat("Refused with a clear error", "a guider or sampler that predicts in a way of its own")


@dataclass(frozen=True)
class Case:
    """A guider, its row of the compatibility table, and the prompt that bare concepts are compared with."""

    row: str
    guider: Maker
    compared: int | None = NEGATIVE


CASES = {
    "basic": Case("BasicGuider", basic(), POSITIVE),
    "cfg": Case("CFGGuider", cfg(4.0)),
    "cfg 1": Case("CFGGuider", cfg(1.0)),
    "dual regular": Case("DualCFGGuider, regular and nested", dual("regular")),
    "dual regular without negative": Case("DualCFGGuider, regular and nested", dual("regular", 4.0, 1.0)),
    "dual nested": Case("DualCFGGuider, regular and nested", dual("nested")),
    "perp neg": Case("PerpNegGuider", perp_neg(4.0, 1.0)),
    "perp neg without negative": Case("PerpNegGuider", perp_neg(4.0, 0.0)),
    "two models": Case("DualModelGuider", two_models(4.0)),
    "two models without negative prompt": Case("DualModelGuider", two_models(4.0, None), None),
    "one model without negative prompt": Case("DualModelGuider", two_models(4.0, None, second=False), None),
}


def each_case(*names: str) -> pytest.MarkDecorator:
    chosen = [pytest.param(name, marks=pytest.mark.compat("Guiders", CASES[name].row)) for name in names or CASES]
    return pytest.mark.parametrize("name", chosen)


# One of each guider.
each_guider = each_case("basic", "cfg", "dual regular", "dual nested", "perp neg", "two models")


@pytest.fixture(scope="module")
def models(host: Host) -> dict[str, Any]:
    import comfy.model_base

    return {kind: host.model(comfy.model_base.ModelType[kind], **SMALL) for kind in MIDDLE}


def guide(host: Host, guider: Any, sigmas: Any, sampler: str = "euler", batch: int = 1) -> torch.Tensor:
    noise, chosen = host.custom.RandomNoise.execute(3)[0], host.samplers.sampler_object(sampler)
    out = host.custom.SamplerCustomAdvanced.execute(noise, guider, chosen, torch.as_tensor(sigmas), host.latent(batch))
    return out[0]["samples"]


def whole(host: Host, guider: Any, batch: int = 2) -> torch.Tensor:
    sampling = guider.model_patcher.get_model_object("model_sampling")
    return guide(host, guider, host.samplers.calculate_sigmas(sampling, "normal", STEPS), batch=batch)


def estimate(host: Host, model: Any, prompt: int | None, sigma: float) -> torch.Tensor:
    """Return the host's own prediction for one prompt."""
    text = [[None, {}]] if prompt is None else host.conditioning(prompt)
    return guide(host, host.custom.BasicGuider.execute(model, text)[0], [sigma, 0.0])


def two_concepts(host: Host, model: Any, instead_of: int | None = None, **settings: Any) -> Any:
    """Return the model with two concepts that leave no part of the latents out.

    Where they say what they are instead of, the second takes the positive prompt's own text out.
    """
    text, other = (11, None) if instead_of is None else (instead_of, 11)
    added = host.concept(10, instead_of, guidance_scale=3.0, threshold=0.0)
    removed = host.concept(text, other, guidance_scale=2.0, threshold=0.0, direction="remove", weight=0.5)
    return host.patched(added, removed, model=model, **settings)


def edit(host: Host, model: Any, compared: int | None, sigma: float, instead_of: int | None = None) -> torch.Tensor:
    """Return what `two_concepts` must add, from the host's own predictions: - sigma * guidance at the first step."""
    seeds = (compared if instead_of is None else instead_of, 10, 11)
    one, added, other = (estimate(host, model, prompt, sigma) for prompt in seeds)
    taken = other - one if instead_of is None else one - other
    return 3.0 * (added - one) - 0.5 * 2.0 * taken


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert float((got - expected).norm()) < 1e-3 * float(expected.norm())


def check_steps_edit(host: Host, model: Any, kind: str, name: str, instead_of: int | None) -> None:
    case, sigma = CASES[name], MIDDLE[kind]
    plain = guide(host, case.guider(host, model), [sigma, 0.0])
    edited = guide(host, case.guider(host, two_concepts(host, model, instead_of)), [sigma, 0.0])
    assert_close(edited - plain, edit(host, model, case.compared, sigma, instead_of))


@every_kind
@each_case()
def test_a_steps_edit_is_what_the_predictions_say_whatever_the_guiders_scale(
    host: Host, models: dict[str, Any], name: str, instead_of: int | None
) -> None:
    check_steps_edit(host, models["EPS"], "EPS", name, instead_of)


@each_case("cfg", "dual regular", "perp neg")
@pytest.mark.parametrize("kind", ["V_PREDICTION", "FLOW"])
def test_a_steps_edit_is_what_other_predictions_say(host: Host, models: dict[str, Any], kind: str, name: str) -> None:
    check_steps_edit(host, models[kind], kind, name, None)


@each_case()
def test_every_guider_is_edited_again_and_again_and_gets_its_prompts_back(
    host: Host, models: dict[str, Any], name: str
) -> None:
    case = CASES[name]
    plain = whole(host, case.guider(host, models["EPS"]))
    concepts = host.concept(), host.concept(11, POSITIVE)
    guider = case.guider(host, host.patched(*concepts, model=models["EPS"], momentum_scale=0.5))
    names, options = set(guider.original_conds), guider.model_options
    first, again = whole(host, guider), whole(host, guider)
    assert torch.equal(first, again)
    assert first.isfinite().all()
    assert (first - plain).norm() > 1e-3 * plain.norm()
    assert set(guider.original_conds) == names
    assert guider.model_options is options
    assert not hasattr(guider, "conds")


@each_guider
def test_every_guider_keeps_the_concepts_times(
    host: Host, models: dict[str, Any], name: str, evaluations: list[Seen]
) -> None:
    concepts = [
        host.concept(10, start_percent=1 / STEPS, end_percent=3 / STEPS),
        host.concept(11, POSITIVE, start_percent=2 / STEPS),
    ]
    model = host.patched(*concepts, model=models["EPS"], momentum_scale=0.0)
    whole(host, CASES[name].guider(host, model))
    acted = [(evaluation.step, list(evaluation.differences)) for evaluation in evaluations]
    assert acted == [(0, []), (1, [0]), (2, [0, 1]), (3, [1])]


@each_guider
def test_no_guider_changes_without_concepts(host: Host, models: dict[str, Any], name: str) -> None:
    plain = whole(host, CASES[name].guider(host, models["EPS"]))
    off = host.patched(host.concept(strength=0.0), model=models["EPS"])
    assert torch.equal(whole(host, CASES[name].guider(host, off)), plain)


@pytest.mark.compat("Samplers", "CFG++ samplers")
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_cfg_pp_samplers_add_the_edit_to_their_prediction_only(
    host: Host, models: dict[str, Any], scale: float
) -> None:
    model, sigma, after = models["EPS"], 6.0, 4.0
    patched = two_concepts(host, model)
    edits = {
        sampler: guide(host, cfg(scale)(host, patched), [sigma, after], sampler)
        - guide(host, cfg(scale)(host, model), [sigma, after], sampler)
        for sampler in ("euler", "euler_cfg_pp")
    }
    whole_edit = edit(host, model, NEGATIVE, sigma)
    assert_close(edits["euler"], (1 - after / sigma) * whole_edit)
    # CFG++ takes its way from the negative prompt's prediction, where no concept has a say.
    assert_close(edits["euler_cfg_pp"], whole_edit)


@pytest.mark.compat("Guiders", "guiders with a scale for each part of the latents (LTXV Dual CFG Guider's way)")
@pytest.mark.parametrize("scales", [(3.0, 7.0), (3.0, 1.0), (1.0, 7.0), (1.0, 1.0)])
def test_a_strength_is_in_units_of_each_parts_own_scale(host: Host, scales: tuple[float, float]) -> None:
    """At strength 1 the edit is the changed prompt, in the video and in the sound."""
    import comfy.nested_tensor

    sizes: list[int] = []

    def count(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        sizes.append(x.shape[0])
        return executor(x, *args, **kwargs)

    model = wrapped(family_model("LTXAV", LTXAV), "APPLY_MODEL", count)
    text, prompt = (host.conditioning(seed, width=LTXAV_WIDTH) for seed in (10, POSITIVE))
    concept = host.concept(text, prompt, guidance_scale=0.0, threshold=0.0)
    patched = host.patched(concept, model=model, momentum_scale=0.0)
    latent = {"samples": comfy.nested_tensor.NestedTensor([torch.zeros(1, 128, 3, 6, 6), torch.zeros(1, 8, 10, 16)])}

    def guided(guider: Any) -> list[torch.Tensor]:
        given = host.custom.RandomNoise.execute(3)[0], guider, host.samplers.sampler_object("euler")
        sigmas = torch.tensor([0.9, 0.6, 0.3, 0.0])
        return host.custom.SamplerCustomAdvanced.execute(*given, sigmas, latent)[0]["samples"].unbind()

    edited = guided(of_parts(*scales)(host, patched))
    # Where both scales are 1, the negative prompt is left out as at cfg 1.
    assert sizes == [2 if scales == (1.0, 1.0) else 3] * 3
    plain = guided(of_parts(*scales)(host, model))
    changed = guided(of_parts(*scales, positive=10)(host, model))
    for got, unedited, expected in zip(edited, plain, changed, strict=True):
        assert_close(got - unedited, expected - unedited)


@REFUSED
@pytest.mark.parametrize("shortcut", ["evaluates its prompts itself", "calls the host's sampling function"])
def test_a_guider_that_goes_past_the_hosts_wrappers_is_named(host: Host, models: dict[str, Any], shortcut: str) -> None:
    import comfy.samplers

    class Bypass(comfy.samplers.CFGGuider):
        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, model_options: Any = None, seed: Any = None) -> Any:
            positive, negative = self.conds["positive"], self.conds["negative"]
            if shortcut == "calls the host's sampling function":
                return comfy.samplers.sampling_function(
                    self.inner_model, x, sigma, negative, positive, self.cfg, model_options=model_options, seed=seed
                )
            both = comfy.samplers.calc_cond_batch(self.inner_model, [positive, negative], x, sigma, model_options)
            return both[1] + self.cfg * (both[0] - both[1])

    def bypass(model: Any) -> Any:
        guider = Bypass(model)
        guider.set_conds(host.conditioning(POSITIVE), host.conditioning(NEGATIVE))
        guider.set_cfg(4.0)
        return guider

    assert whole(host, bypass(models["EPS"])).isfinite().all()
    guider = bypass(host.patched(host.concept(), model=models["EPS"]))
    with pytest.raises(ValueError, match=r"SEGAModelPatch: concepts: .*Bypass.*use CFGGuider or KSampler"):
        whole(host, guider)
    assert set(guider.original_conds) == {"positive", "negative"}
