"""Guidance vectors and encoded texts over the API: saved, listed, loaded, refused, and recorded only where wired."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dev.host.client import ExecutionError, WorkflowRejected

VECTORS = pytest.mark.compat(
    "Features", "guidance vectors: kept, saved, loaded, applied to another prompt or number of steps"
)
EMBEDDINGS = pytest.mark.compat("Features", "pre-computed embeddings: saved and loaded")
KINDS = [pytest.param("Guidance", marks=VECTORS), pytest.param("Conditioning", marks=EMBEDDINGS)]


class Files:
    """Workflows that save and load, and what the server makes of them."""

    def __init__(self, server: Any, client: Any, workflows: Any) -> None:
        self.client, self.workflows, self.folder = client, workflows, server.folder
        self.output, self.input = server.folder / "output", server.folder / "input"
        # An edit; the same that loads what another has saved.
        self.edit = workflows.load("first_edit", steps=4, batch=1)
        self.sampler, self.concept = (workflows.only(self.edit, name) for name in ("SEGASampler", "SEGAConcept"))

    def saving(self, kind: str, prefix: str, text: str = "glasses", **sampling: Any) -> dict[str, Any]:
        """Return the workflow that saves the run's guidance, or the prompt with a text, as well; the node is "save"."""
        out = self.workflows.changed(self.edit, "SEGASampler", **sampling)
        clip = self.edit[self.concept]["inputs"]["clip"]
        prompt = self.workflows.demo.prompt_of(out)
        if kind == "Conditioning":
            out["text"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": f"{prompt}, {text}"}}
        source = [self.sampler, 1] if kind == "Guidance" else ["text", 0]
        inputs = {kind.lower(): source, "filename_prefix": prefix}
        out["save"] = {"class_type": f"SEGASave{kind}", "inputs": inputs}
        return out

    def loading(self, kind: str, file: Any, **sampling: Any) -> dict[str, Any]:
        """Return the workflow that takes guidance or concept from a file; the node is "load"."""
        out = self.plain(**sampling)
        del out[self.concept]
        inputs = out[self.sampler]["inputs"]
        out["load"] = {"class_type": f"SEGALoad{kind}", "inputs": {"file": file}}
        if kind == "Guidance":
            inputs["guidance"] = ["load", 0]
        else:
            texts = {"conditioning": ["load", 0], "instead_of": inputs["positive"]}
            out["concept"] = {"class_type": "SEGAConceptFromConditioning", "inputs": texts}
            inputs["concepts"] = ["concept", 0]
        return out

    def plain(self, **sampling: Any) -> dict[str, Any]:
        return self.workflows.changed(self.edit, "SEGASampler", concepts=None, **sampling)

    def save(self, kind: str, prefix: str, **changes: Any) -> Path:
        """Save and return the file."""
        (result,) = self.client.run(self.saving(kind, prefix, **changes))["save"][kind.lower()]
        return self.output / result["subfolder"] / result["filename"]

    def choice(self, file: Path) -> str:
        """Return a saved file as the pickers show it."""
        return f"{file.relative_to(self.output).as_posix()} [output]"

    def pixels(self, workflow: dict[str, Any], on_event: Any = None) -> np.ndarray:
        (picture,) = self.client.pictures(workflow, on_event)["SaveImage"]
        return np.asarray(picture)

    def listed(self, kind: str) -> list[str]:
        info = self.client.object_info()[f"SEGALoad{kind}"]["input"]["required"]["file"]
        return info[1]["options"]


@pytest.fixture
def files(server: Any, client: Any, workflows: Any) -> Files:
    return Files(server, client, workflows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_file_is_named_by_the_history_served_listed_and_loaded(files: Files, kind: str) -> None:
    end = f"_.{kind.lower()}.safetensors"
    prefix, folder = f"kept {kind.lower()}/first", f"sega/kept {kind.lower()}"
    (result,) = files.client.run(files.saving(kind, prefix, seed=701))["save"][kind.lower()]
    assert result == {"filename": f"first_00001{end}", "subfolder": folder, "type": "output"}
    content = (files.output / folder / result["filename"]).read_bytes()
    assert files.client.image(result) == content
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["kind"] == f"sega-{kind.lower()}"
    # The next one gets the next number, and nothing unfinished lies about.
    assert files.save(kind, prefix, text="a hat", seed=702).name == f"first_00002{end}"
    assert [path.name for path in (files.output / folder).iterdir() if path.name.startswith(".")] == []
    # A copy in the input folder serves as well.
    copied = f"copy of {kind.lower()}.{kind.lower()}.safetensors"
    (files.input / copied).write_bytes(content)
    listed = files.listed(kind)
    assert {copied, *(f"{folder}/first_0000{number}{end} [output]" for number in (1, 2))} <= set(listed)
    assert not [name for name in listed if kind.lower() not in name]
    expected = files.pixels(files.workflows.changed(files.edit, "SEGASampler", seed=701))
    for file in (f"{folder}/first_00001{end} [output]", copied):
        # Two prompts in one call may be rounded other than three are.
        loaded = files.pixels(files.loading(kind, file, seed=701))
        assert np.abs(loaded.astype(int) - expected).max() <= 1
    assert not np.array_equal(files.pixels(files.plain(seed=701)), expected)


@VECTORS
def test_guidance_edits_another_prompt_with_another_number_of_steps(files: Files) -> None:
    name = files.choice(files.save("Guidance", "other", seed=711))
    for steps in (4, 6):
        pictures = []
        for workflow in (
            files.loading("Guidance", name, seed=711, steps=steps),
            files.plain(seed=711, steps=steps),
        ):
            files.workflows.demo.set_prompt(workflow, "a face, blond hair")
            pictures.append(files.pixels(workflow))
        assert not np.array_equal(*pictures)


@VECTORS
def test_guidance_for_another_size_is_refused(files: Files, workflows: Any) -> None:
    name = files.choice(files.save("Guidance", "size", seed=712))
    workflow = workflows.changed(files.loading("Guidance", name, seed=712), "EmptyLatentImage", width=64)
    with pytest.raises(ExecutionError, match=r"SEGASampler: guidance must be for latents of shape"):
        files.client.run(workflow)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_has_changed_runs_again_and_an_unchanged_one_does_not(
    files: Files, kind: str, recorder: Any
) -> None:
    # The host forgets at once what another workflow does not use.
    file, other = files.save(kind, "changing", seed=721), files.save(kind, "other", text="a hat", seed=722)
    workflow = files.loading(kind, files.choice(file), seed=721)
    first = files.pixels(workflow)
    files.client.run(workflow, recorder)
    assert recorder.executed == set()
    assert recorder.cached == set(workflow)
    os.replace(other, file)
    files.client.run(workflow, recorder)
    assert {"load", files.sampler} <= recorder.executed
    assert not np.array_equal(files.pixels(workflow), first)


@VECTORS
def test_the_sampler_records_when_its_guidance_is_wired_and_makes_the_same_picture(files: Files, recorder: Any) -> None:
    wired = files.saving("Guidance", "wired", seed=731)
    bare = {key: node for key, node in wired.items() if key != "save"}
    pictures = []
    for workflow, runs in ((bare, True), (wired, True), (wired, False), (bare, True), (bare, False)):
        recorder.events.clear()
        if runs:
            pictures.append(files.pixels(workflow, recorder))
            assert files.sampler in recorder.executed
        else:
            files.client.run(workflow, recorder)
            assert not recorder.executed
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert [path.name for path in (files.output / "sega").glob("wired_*")] == ["wired_00001_.guidance.safetensors"]


@VECTORS
def test_a_save_node_that_is_muted_costs_nothing_and_the_other_sampler_stays_cached(
    files: Files, recorder: Any
) -> None:
    # The editor leaves muted and bypassed nodes out; samplers of a subgraph have names such as 8:6.
    workflow = files.saving("Guidance", "two", seed=741)
    workflow["8:6"] = copy.deepcopy(workflow[files.sampler])
    workflow["8:6"]["inputs"]["seed"] = 742
    workflow["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["8:6", 1]}}
    files.client.run({key: node for key, node in workflow.items() if key not in ("save", "shown")})
    recorder.events.clear()
    files.client.run({key: node for key, node in workflow.items() if key != "save"}, recorder)
    assert recorder.executed >= {"8:6", "shown"}
    assert files.sampler not in recorder.executed
    recorder.events.clear()
    files.client.run(workflow, recorder)
    assert files.sampler in recorder.executed
    assert "8:6" not in recorder.executed


REFUSED = [
    "", "../secret.safetensors", "../secret.safetensors [output]", "/etc/passwd", "..\\secret.safetensors", "\0",
    "sega", "missing.safetensors", "missing.safetensors [output]", "notes.txt", "x" * 300 + ".safetensors", 5, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_no_file_of_ours_are_refused_before_anything_runs(
    files: Files, kind: str, recorder: Any
) -> None:
    (files.folder / "secret.safetensors").write_bytes(b"secret")
    (files.input / "notes.txt").write_text("notes")
    for name in REFUSED:
        with pytest.raises(WorkflowRejected, match=rf"(?s)SEGALoad{kind}.*file"):
            files.client.run(files.loading(kind, name), recorder)
    assert not recorder.executed


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_outside_of_the_output_folder_is_refused(files: Files, kind: str) -> None:
    before = sorted(files.folder.parent.rglob("*.safetensors"))
    for prefix in ("../out", "/tmp/out", "a/../../out", "", "\0"):
        with pytest.raises(ExecutionError, match=f"SEGASave{kind}: filename_prefix must be a name"):
            files.client.run(files.saving(kind, prefix, seed=751))
    assert sorted(files.folder.parent.rglob("*.safetensors")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_with_its_node_and_the_server_goes_on(files: Files, kind: str) -> None:
    whole = files.save(kind, "damaged", seed=761).read_bytes()
    other = files.save("Conditioning" if kind == "Guidance" else "Guidance", "of another kind", seed=761).read_bytes()
    for number, content in enumerate((b"", b"\x80\x04}\x94.", whole[:-5], b"\xff" * 8 + whole[8:], other)):
        name = f"damaged {number}.safetensors"
        (files.input / name).write_bytes(content)
        with pytest.raises(ExecutionError, match=rf"SEGALoad{kind}: file '{name}'"):
            files.client.run(files.loading(kind, name))
    (files.input / "whole.safetensors").write_bytes(whole)
    assert files.pixels(files.loading(kind, "whole.safetensors")).std() > 10
