"""Workflows through /prompt: images, previews, caching, repeats, interrupts."""

from __future__ import annotations

import copy
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dev.host.client import ExecutionInterrupted
from dev.host.packages import REPO, comfyui_files

# What a shipped workflow's pictures show on the demo model: {attribute: value}. The others have tests of their own.
SHOWN = {
    "first_edit": {"glasses": "yes"},
    "sdxl_edit": {"glasses": "yes"},
    "flux_edit": {"glasses": "yes"},
    "model_patch": {"glasses": "yes"},
    "mask": {"glasses": "yes"},
    "save_guidance": {"glasses": "yes"},
    "remove_concept": {"hat": "no"},
    "three_concepts": {"glasses": "yes", "hat": "yes", "mouth": "smiling"},
    "four_concept_face": {"glasses": "yes", "beard": "yes", "mouth": "smiling"},
}
OTHERS = {
    *("preview", "compare_strengths", "strength_slider", "load_guidance"),
    *("real_image_img2img", "edit_photo"),
}

pytestmark = pytest.mark.compat("Server", "API workflows: pictures, previews, caches, interrupts")


def test_every_shipped_workflow_has_a_test(workflows: Any) -> None:
    assert set(workflows.names()) == SHOWN.keys() | OTHERS


@pytest.fixture(scope="session")
def judged() -> Any:
    """Say what faces (N, H, W, 3) show: {attribute: a value for each}."""
    from dev.demo import classifier, faces

    judge = classifier.load()

    def judged(pictures: np.ndarray) -> dict[str, list[str]]:
        images = torch.from_numpy(pictures).movedim(-1, 1).float() / 255
        return {name: [faces.ATTRIBUTES[name][i] for i in found] for name, found in judge.judge(images).items()}

    return judged


@pytest.fixture
def saved_faces(client: Any, judged: Any) -> Any:
    """Run a workflow and say what the faces that it saves show."""

    def run(workflow: dict[str, Any]) -> dict[str, list[str]]:
        outputs = client.run(workflow)
        (saved,) = (key for key, node in workflow.items() if node["class_type"] == "SaveImage")
        images = [Image.open(BytesIO(client.image(image))).convert("RGB") for image in outputs[saved]["images"]]
        return judged(np.stack([np.asarray(image) for image in images]))

    return run


@pytest.mark.parametrize("name", SHOWN)
def test_a_shipped_workflow_makes_its_edit(workflows: Any, saved_faces: Any, name: str) -> None:
    workflow = workflows.demo.load(name)
    for node in workflow.values():
        if "batch_size" in node["inputs"]:
            node["inputs"]["batch_size"] = 8
    before, after = (saved_faces(run) for run in (workflows.demo.without_concepts(workflow), workflow))
    for attribute, value in SHOWN[name].items():
        assert after[attribute].count(value) >= 5
        assert after[attribute].count(value) > before[attribute].count(value)
    assert sum(map(str.__eq__, after["background"], before["background"])) >= 6


def test_the_shipped_preview_shows_each_concept_and_the_plot(workflows: Any, client: Any) -> None:
    workflow = workflows.load("preview", batch=1)
    outputs = client.run(workflow)
    assert len(outputs[workflows.only(workflow, "SEGAPreview")]["images"]) == 3 + 1
    assert len(outputs[workflows.only(workflow, "SaveImage")]["images"]) == 1


def strip(pictures: np.ndarray) -> np.ndarray:
    """Return the five pictures that are side by side in the one that a workflow saves."""
    (grid,) = pictures
    assert grid.shape == (128, 5 * 128 + 4 * 4, 3)
    return np.stack([grid[:, left : left + 128] for left in range(0, grid.shape[1], 132)])


def change(pictures: np.ndarray, plain: np.ndarray) -> list[float]:
    return np.abs(pictures.astype(float) - plain.astype(float)).mean((1, 2, 3)).tolist()


@pytest.mark.compat("Features", "comparisons: a list of values at any input, one picture for each")
def test_the_shipped_comparison_shows_a_row_of_strengths(workflows: Any, pixels: Any, judged: Any) -> None:
    workflow = workflows.load("compare_strengths", steps=20, batch=1)
    (plain,) = pixels(workflows.demo.without_concepts(workflows.load("first_edit", steps=20, batch=1)))
    shown = strip(pixels(workflow))
    none, half, *stronger = change(shown, plain)
    assert none == 0
    # From 1 on a guard keeps the picture from burning.
    assert 0 < half < min(stronger)
    assert judged(shown)["glasses"][2:] == ["yes"] * 3


@pytest.mark.compat("Features", "a strength for each image of a batch")
def test_the_shipped_slider_shows_one_face_with_more_and_more_of_the_concept(
    workflows: Any, pixels: Any, judged: Any
) -> None:
    workflow = workflows.load("strength_slider", steps=20, batch=5)
    (plain,) = pixels(workflows.demo.without_concepts(workflows.load("first_edit", steps=20, batch=1)))
    shown = strip(pixels(workflow))
    none, half, *stronger = change(shown, plain)
    # Five pictures at once may be calculated otherwise than one, to the last digits.
    assert none < 0.5
    assert min(half, *stronger) > 1
    assert judged(shown)["glasses"][0] == "no"
    assert judged(shown)["glasses"][2:] == ["yes"] * 3
    # It is what the last strength makes of one picture alone.
    alone = workflows.load("strength_slider", steps=20, batch=1)
    (last, *_) = strip(pixels(workflows.changed(alone, "SEGAStrengths", first=2.0, last=2.0, count=1)))
    assert change(shown[4:], last)[0] < 0.5


