"""The nodes that save and load: names, folders, and files that nobody should trust."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from support.host import Host

VECTORS = pytest.mark.compat(
    "Features", "guidance vectors: kept, saved, loaded, applied to another prompt or number of steps"
)
EMBEDDINGS = pytest.mark.compat("Features", "pre-computed embeddings: saved and loaded")
KINDS = [pytest.param("Guidance", marks=VECTORS), pytest.param("Conditioning", marks=EMBEDDINGS)]


def sibling(name: str) -> ModuleType:
    """Return another test file of this folder, for the models that it makes."""
    full = f"for_files_{name}"
    spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


texts = sibling("test_conditionings")
forget = texts.forget


class Folders:
    """ComfyUI's folders, and the nodes that read and write there."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.root = root
        self.output, self.input = root / "output", root / "input"
        # Where the nodes save.
        self.saved = self.output / "sega"
        for folder in (self.input, self.saved):
            folder.mkdir(parents=True)

    def node(self, verb: str, kind: str) -> Any:
        return getattr(self.host.pack.nodes, f"SEGA{verb}{kind}")

    def value(self, kind: str, seed: int = 5) -> Any:
        if kind == "Conditioning":
            return self.host.conditioning(seed)
        core, generator = self.host.pack.sega_core, torch.Generator().manual_seed(seed)
        guidance = torch.randn((3, 1, 4, 8, 8), generator=generator)
        concept, strength = core.Concept(), torch.rand((3, 1), generator=generator)
        activity = torch.rand((1, 1, 8, 8), generator=generator)
        sigmas = (14.0, 3.0, 1.0, 0.0)
        settings = core.Settings()
        return core.GuidanceVectors((guidance,), (activity,), strength, sigmas, "noise", (concept,), ("hat",), settings)

    def save(self, kind: str, prefix: str = "x", seed: int = 5) -> dict[str, str]:
        """Save a value; return how the history names the file."""
        ui = self.node("Save", kind).execute(self.value(kind, seed), prefix).ui
        (result,) = ui[kind.lower()]
        return result

    def load(self, kind: str, file: str) -> Any:
        return self.node("Load", kind).execute(file)[0]

    def choices(self, kind: str) -> list[str]:
        (picker,) = self.node("Load", kind).define_schema().inputs
        return picker.options

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def folders(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    import folder_paths

    made = Folders(host, tmp_path)
    monkeypatch.setattr(folder_paths, "output_directory", str(made.output))
    monkeypatch.setattr(folder_paths, "input_directory", str(made.input))
    return made


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
    offered = folders.choices(kind)
    assert offered == [f"{name} [output]" for name in names]
    assert same(folders.load(kind, offered[2]), folders.value(kind, 2))
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_picker_does_not_walk_through_folders_that_are_not_its_own(
    folders: Folders, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of pictures may be large, or on a network: ComfyUI asks for the picker again and again."""
    (folders.output / "pictures of years").mkdir()
    (folders.input / "pictures of years").mkdir()
    scan, seen = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path=".": seen.append(Path(path).name) or scan(path))
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": seen.append(Path(path).name) or listdir(path))
    folders.choices(kind)
    assert sorted(set(seen)) == ["input", "sega"]


@pytest.mark.parametrize("kind", KINDS)
def test_dates_in_the_prefix_are_filled_in(folders: Folders, kind: str) -> None:
    result = folders.save(kind, "%year%/on %day%")
    assert result["subfolder"].removeprefix("sega/").isdecimal()
    assert "%" not in result["filename"]
    assert folders.choices(kind) == [f"{result['subfolder']}/{result['filename']} [output]"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "prefix", ["größer ☃", "a b", "x.y", "'quoted' \"twice\"", "a/./b", "a/../b", "-", ".hidden", "x\n"]
)
def test_odd_names_are_kept_and_found_again(folders: Folders, kind: str, prefix: str) -> None:
    result = folders.save(kind, prefix)
    (choice,) = folders.choices(kind)
    assert choice == "/".join(filter(None, (result["subfolder"], result["filename"]))) + " [output]"
    assert same(folders.load(kind, choice), folders.value(kind))
    assert folders.save(kind, prefix)["filename"] != result["filename"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_that_goes_out_and_comes_back_is_named_without_the_way(folders: Folders, kind: str) -> None:
    assert folders.save(kind, "../sega/a/x")["subfolder"] == "sega/a"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "prefix",
    ["", "a/", "/", ".", "..", "../x", "a/../../x", "/etc/x", "a/..", "\0", "x\0y", "../sega-of-others/x"],
)
def test_a_prefix_outside_of_the_output_folder_is_refused(folders: Folders, kind: str, prefix: str) -> None:
    with pytest.raises(
        ValueError, match=f"^SEGASave{kind}: filename_prefix must be a name in the folder 'sega' of ComfyUI's output"
    ) as failure:
        folders.save(kind, prefix)
    assert repr(prefix) in str(failure.value)
    assert not folders.files()


OUTSIDE = [
    "", ".", "..", "../secret.safetensors", "a/../../secret.safetensors", "./../secret.safetensors",
    "../secret.safetensors [output]", "/etc/passwd", "/etc/passwd [output]", "{root}/secret.safetensors",
    "{root}/secret.safetensors [output]", "x.safetensors\0", "\0", "x\0.safetensors [output]", " [output]", "[output]",
    "../input-of-others/x.safetensors",
]  # fmt: skip
NOT_THERE = [
    "x.safetensors", "x.safetensors [output]", "..\\secret.safetensors", "C:\\secret.safetensors", "folder.safetensors",
    "folder.safetensors [output]", "secret.safetensors", "\ud800.safetensors", "x" * 300 + ".safetensors",
    "x/" * 3000 + ".safetensors", "pipe.safetensors", "ghost.safetensors",
]  # fmt: skip
OTHER_FILES = ["x.ckpt", "x.safetensors.pt", "notes.txt", "notes.txt [output]", "kept.safetensors [input]",
               "kept.safetensors [temp]", "kept.safetensors[output]", "kept.safetensors  [Output]"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*OUTSIDE, *NOT_THERE, *OTHER_FILES])
def test_a_name_that_is_no_file_of_ours_is_refused_before_and_while_it_runs(
    folders: Folders, kind: str, name: str
) -> None:
    (folders.root / "secret.safetensors").write_bytes(b"secret")
    for folder in (folders.input, folders.output):
        (folder / "folder.safetensors").mkdir()
        (folder / "notes.txt").write_text("notes")
        (folder / "kept.safetensors").write_bytes(b"")
    os.mkfifo(folders.input / "pipe.safetensors")
    (folders.input / "ghost.safetensors").symlink_to(folders.input / "nothing")
    name = name.format(root=folders.root)
    node = folders.node("Load", kind)
    reason = rf"^SEGALoad{kind}: file "
    message = node.validate_inputs(name)
    assert isinstance(message, str)
    assert message.startswith(f"SEGALoad{kind}: file ")
    for read in (node.execute, lambda file: node.fingerprint_inputs(file=file)):
        with pytest.raises(ValueError, match=reason) as failure:
            read(name)
        assert repr(name) in str(failure.value)
        assert "secret" not in str(failure.value).replace(repr(name), "").replace(str(folders.root), "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [5, True, 1.5, {}, ["a", "b", "c"]])
def test_a_name_that_is_no_text_is_refused(folders: Folders, kind: str, name: Any) -> None:
    message = folders.node("Load", kind).validate_inputs(name)
    assert isinstance(message, str)
    assert message.startswith(f"SEGALoad{kind}: file must be")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_a_link_is_the_file_that_it_leads_to(folders: Folders, kind: str) -> None:
    saved = folders.save(kind, "x")["filename"]
    (folders.root / saved).write_bytes((folders.saved / saved).read_bytes())
    (folders.input / saved).symlink_to(folders.root / saved)
    assert folders.choices(kind) == [saved, f"sega/{saved} [output]"]
    assert same(folders.load(kind, saved), folders.value(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_known_yet_is_checked_while_it_runs(folders: Folders, kind: str) -> None:
    assert folders.node("Load", kind).validate_inputs(None) is True
    assert folders.node("Load", kind).validate_inputs() is True


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


def damaged(folders: Folders, kind: str, how: str) -> bytes:
    """Return the content of a file that is not what it says."""
    content = (folders.saved / folders.save(kind, "whole")["filename"]).read_bytes()
    other = folders.save("Conditioning" if kind == "Guidance" else "Guidance", "other")["filename"]
    size = int.from_bytes(content[:8], "little")
    if how == "pickle":
        return pickle.dumps({"a": 1})
    return {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": content[: len(content) // 2],
        "cut by a byte": content[:-1],
        "longer": content + b"\0",
        "header of exabytes": (2**62).to_bytes(8, "little") + content[8:],
        "header of nothing": (0).to_bytes(8, "little") + content[8:],
        "other kind": (folders.saved / other).read_bytes(),
        "no metadata": b"\x02\0\0\0\0\0\0\0{}",
        "other version": content.replace(b'"version":"1"', b'"version":"9"'),
        "not a number": content[: size + 8] + b"\xff" * (len(content) - size - 8),
        "broken header": content[:8] + content[8 : size + 8].replace(b'"', b"'") + content[size + 8 :],
    }[how]


REASONS = {
    "empty": "no safetensors file", "text": "no safetensors file", "cut": "no safetensors file",
    "cut by a byte": "no safetensors file", "longer": "no safetensors file", "pickle": "no safetensors file",
    "header of exabytes": "no safetensors file", "header of nothing": "no safetensors file",
    "broken header": "no safetensors file", "other kind": "must be a file of kind", "no metadata": "got None",
    "other version": "version must be 1, got '9'", "not a number": "must be finite",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", REASONS)
def test_a_file_that_is_not_what_it_says_is_refused_by_node_name_and_reason(
    folders: Folders, kind: str, how: str
) -> None:
    (folders.input / "x.safetensors").write_bytes(damaged(folders, kind, how))
    with pytest.raises(ValueError, match=rf"^SEGALoad{kind}: file 'x\.safetensors': .*{REASONS[how]}"):
        folders.load(kind, "x.safetensors")


@VECTORS
def test_guidance_that_is_not_finite_is_refused_when_it_is_saved(folders: Folders) -> None:
    broken = folders.value("Guidance")
    broken.guidance[0][1] = torch.inf
    with pytest.raises(ValueError, match=r"^SEGASaveGuidance: guidance: guidance.0 must be finite"):
        folders.node("Save", "Guidance").execute(broken, "x")
    assert not folders.files()


@VECTORS
def test_guidance_of_inconsistent_shapes_is_refused(folders: Folders) -> None:
    core = folders.host.pack.sega_core
    file = folders.saved / folders.save("Guidance", "x")["filename"]
    tensors, metadata = core.tensor_file.read(file, core.vectors.KIND)
    for name, shape in {"guidance.0": (2, 1, 4, 8, 8), "activity.0": (1, 1, 4, 4), "strength": (3, 2)}.items():
        core.tensor_file.write(file, core.vectors.KIND, {**tensors, name: torch.zeros(shape)}, metadata)
        with pytest.raises(ValueError, match=rf"^SEGALoadGuidance: file '(sega/)?x_.*{name.split('.')[0]} must be"):
            folders.load("Guidance", f"sega/{file.name} [output]")


# Conditionings.


def through_a_file(folders: Folders, conditioning: Any) -> Any:
    result = folders.node("Save", "Conditioning").execute(conditioning, "c").ui["conditioning"][0]
    return folders.load("Conditioning", f"sega/{result['filename']} [output]")


def scheduled(host: Host) -> Any:
    return texts.hooked_encoder(host, True, True)(texts.OTHER)


def combined_with_itself(host: Host) -> Any:
    """Return two entries that share one embedding, for one half of the steps each."""
    text = host.conditioning(texts.OTHER)
    halves = [texts.time_range(*span)(host, text) for span in ((0.0, 0.5), (0.5, 1.0))]
    return host.nodes.ConditioningCombine().combine(*halves)[0]


def sliced(host: Host) -> Any:
    """Return an embedding whose pooled output is a part of it."""
    embedding = host.conditioning(texts.OTHER)[0][0]
    return [[embedding, {"pooled_output": embedding[:, -1]}]]


ENTRIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "SD1.5": (lambda host: host.conditioning(texts.OTHER), texts.plain_model),
    "SD1.5's own encoder": (
        lambda host: host.nodes.CLIPTextEncode().encode(texts.clip(host), "smiling")[0], texts.plain_model
    ),
    "SDXL": (lambda host: texts.sdxl_text(host, texts.OTHER), texts.sdxl_model),
    "Flux": (lambda host: texts.flux_text(host, texts.OTHER), texts.flux_model),
    "combined": (
        lambda host: texts.combined(host, host.conditioning(5), host.conditioning(texts.OTHER)), texts.plain_model
    ),
    "combined with itself": (combined_with_itself, texts.plain_model),
    "a part of itself": (sliced, texts.plain_model),
    "scheduled": (scheduled, texts.hooked_model),
    "half precision": (lambda host: [[host.conditioning(texts.OTHER)[0][0].half(), {}]], texts.plain_model),
}  # fmt: skip
PROMPTS = {"SDXL": texts.sdxl_text, "Flux": texts.flux_text}


@EMBEDDINGS
@pytest.mark.parametrize("name", ENTRIES)
def test_a_saved_text_makes_the_pictures_of_the_text(folders: Folders, host: Host, name: str) -> None:
    make, model = ENTRIES[name]
    direct = make(host)
    loaded = through_a_file(folders, direct)
    assert len(loaded) == len(direct)
    prompt = PROMPTS.get(name, texts.plain_text)
    arguments = {
        "positive": prompt(host, texts.POSITIVE),
        "negative": prompt(host, texts.NEGATIVE),
        "model": model(host),
    }
    arguments |= {"steps": 2, "latent": {"samples": torch.zeros(1, 16 if name == "Flux" else 4, 8, 8)}}
    edited, again = (host.sega(texts.concept(host, text), **arguments) for text in (direct, loaded))
    assert torch.equal(again, edited)
    assert not torch.equal(edited, host.sample(**arguments))


@EMBEDDINGS
def test_a_text_without_an_embedding_comes_back_as_such(folders: Folders) -> None:
    pooled = torch.ones(1, 32)
    assert through_a_file(folders, [[None, {"pooled_output": pooled}]])[0][0] is None
    loaded = through_a_file(folders, [[torch.ones(1, 2, 3), {"pooled_output": None}]])
    assert loaded[0][1] == {"pooled_output": None}


@EMBEDDINGS
def test_all_that_text_encoders_write_is_saved_to_the_bit(folders: Folders, host: Host) -> None:
    extras: dict[str, Any] = {
        "pooled_output": torch.randn((1, 32), generator=torch.Generator().manual_seed(1)),
        "attention_mask": torch.ones((1, 77), dtype=torch.long),
        "conditioning_llama3": torch.randn((1, 2, 3, 4), generator=torch.Generator().manual_seed(2)).bfloat16(),
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
        if isinstance(value, torch.Tensor):
            assert loaded[1][key].dtype == value.dtype
            assert torch.equal(loaded[1][key], value)
        else:
            assert loaded[1][key] == value
            assert type(loaded[1][key]) is type(value)


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
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        ({"a": 1}, "dict"),
        ([torch.ones(1)], "list"),
        (b"bytes", "bytes"),
        (print, "builtin_function"),
    ],
)
def test_what_cannot_be_saved_is_named(folders: Folders, host: Host, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"^SEGASaveConditioning: conditioning: odd cannot be saved: .* {kind}"):
        through_a_file(folders, host.conditioning(5, odd=value))
    assert not folders.files()


@EMBEDDINGS
def test_an_embedding_that_is_not_finite_is_refused_when_it_is_saved(folders: Folders, host: Host) -> None:
    with pytest.raises(ValueError, match=r"^SEGASaveConditioning: conditioning: 1.cross_attn must be finite"):
        through_a_file(folders, [*host.conditioning(5), [torch.full((1, 2, 3), torch.nan), {}]])
    assert not folders.files()


@EMBEDDINGS
def test_an_empty_conditioning_is_refused(folders: Folders) -> None:
    with pytest.raises(ValueError, match=r"^SEGASaveConditioning: conditioning must not be empty"):
        through_a_file(folders, [])


FORGERIES: dict[str, tuple[dict[str, torch.Tensor], str, str]] = {
    "no entries": ({}, "[]", "entries must be a list of at least one entry"),
    "entries in a table": ({}, "{}", "entries must be a list"),
    "an entry of text": ({}, '["cross_attn"]', "entries must be a list"),
    "broken JSON": ({}, "[{", "entries must be JSON"),
    "endless JSON": ({}, "[" * 200_000, "entries must be JSON"),
    "a number too long": ({}, f'[{{"a": {"9" * 5000}}}]', "entries must be JSON"),
    "no such entry": ({"1.cross_attn": torch.ones(1)}, "[{}]", "'1.cross_attn' belongs to no entry"),
    "no entry at all": ({"cross_attn": torch.ones(1)}, "[{}]", "'cross_attn' belongs to no entry"),
    "an entry below 0": ({"-1.cross_attn": torch.ones(1)}, "[{}]", "belongs to no entry"),
    "no key": ({"0.": torch.ones(1)}, "[{}]", "'0.' belongs to no entry"),
    "a mask": ({"0.mask": torch.ones(1)}, "[{}]", "mask is no text"),
    "hooks": ({}, '[{"hooks": 1, "control": "x"}]', "control, hooks is no text"),
    "an embedding of text": ({}, '[{"cross_attn": "x"}]', "cross_attn must be a tensor, got 'x'"),
    "a pooled output of text": ({}, '[{"pooled_output": [1]}]', r"pooled_output must be a tensor, got \[1\]"),
}


@EMBEDDINGS
@pytest.mark.parametrize("case", FORGERIES)
def test_a_conditioning_that_does_not_make_sense_is_refused(folders: Folders, case: str) -> None:
    tensors, entries, reason = FORGERIES[case]
    metadata = {"version": "1", "entries": entries}
    folders.host.pack.sega_core.tensor_file.write(
        folders.input / "x.safetensors", "sega-conditioning", tensors, metadata
    )
    with pytest.raises(ValueError, match=rf"^SEGALoadConditioning: file 'x.safetensors': x.safetensors: .*{reason}"):
        folders.load("Conditioning", "x.safetensors")
