"""Workflows through /prompt: images, previews, caching, repeats, interrupts."""

from __future__ import annotations

import copy
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest

from dev.host.client import ExecutionInterrupted, WorkflowRejected
from dev.host.packages import comfyui_files
from support.faces import judged

# What a shipped workflow's pictures show on the demo model: {attribute: value}. The others have tests of their own.
SHOWN = {
    "first_edit": {"glasses": "yes"},
    "first_edit_sdxl": {"glasses": "yes"},
    "first_edit_flux": {"glasses": "yes"},
    "first_edit_qwen_image": {"glasses": "yes"},
    "first_edit_z_image_turbo": {"glasses": "yes"},
    "first_edit_flux2_klein": {"glasses": "yes"},
    "model_patch": {"glasses": "yes"},
    "mask": {"glasses": "yes"},
    "save_guidance": {"glasses": "yes"},
    "remove_concept": {"hat": "no"},
    "three_concepts": {"glasses": "yes", "hat": "yes", "mouth": "smiling"},
    "four_concept_face": {"glasses": "yes", "beard": "yes", "mouth": "smiling"},
}
OTHERS = {
    *("preview", "compare_strengths", "strength_slider", "load_guidance"),
    *("real_image_img2img", "edit_photo", "first_edit_wan_video"),
}

pytestmark = pytest.mark.compat("Server", "API workflows: pictures, previews, caches, interrupts")


def test_every_shipped_workflow_has_a_test(workflows: Any) -> None:
    assert set(workflows.names()) == SHOWN.keys() | OTHERS


# What needs a file of the user's.
LOADERS = {"CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "VAELoader", "LoadImage", "SEGALoadGuidance"}


@pytest.mark.parametrize("name", sorted(SHOWN.keys() | OTHERS))
def test_a_shipped_workflow_lacks_nothing_but_files(workflows: Any, client: Any, name: str) -> None:
    with pytest.raises(WorkflowRejected) as refused:
        client.queue(workflows.demo.shipped(name))
    assert {line.split()[0] for line in str(refused.value).splitlines()} <= LOADERS


@pytest.mark.parametrize("name", SHOWN)
def test_a_shipped_workflow_makes_its_edit(workflows: Any, pixels: Any, name: str) -> None:
    workflow = workflows.load(name, steps=20, batch=4)
    before, after = (judged(pixels(run)) for run in (workflows.demo.without_concepts(workflow), workflow))
    for attribute, value in SHOWN[name].items():
        assert after[attribute].count(value) >= 3 > before[attribute].count(value)
    assert sum(map(str.__eq__, after["background"], before["background"])) >= 3


def test_the_shipped_video_has_the_edit_in_its_frames(workflows: Any, client: Any) -> None:
    """From the prompt to the file: the demo model's pictures, a batch of faces, are in the place of Wan's frames."""

    def frames(workflow: dict[str, Any]) -> dict[str, list[str]]:
        (file,) = client.run(workflow)[workflows.only(workflow, "SaveVideo")]["images"]
        assert (file["subfolder"], file["filename"][-4:]) == ("sega", ".mp4")
        with av.open(BytesIO(client.image(file))) as video:
            return judged([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])

    workflow = workflows.load("first_edit_wan_video", steps=20, batch=4)
    before, after = frames(workflows.demo.without_concepts(workflow)), frames(workflow)
    assert after["glasses"].count("yes") >= 3 > before["glasses"].count("yes")
    assert sum(map(str.__eq__, after["background"], before["background"])) >= 3


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
def test_the_shipped_comparison_shows_a_row_of_strengths(workflows: Any, pixels: Any) -> None:
    workflow = workflows.load("compare_strengths", steps=20, batch=1)
    (plain,) = pixels(workflows.demo.without_concepts(workflows.load("first_edit", steps=20, batch=1)))
    shown = strip(pixels(workflow))
    none, half, *stronger = change(shown, plain)
    assert none == 0
    # From 1 on a guard keeps the picture from burning.
    assert 0 < half < min(stronger)
    assert judged(shown)["glasses"][2:] == ["yes"] * 3


@pytest.mark.compat("Features", "a strength for each image of a batch")
def test_the_shipped_slider_shows_one_face_with_more_and_more_of_the_concept(workflows: Any, pixels: Any) -> None:
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
    masked, plain = (
        workflows.changed(workflow, "SEGAConcept", threshold=0.0, start_percent=0.1) for workflow in shipped
    )
    without = workflows.changed(plain, "SEGASampler", concepts=None)
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
    without = workflows.changed(load, "SEGASampler", guidance=None)
    assert not np.array_equal(pixels(load), pixels(without))


def test_without_concepts_the_sampler_makes_the_hosts_image(workflows: Any, pixels: Any) -> None:
    edited = workflows.load("first_edit")
    without = workflows.changed(edited, "SEGASampler", concepts=None)
    host = copy.deepcopy(without)
    host[workflows.only(host, "SEGASampler")]["class_type"] = "KSampler"
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


def test_a_new_seed_runs_the_sampler_and_what_follows_and_a_repeat_runs_nothing(
    workflows: Any, client: Any, recorder: Any
) -> None:
    workflow = workflows.changed(workflows.load("three_concepts"), "SEGASampler", seed=201)
    client.run(workflow)
    again = workflows.changed(workflow, "SEGASampler", seed=202)
    client.run(again, recorder)
    later = {workflows.only(workflow, name) for name in ("SEGASampler", "VAEDecode", "SaveImage")}
    assert recorder.executed == later
    assert recorder.cached == set(workflow) - later
    recorder.events.clear()
    client.run(again, recorder)
    assert recorder.executed == set()


def test_a_run_reports_each_step_and_shows_previews(workflows: Any, client: Any, recorder: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit", steps=5), "SEGASampler", seed=301)
    client.run(workflow, recorder)
    sampler = workflows.only(workflow, "SEGASampler")
    steps = [event.data for event in recorder.of("progress") if event.data["node"] == sampler]
    assert [step["value"] for step in steps] == [1, 2, 3, 4, 5]
    assert {step["max"] for step in steps} == {5}
    previews = recorder.of("preview")
    assert previews
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
    # With the same seed and empty caches the pictures are the same to the pixel.
    client.free()
    assert np.array_equal(pixels(before), images)


def test_nothing_is_written_to_the_hosts_source(workflows: Any, client: Any, host_files: dict[str, Any]) -> None:
    client.run(workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=501))
    assert comfyui_files() == host_files
