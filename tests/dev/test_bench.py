"""The bench without a measurement: how ratios, memory and exactness are counted, what the report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.bench import maths, memory, plot, report, scenarios, timing
from dev.host.packages import REPO

KINDS = ("SEGAConcept", "SEGASampler")


def test_the_ratio_is_the_median_over_rounds_and_not_of_the_times() -> None:
    spread = timing.spread([2.0, 9.0, 8.0], [1.0, 3.0, 1.0])
    assert (spread["low"], spread["ratio"], spread["high"]) == (2, 3, 8)


def test_both_take_turns_and_neither_is_always_first() -> None:
    order: list[str] = []
    timing.in_turns(lambda: order.append("a"), lambda: order.append("b"), 4)
    assert "".join(order) == "abbaabba"


def test_the_face_example_is_the_one_of_the_template() -> None:
    workflow = json.loads((REPO / "example_workflows" / "api" / "four_concept_face.json").read_text())
    inputs = {kind: [n["inputs"] for n in workflow.values() if n["class_type"] == kind] for kind in KINDS}
    face = scenarios.FACE
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


def test_memory_counts_until_it_is_released_and_inside_an_operation() -> None:
    kept: list[torch.Tensor] = []

    def work() -> None:
        kept.append(torch.empty(1000))
        torch.empty(5000)
        torch.empty(2000)

    assert memory.allocated(work) == (4 * 6000, 4 * 1000)
    # It sorts a copy.
    assert memory.allocated(lambda: kept[0].kthvalue(500))[0] >= 4 * 1000


def test_elements_that_differ_from_a_quantiles_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    psi = torch.randn((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    assert maths.compare_thresholds(psi, 0.9) == (0, 0)
    # A quantile that rounds to the float below is told apart.
    low = torch.tensor(1.0)
    assert maths.compare_thresholds(torch.stack([low, torch.nextafter(low, 2 * low)]).view(1, 1, 1, 2), 0.3) == (1, 1)
    monkeypatch.setattr(maths, "keep_largest", lambda psi, threshold: psi * (psi.abs() >= psi.abs().max()))
    assert maths.compare_thresholds(psi, 0.9) == (25, 0)


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


def test_the_report_has_the_parts_that_were_measured() -> None:
    text = report.markdown({"machine": {"device": "a machine"}, "overhead": [ROW, {**ROW, "ratio": 1.01}]})
    assert "Measured on a machine." in text
    assert [line.count(" | ") for line in text.splitlines()[-2:]] == [4, 4]
    assert "1.100 (1.000 to 1.200)" in text and "1.010" in text
    assert "diffusers" not in text


def test_the_plot_shows_what_was_measured_and_none_is_made_of_nothing(tmp_path: Path) -> None:
    rows = [{"mode": "reference", "momentum": 0.1, "concepts": count, "core": 3.0 + count} for count in (1, 4)]
    plot.draw({"memory": rows}, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    plot.draw({"overhead": [ROW]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
