"""The nodes that save and load: names, folders, and files that nobody should trust.

What a damaged file may hold is tested where files are read, in tests/sega_core.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from support.core import noise
from support.host import Host
from support.models import demo_clip, sdxl_model

VECTORS = pytest.mark.compat(
    "Features", "guidance vectors: kept, saved, loaded, applied to another prompt or number of steps"
)
EMBEDDINGS = pytest.mark.compat("Features", "pre-computed embeddings: saved and loaded")
KINDS = [pytest.param("Guidance", marks=VECTORS), pytest.param("Conditioning", marks=EMBEDDINGS)]


class Folders:
    """ComfyUI's folders, and the nodes that read and write there."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.root, self.output, self.input = root, root / "output", root / "input"
        # Where the nodes save.
        self.saved = self.output / "sega"
        self.saved.mkdir()

    def node(self, verb: str, kind: str) -> Any:
        return getattr(self.host.pack.nodes, f"SEGA{verb}{kind}")

    def value(self, kind: str, seed: int = 5) -> Any:
        if kind == "Conditioning":
            return self.host.conditioning(seed)
        core, sigmas = self.host.pack.sega_core, (14.0, 3.0, 1.0, 0.0)
        parts = (noise(3, 1, 4, 8, 8, seed=seed),), (noise(1, 1, 8, 8, seed=seed).abs(),), noise(3, 1, seed=seed).abs()
        return core.GuidanceVectors(*parts, sigmas, "noise", (core.Concept(),), ("hat",), core.Settings())

    def save(self, kind: str, prefix: str = "x", seed: int = 5) -> dict[str, str]:
        """Save a value; return how the history names the file."""
        (result,) = self.node("Save", kind).execute(self.value(kind, seed), prefix).ui[kind.lower()]
        return result

    def load(self, kind: str, file: str) -> Any:
        return self.node("Load", kind).execute(file)[0]

    def choices(self, kind: str) -> list[str]:
        (picker,) = self.node("Load", kind).define_schema().inputs
        return picker.options

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def folders(host: Host, hosts_folders: Path) -> Folders:
    return Folders(host, hosts_folders)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, list):
        return torch.equal(first[0][0], second[0][0])
    return torch.equal(first.guidance[0], second.guidance[0])


# Names and folders.


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_numbered_named_in_the_history_and_offered_at_once(folders: Folders, kind: str) -> None:
    end = f"_.{kind.lower()}.safetensors"
    for number in (1, 2, 3):
        result = folders.save(kind, "x", seed=number)
        assert result == {"filename": f"x_0000{number}{end}", "subfolder": "sega", "type": "output"}
    assert folders.save(kind, "a/x") == {"filename": f"x_00001{end}", "subfolder": "sega/a", "type": "output"}
    names = [f"sega/a/x_00001{end}", *(f"sega/x_0000{number}{end}" for number in (1, 2, 3))]
    assert folders.files() == [f"output/{name}" for name in names]
    assert folders.choices(kind) == [f"{name} [output]" for name in names]
    assert same(folders.load(kind, f"{names[2]} [output]"), folders.value(kind, 2))
    # A number is never given twice, whatever was deleted.
    (folders.saved / f"x_00002{end}").unlink()
    assert folders.save(kind, "x")["filename"] == f"x_00004{end}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_picker_offers_the_files_of_its_kind_in_both_folders(folders: Folders, kind: str) -> None:
    other = "Conditioning" if kind == "Guidance" else "Guidance"
    folders.save(other, "other")
    for name in (folders.save(kind, "a/x"), folders.save(kind, "x")):
        source = folders.output / name["subfolder"] / name["filename"]
        (folders.input / f"copy of {name['filename']}").write_bytes(source.read_bytes())
    end = f"{kind.lower()}.safetensors"
    for folder in (folders.input, folders.saved):
        (folder / f".x.{end}.0123").write_bytes(b"a part")
        (folder / "lora.safetensors").write_bytes(b"")
        (folder / f"folder.{end}").mkdir()
    assert folders.choices(kind) == [
        f"copy of x_00001_.{end}",
        f"sega/a/x_00001_.{end} [output]",
        f"sega/x_00001_.{end} [output]",
    ]
    for name in folders.choices(kind):
        assert folders.node("Load", kind).validate_inputs(name) is True
        assert same(folders.load(kind, name), folders.value(kind))


