"""The bench without a measurement: what is generated, how ratios and memory are counted, what the report says."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dev.host.packages import REPO

KINDS = ("SEGAConcept", "SEGASampler")


@pytest.fixture(scope="module")
def bench() -> Callable[[str], ModuleType]:
    """Return a module of the bench by its name."""
    return lambda name: importlib.import_module(f"dev.bench.{name}")


def test_the_ratio_is_the_median_over_rounds_and_not_of_the_times(bench: Callable) -> None:
    spread = bench("timing").spread([2.0, 9.0, 8.0], [1.0, 3.0, 1.0])
    assert (spread["low"], spread["ratio"], spread["high"]) == (2, 3, 8)


def test_both_take_turns_and_neither_is_always_first(bench: Callable) -> None:
    order: list[str] = []
    bench("timing").in_turns(lambda: order.append("a"), lambda: order.append("b"), 4)
    assert "".join(order) == "abbaabba"


def test_the_face_example_is_the_one_of_the_template(bench: Callable) -> None:
    workflow = json.loads((REPO / "example_workflows" / "api" / "four_concept_face.json").read_text())
    inputs = {kind: [n["inputs"] for n in workflow.values() if n["class_type"] == kind] for kind in KINDS}
    face = bench("scenarios").FACE
    assert len(face.concepts) == len(inputs["SEGAConcept"]) == 4
    for concept, wanted in zip(face.concepts, inputs["SEGAConcept"], strict=True):
        for name in ("direction", "guidance_scale", "threshold", "weight"):
            assert getattr(concept, name) == wanted[name]
        assert wanted["strength"] == 1
        assert concept.warmup_steps / face.steps == wanted["start_percent"]
        assert (concept.cooldown_steps or face.steps) / face.steps == wanted["end_percent"]
    (sampler,) = inputs["SEGASampler"]
    assert face.steps == sampler["steps"]
    for name in ("momentum_scale", "momentum_beta", "mode"):
        assert getattr(face.settings, name) == sampler[name]


def test_memory_counts_until_it_is_released(bench: Callable) -> None:
    kept: list[torch.Tensor] = []

    def work() -> None:
        kept.append(torch.empty(1000))
        torch.empty(5000)
        torch.empty(2000)

    assert bench("memory").allocated(work) == (4 * 6000, 4 * 1000)


def test_memory_inside_an_operation_counts(bench: Callable) -> None:
    values = torch.rand(1000)
    # It sorts a copy.
    assert bench("memory").allocated(lambda: values.kthvalue(500))[0] >= 4 * 1000


def test_the_core_leaves_nothing_behind(bench: Callable) -> None:
    from sega_core import Concept, Settings

    peak, kept = bench("memory").core_memory((Concept(warmup_steps=1),) * 2, Settings(), (1, 4, 16, 16), 4)
    assert kept == 0
    assert peak >= 2


def test_the_core_and_a_quantile_keep_the_same_elements(bench: Callable) -> None:
    psi = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    assert bench("maths").compare_thresholds(psi, 0.9) == (0, 0)


def test_an_element_too_few_is_found(bench: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    maths = bench("maths")
    psi = torch.randn((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(maths, "keep_largest", lambda psi, threshold: psi * (psi.abs() >= psi.abs().max()))
    differ, rounded = maths.compare_thresholds(psi, 0.9)
    assert (differ, rounded) == (25, 0)


def test_a_quantile_that_rounds_to_the_float_below_is_told_apart(bench: Callable) -> None:
    low = torch.tensor(1.0)
    psi = torch.stack([low, torch.nextafter(low, 2 * low)]).view(1, 1, 1, 2)
    assert bench("maths").compare_thresholds(psi, 0.3) == (1, 1)


ROW: dict[str, Any] = {
    "network": "tiny",
    "latents": 32,
    "concepts": 4,
    "passes_seconds": 0.1,
    "step_seconds": 0.11,
    "ratio": 1.1,
    "low": 1.0,
    "high": 1.2,
}


def test_the_report_has_the_parts_that_were_measured(bench: Callable) -> None:
    text = bench("report").markdown({"machine": {"device": "a machine"}, "overhead": [ROW, {**ROW, "ratio": 1.01}]})
    assert "Measured on a machine." in text
    assert [line.count(" | ") for line in text.splitlines()[-2:]] == [4, 4]
    assert "1.100 (1.000 to 1.200)" in text and "1.010" in text
    assert "diffusers" not in text


def test_the_plot_shows_what_was_measured_and_none_is_made_of_nothing(bench: Callable, tmp_path: Path) -> None:
    plot = bench("plot")
    memory = [
        {"mode": mode, "momentum": 0.1, "concepts": count, "core": 3.0 + count}
        for mode in ("reference", "independent")
        for count in (1, 4)
    ]
    plot.draw({"memory": memory}, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    plot.draw({"overhead": [ROW]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