def test_the_shipped_mask_keeps_the_edit_in_its_place(workflows: Any, pixels: Any) -> None:
    # Without a threshold, so that the mask alone decides: within it, a share of the effect is a share of less.
    shipped = [workflows.load(name, steps=12) for name in ("mask", "first_edit")]
    masked, plain = (workflows.changed(workflow, "SEGAConcept", threshold=0.0) for workflow in shipped)
    without = copy.deepcopy(plain)
    del without[workflows.only(without, "SEGASampler")]["inputs"]["concepts"]
    # The mask is from 24 to 80 pixels from the top.
    change = [np.abs(pixels(edited).astype(float) - pixels(without)).mean((0, 3)) for edited in (masked, plain)]
    assert change[0][24:80, 16:112].mean() > 0.9 * change[1][24:80, 16:112].mean()
    # What is sampled within the mask still moves the rest a little, through the model's attention.
    assert change[0][96:].mean() < 0.9 * change[1][96:].mean()


def test_shipped_guidance_goes_from_one_prompt_to_another(workflows: Any, client: Any, pixels: Any) -> None:
    save, load = workflows.load("save_guidance"), workflows.load("load_guidance")
    (saved,) = client.run(save)[workflows.only(save, "SEGASaveGuidance")]["guidance"]
    assert (saved["subfolder"], saved["type"]) == ("sega", "output")
    load = workflows.changed(load, "SEGALoadGuidance", file=f"{saved['subfolder']}/{saved['filename']} [output]")
    without = copy.deepcopy(load)
    del without[workflows.only(without, "SEGASampler")]["inputs"]["guidance"]
    assert not np.array_equal(pixels(load), pixels(without))


def test_without_concepts_the_sampler_makes_the_hosts_image(workflows: Any, pixels: Any) -> None:
    edited = workflows.load("first_edit")
    sampler = workflows.only(edited, "SEGASampler")
    values = dict(edited[sampler]["inputs"])
    del values["concepts"]
    without = {**edited, sampler: {"class_type": "SEGASampler", "inputs": values}}
    host = {**edited, sampler: {"class_type": "KSampler", "inputs": values}}
    images = pixels(host)
    assert np.array_equal(pixels(without), images)
    assert not np.array_equal(pixels(edited), images)


def test_the_patched_model_gives_the_samplers_image(workflows: Any, pixels: Any) -> None:
    assert np.array_equal(pixels(workflows.load("model_patch")), pixels(workflows.load("first_edit")))


def test_a_stack_that_extends_another_equals_one_stack(workflows: Any, pixels: Any) -> None:
    together = workflows.load("three_concepts")
    stack = workflows.only(together, "SEGAConceptStack")
    first, second, third = together[stack]["inputs"].values()
    apart = workflows.changed(together, "SEGAConceptStack", stack=["first", 0])
    apart["first"] = {"class_type": "SEGAConceptStack", "inputs": {"concepts.concept_0": first}}
    apart[stack]["inputs"] = {"concepts.concept_0": second, "concepts.concept_1": third, "stack": ["first", 0]}
    assert np.array_equal(pixels(apart), pixels(together))


def test_a_seed_repeats_its_pixels_with_empty_caches(workflows: Any, client: Any, pixels: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=101)
    first = pixels(workflow)
    assert not np.array_equal(pixels(workflows.changed(workflow, "SEGASampler", seed=102)), first)
    client.free()
    assert np.array_equal(pixels(workflow), first)


def test_a_new_seed_runs_the_sampler_and_what_follows_only(workflows: Any, client: Any, recorder: Any) -> None:
    workflow = workflows.changed(workflows.load("three_concepts"), "SEGASampler", seed=201)
    client.run(workflow)
    client.run(workflows.changed(workflow, "SEGASampler", seed=202), recorder)
    later = {workflows.only(workflow, name) for name in ("SEGASampler", "VAEDecode", "SaveImage")}
    assert recorder.executed == later
    assert recorder.cached == set(workflow) - later


def test_a_repeated_workflow_runs_nothing(workflows: Any, client: Any, recorder: Any) -> None:
    workflow = workflows.changed(workflows.load("three_concepts"), "SEGASampler", seed=203)
    client.run(workflow)
    client.run(workflow, recorder)
    assert recorder.executed == set()
    assert recorder.cached == set(workflow)


def test_a_run_reports_each_step_and_shows_previews(workflows: Any, client: Any, recorder: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit", steps=5), "SEGASampler", seed=301)
    client.run(workflow, recorder)
    sampler = workflows.only(workflow, "SEGASampler")
    steps = [event.data for event in recorder.of("progress") if event.data["node"] == sampler]
    assert [step["value"] for step in steps] == [1, 2, 3, 4, 5]
    assert {step["max"] for step in steps} == {5}
    if "latent_rgb_factors" in (REPO / "dev" / "demo" / "model.py").read_text():
        previews = recorder.of("preview")
        assert len(previews) >= 1
        assert all(preview.image.startswith(b"\xff\xd8") for preview in previews)


def test_an_interrupt_stops_the_run_and_leaves_nothing_behind(workflows: Any, client: Any, pixels: Any) -> None:
    before = workflows.changed(workflows.load("three_concepts"), "SEGASampler", seed=401)
    images = pixels(before)
    steps: list[int] = []

    def stop_at_once(event: Any) -> None:
        if event.type == "progress":
            steps.append(event.data["value"])
            if len(steps) == 1:
                client.interrupt()

    with pytest.raises(ExecutionInterrupted, match="SEGASampler"):
        client.run(workflows.changed(before, "SEGASampler", seed=402, steps=500), stop_at_once)
    assert max(steps) < 250
    client.free()
    assert np.array_equal(pixels(before), images)


def test_nothing_is_written_to_the_hosts_source(workflows: Any, client: Any, host_files: dict[str, Any]) -> None:
    client.run(workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=501))
    assert comfyui_files() == host_files