def test_the_picker_reads_no_other_folders(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of pictures may be large or on a network, and ComfyUI asks for the picker often."""
    (folders.output / "pictures of years").mkdir()
    (folders.input / "pictures of years").mkdir()
    scan, seen = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path=".": seen.append(Path(path).name) or scan(path))
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": seen.append(Path(path).name) or listdir(path))
    folders.choices("Guidance")
    assert sorted(set(seen)) == ["input", "sega"]


@pytest.mark.parametrize("prefix", ["größer ☃", "'a' \"b\"", "a/../b", "../sega/a/x", "-", ".hidden", "x\n"])
def test_odd_names_are_kept_and_found_again(folders: Folders, prefix: str) -> None:
    result = folders.save("Guidance", prefix)
    (choice,) = folders.choices("Guidance")
    assert choice == f"{result['subfolder']}/{result['filename']} [output]"
    assert same(folders.load("Guidance", choice), folders.value("Guidance"))
    assert folders.save("Guidance", prefix)["filename"] != result["filename"]


@pytest.mark.parametrize("prefix", ["", "a/", "..", "a/../../x", "/etc/x", "x\0y", "../sega-of-others/x"])
def test_a_prefix_outside_of_the_output_folder_is_refused(folders: Folders, prefix: str) -> None:
    for kind in ("Guidance", "Conditioning"):
        reason = f"^SEGASave{kind}: filename_prefix must be a name in the folder 'sega' of ComfyUI's output"
        with pytest.raises(ValueError, match=reason) as failure:
            folders.save(kind, prefix)
        assert repr(prefix) in str(failure.value)
    assert not folders.files()


OUTSIDE = [
    "", "..", "../secret.safetensors", "a/../../secret.safetensors", "../secret.safetensors [output]", "[output]",
    "{root}/secret.safetensors", "{root}/secret.safetensors [output]", "x\0.safetensors", "../input-2/x.safetensors",
]  # fmt: skip
NOT_THERE = [
    "x.safetensors", "x.safetensors [output]", "C:\\secret.safetensors", "folder.safetensors", "secret.safetensors",
    "\ud800.safetensors", "x" * 300 + ".safetensors", "pipe.safetensors", "ghost.safetensors",
]  # fmt: skip
OTHER_FILES = ["x.safetensors.pt", "notes.txt", "notes.txt [output]", "kept.safetensors [temp]", 5, ["a"]]


@pytest.mark.parametrize("name", [*OUTSIDE, *NOT_THERE, *OTHER_FILES])
def test_a_name_that_is_no_file_of_ours_is_refused(folders: Folders, name: Any) -> None:
    (folders.root / "secret.safetensors").write_bytes(b"secret")
    for folder in (folders.input, folders.output):
        (folder / "folder.safetensors").mkdir()
        (folder / "notes.txt").write_text("notes")
        (folder / "kept.safetensors").write_bytes(b"")
    os.mkfifo(folders.input / "pipe.safetensors")
    (folders.input / "ghost.safetensors").symlink_to(folders.input / "nothing")
    name = name.format(root=folders.root) if isinstance(name, str) else name
    with pytest.raises(ValueError, match=r"^SEGALoadGuidance: file ") as failure:
        folders.load("Guidance", name)
    assert repr(name) in str(failure.value)
    assert "secret" not in str(failure.value).replace(repr(name), "").replace(str(folders.root), "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../secret.safetensors", 5])
def test_a_loader_refuses_its_file_before_and_while_it_runs(folders: Folders, kind: str, name: Any) -> None:
    node = folders.node("Load", kind)
    for run in (lambda file: node.execute(file), lambda file: node.fingerprint_inputs(file=file)):
        with pytest.raises(ValueError, match=rf"^SEGALoad{kind}: file must be") as failure:
            run(name)
        assert str(failure.value) == node.validate_inputs(name)
    # What a link brings is not known yet.
    assert node.validate_inputs(None) is True
    assert node.validate_inputs() is True


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_another_one_and_an_unchanged_one_the_same(folders: Folders, kind: str) -> None:
    file = folders.saved / folders.save(kind, "x")["filename"]
    name = f"sega/{file.name} [output]"
    fingerprint = folders.node("Load", kind).fingerprint_inputs
    first = fingerprint(file=name)
    assert fingerprint(file=name) == first
    os.utime(file, (0, file.stat().st_mtime + 1))
    second = fingerprint(file=name)
    file.write_bytes(file.read_bytes() + b" ")
    os.utime(file, (0, file.stat().st_mtime))
    assert len({first, second, fingerprint(file=name)}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_fails_leaves_nothing_and_the_next_one_works(
    folders: Folders, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folders.save(kind)["filename"]
    content = (folders.saved / before).read_bytes()
    module = folders.host.pack.sega_core.tensor_file

    def fail(tensors: Any, file: Any, metadata: Any = None) -> None:
        Path(file).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(module, "save_file", fail)
        folders.save(kind)
    assert folders.files() == [f"output/sega/{before}"]
    assert (folders.saved / before).read_bytes() == content
    assert folders.choices(kind) == [f"sega/{before} [output]"]
    assert "_00002_" in folders.save(kind)["filename"]


# Files that nobody should trust.


REASONS = {
    "no file of tensors": "not a safetensors file",
    "other kind": "must be a file of kind",
    "other version": "version must be 1, got '9'",
    "not a number": "must be finite",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", REASONS)
def test_a_file_that_is_not_what_it_says_is_refused_by_node_name_and_reason(
    folders: Folders, kind: str, how: str
) -> None:
    content = (folders.saved / folders.save(kind, "whole")["filename"]).read_bytes()
    other = folders.save("Conditioning" if kind == "Guidance" else "Guidance", "other")["filename"]
    start = int.from_bytes(content[:8], "little") + 8
    forged = {
        "no file of tensors": b"<html>not found</html>",
        "other kind": (folders.saved / other).read_bytes(),
        "other version": content.replace(b'"version":"1"', b'"version":"9"'),
        "not a number": content[:start] + b"\xff" * (len(content) - start),
    }[how]
    (folders.input / "x.safetensors").write_bytes(forged)
    with pytest.raises(ValueError, match=rf"^SEGALoad{kind}: file 'x\.safetensors': .*{REASONS[how]}"):
        folders.load(kind, "x.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused_when_it_is_saved(folders: Folders, kind: str) -> None:
    broken = folders.value(kind)
    tensor = broken.guidance[0] if kind == "Guidance" else broken[0][0]
    tensor[0, 0, 0] = torch.inf
    name = {"Guidance": "guidance: guidance.0", "Conditioning": "conditioning: 0.cross_attn"}[kind]
    with pytest.raises(ValueError, match=rf"^SEGASave{kind}: {name} must be finite"):
        folders.node("Save", kind).execute(broken, "x")
    assert not folders.files()


# Conditionings.


def through_a_file(folders: Folders, conditioning: Any) -> Any:
    result = folders.node("Save", "Conditioning").execute(conditioning, "c").ui["conditioning"][0]
    return folders.load("Conditioning", f"sega/{result['filename']} [output]")


@EMBEDDINGS
@pytest.mark.parametrize("name", ["encoded", "pooled", "scheduled"])
def test_a_saved_text_makes_the_pictures_of_the_text(folders: Folders, host: Host, name: str) -> None:
    if name == "encoded":
        clip, model = demo_clip(), host.model(host.eps.model.model_type, context_dim=96)
        text, *prompts = (clip.encode_from_tokens_scheduled(clip.tokenize(said)) for said in ("hat", "a face", ""))
    elif name == "pooled":
        model, (text, *prompts) = sdxl_model(), [host.pooled(seed) for seed in (10, 1, 2)]
    else:
        # As the host schedules LoRAs of an encoder: both entries hold one embedding.
        model, (text, *prompts) = host.eps, [host.conditioning(seed) for seed in (10, 1, 2)]
        spans = ((0.0, 0.5), (0.5, 1.0))
        text = [[text[0][0], {"clip_start_percent": start, "clip_end_percent": end}] for start, end in spans]
    arguments = {"model": model, "positive": prompts[0], "negative": prompts[1], "steps": 2}
    loaded, node = through_a_file(folders, text), host.pack.nodes.SEGAConceptFromConditioning
    assert len(loaded) == len(text)
    edited, again = (host.sega(node.execute(saved)[0], mode="independent", **arguments) for saved in (text, loaded))
    assert torch.equal(again, edited)
    assert not torch.equal(edited, host.sample(**arguments))


@EMBEDDINGS
def test_a_text_without_an_embedding_comes_back_as_such(folders: Folders) -> None:
    assert through_a_file(folders, [[None, {"pooled_output": torch.ones(1, 32)}]])[0][0] is None
    loaded = through_a_file(folders, [[torch.ones(1, 2, 3), {"pooled_output": None}]])
    assert loaded[0][1] == {"pooled_output": None}


@EMBEDDINGS
def test_all_that_text_encoders_write_is_saved_to_the_bit(folders: Folders, host: Host) -> None:
    extras: dict[str, Any] = {
        "pooled_output": noise(1, 32),
        "attention_mask": torch.ones((1, 77), dtype=torch.long),
        "conditioning_llama3": noise(1, 2, 3, 4, seed=2).bfloat16(),
        "t5xxl_ids": torch.arange(5, dtype=torch.int32),
        "audio_codes": [3, 1, 2],
        "unprocessed_ltxav_embeds": True,
        "lyrics_strength": 0.1 + 0.2,
        "num_layers_stacked": 3,
        "clip_start_percent": 0.25,
        "clip_end_percent": 1 / 3,
        "from another pack": "größer ☃",
        "nothing": None,
    }
    (loaded,) = through_a_file(folders, host.conditioning(5, **extras))
    assert torch.equal(loaded[0], host.conditioning(5)[0][0])
    assert loaded[1].keys() == extras.keys()
    for key, value in extras.items():
        assert type(loaded[1][key]) is type(value)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(loaded[1][key], value, rtol=0, atol=0)
        else:
            assert loaded[1][key] == value


@EMBEDDINGS
def test_where_a_text_acts_is_not_saved_and_when_it_acts_is(folders: Folders, host: Host) -> None:
    positions = {
        "area": (8, 8, 0, 0), "strength": 0.5, "mask": torch.ones(1, 8, 8), "mask_strength": 1.0,
        "start_percent": 0.1, "end_percent": 0.6, "control": object(), "control_apply_to_uncond": True,
        "gligen": ("position", object(), []), "hooks": object(), "reference_latents": [torch.ones(1, 4, 8, 8)],
        "guidance": 3.5, "height": 512, "concat_latent_image": torch.ones(1, 4, 8, 8), "uuid": object(),
    }  # fmt: skip
    (loaded,) = through_a_file(folders, host.conditioning(5, pooled_output=torch.ones(1, 32), **positions))
    assert loaded[1].keys() == {"pooled_output", "start_percent", "end_percent"}
    size = sum(path.stat().st_size for path in folders.saved.iterdir())
    assert size < 77 * 32 * 4 + 2000


@EMBEDDINGS
@pytest.mark.parametrize(("value", "kind"), [(object(), "object"), ({"a": 1}, "dict"), ([torch.ones(1)], "list")])
def test_what_cannot_be_saved_is_named(folders: Folders, host: Host, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"^SEGASaveConditioning: conditioning: odd cannot be saved: .* {kind}"):
        through_a_file(folders, host.conditioning(5, odd=value))
    with pytest.raises(ValueError, match=r"^SEGASaveConditioning: conditioning must not be empty"):
        through_a_file(folders, [])
    assert not folders.files()


FORGERIES: dict[str, tuple[dict[str, torch.Tensor], str, str]] = {
    "no entries": ({}, "[]", "entries must be a list of at least one entry"),
    "broken JSON": ({}, "[{", "entries must be JSON"),
    "endless JSON": ({}, "[" * 200_000, "entries must be JSON"),
    "a number too long": ({}, f'[{{"a": {"9" * 5000}}}]', "entries must be JSON"),
    "an entry below 0": ({"-1.cross_attn": torch.ones(1)}, "[{}]", "does not belong to an entry"),
    "hooks": ({}, '[{"hooks": 1, "control": "x"}]', "a text must not have control, hooks"),
    "an embedding of text": ({}, '[{"cross_attn": "x"}]', "cross_attn must be a tensor, got 'x'"),
}


@EMBEDDINGS
@pytest.mark.parametrize("case", FORGERIES)
def test_a_conditioning_that_does_not_make_sense_is_refused(folders: Folders, case: str) -> None:
    tensors, entries, reason = FORGERIES[case]
    write, file = folders.host.pack.sega_core.tensor_file.write, folders.input / "x.safetensors"
    write(file, "sega-conditioning", tensors, {"version": "1", "entries": entries})
    with pytest.raises(ValueError, match=rf"^SEGALoadConditioning: file 'x.safetensors': x.safetensors: .*{reason}"):
        folders.load("Conditioning", "x.safetensors")
