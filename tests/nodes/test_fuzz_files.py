"""Names, conditioning files and presets with anything in them: refused by name, or used as what they say."""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.host import Host

# What is fuzzed is the pack's own: one host is enough.
pytestmark = pytest.mark.slow

FUZZ = settings(max_examples=200)
KINDS = ["Guidance", "Conditioning"]
PARTS = ["..", ".", "/", "//", "\\", "a", "x", "secret", "inside", "input", "output", "\0", "\ud800", "\udc80", "é",
         "~", "C:", "%year%", "%", "\n", " ", " [output]", "[output]", " [temp]", ".safetensors", "..%2f",
         "{root}", "x" * 300]  # fmt: skip
TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
KEYS = ["cross_attn", "pooled_output", "attention_mask", "area", "hooks", "audio_codes", ""]

names = st.lists(st.sampled_from(PARTS), max_size=7).map("".join) | st.text(max_size=10)
numbers = st.floats() | st.integers() | st.sampled_from([10**400, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=5,
)
fields = ["name", "text", "source", "direction", "strength", "guidance_scale", "threshold", "start_percent",
          "end_percent", "weight", "threshold_over", "attention_threshold", "mask"]  # fmt: skip
likely = st.sampled_from(["hat", "add", "remove", "space", "channel", 0, 1, 5, 0.5, -1])
presets = st.dictionaries(st.sampled_from(fields), values | likely, max_size=8)


class Folders:
    """ComfyUI's folders with a file in each, and one outside of them."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host, self.root = host, root
        self.output, self.input = root / "output", root / "input"
        for folder in (self.output, self.input):
            folder.mkdir()
        for name, text in (("secret", "secret"), ("input/inside", "input"), ("output/inside", "output")):
            self.save("Conditioning", root / f"{name}.safetensors", text)
        (root / "a").mkdir()

    def save(self, kind: str, file: Path, text: str) -> None:
        conditioning = [[torch.zeros(1, 2, 3), {"conditioning_lyrics": text}]]
        self.host.pack.nodes.conditioning_file.save_conditioning(conditioning, file)

    def node(self, verb: str, kind: str) -> Any:
        return getattr(self.host.pack.nodes, f"SEGA{verb}{kind}")

    def outside(self) -> dict[str, bytes]:
        """Return the files that nothing may write."""
        files = (file for file in self.root.rglob("*") if file.is_file() and self.output not in file.parents)
        return {str(file): file.read_bytes() for file in files}


@pytest.fixture
def folders(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    import folder_paths

    made = Folders(host, tmp_path)
    monkeypatch.setattr(folder_paths, "output_directory", str(made.output))
    monkeypatch.setattr(folder_paths, "input_directory", str(made.input))
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    return made


@FUZZ
@given(names)
def test_no_name_reads_a_file_outside_of_the_folders(folders: Folders, name: str) -> None:
    name = name.replace("{root}", str(folders.root))
    node = folders.node("Load", "Conditioning")
    checked = node.validate_inputs(name)
    try:
        ((_, extras),) = node.execute(name)[0]
    except ValueError as error:
        assert str(error).startswith("SEGALoadConditioning: file ")
        assert checked == str(error)
        return
    assert checked is True
    assert extras["conditioning_lyrics"] == ("output" if name.endswith(" [output]") else "input")


@FUZZ
@given(names | values, st.sampled_from(KINDS))
def test_no_prefix_writes_a_file_outside_of_the_output_folder(folders: Folders, prefix: Any, kind: str) -> None:
    prefix = prefix.replace("{root}", str(folders.root)) if isinstance(prefix, str) else prefix
    before = folders.outside()
    core = folders.host.pack.sega_core
    guidance = torch.zeros(1, 1, 4, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1)
    vectors = core.GuidanceVectors(
        guidance[:1], guidance[1:2], guidance[2], (1.0, 0.0), "noise", (core.Concept(),), ("hat",), core.Settings()
    )
    value = vectors if kind == "Guidance" else folders.host.conditioning(1)
    try:
        (result,) = folders.node("Save", kind).execute(value, prefix).ui[kind.lower()]
    except ValueError as error:
        assert str(error).startswith(f"SEGASave{kind}: filename_prefix must be a name")
    except OSError as error:
        # The file system's own limit.
        assert "name too long" in str(error)
    else:
        assert (folders.output / result["subfolder"] / result["filename"]).is_file()
    assert folders.outside() == before


def read(folders: Folders, content: bytes, kind: str = "Conditioning") -> Any:
    """Return what the node loads; None where it refuses the file by name."""
    (folders.input / "x.safetensors").write_bytes(content)
    try:
        return folders.node("Load", kind).execute("x.safetensors")[0]
    except ValueError as error:
        assert str(error).startswith(f"SEGALoad{kind}: file 'x.safetensors': ")
        assert "x.safetensors" in str(error).split(":", 2)[2]
        return None


def assert_finite(conditioning: Any) -> None:
    for embedding, extras in conditioning or []:
        for value in (embedding, *extras.values()):
            assert not isinstance(value, torch.Tensor) or value.float().isfinite().all()


@FUZZ
@given(st.data())
def test_a_conditioning_file_with_bytes_changed_or_cut(folders: Folders, data: st.DataObject) -> None:
    content = bytearray((folders.input / "inside.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert_finite(read(folders, bytes(content[: data.draw(st.integers(0, len(content)) | st.none())])))


@FUZZ
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["0", "1", "-1", "٣", "9" * 5000, ""]), st.sampled_from(KEYS)),
        st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=4), st.sampled_from([0.5, 1e300])),
        max_size=3,
    ),
    values | st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=2), max_size=2),
)
def test_a_conditioning_file_with_any_entries(folders: Folders, tensors: dict[Any, Any], entries: Any) -> None:
    file, module = folders.root / "made", folders.host.pack.sega_core.tensor_file
    made = {
        f"{number}.{key}": torch.full(shape, value, dtype=torch.float64).to(dtype)
        for (number, key), (dtype, shape, value) in tensors.items()
        if dtype == torch.float64 or value < 1
    }
    try:
        module.write(file, "sega-conditioning", made, {"version": "1", "entries": json.dumps(entries)})
    except ValueError as error:
        assert any(name in str(error) for name in made)
        return
    assert_finite(read(folders, file.read_bytes()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_is_refused_and_never_run(folders: Folders, kind: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (folders.root / "exploded",)

    torch.save({"a": Bomb()}, folders.root / "bomb")
    for content in (pickle.dumps(Bomb()), (folders.root / "bomb").read_bytes()):
        assert read(folders, content, kind) is None
        (folders.root / "user" / "default").mkdir(parents=True, exist_ok=True)
        (folders.root / "user" / "default" / "sega_presets.json").write_bytes(content)
        folders.host.pack.nodes.presets.available()
    assert not (folders.root / "exploded").exists()


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def assert_presets_build(folders: Folders, content: bytes) -> None:
    """Read a file of presets; each that is offered makes a concept."""
    module, pack = folders.host.pack.nodes.presets, folders.host.pack
    file = folders.root / "presets.json"
    file.write_bytes(content)
    for preset in module._presets.__wrapped__(file, None):
        settings_of = {key: value for key, value in preset.values.items() if key != "text"}
        built = pack.nodes.concept_inputs.concept_settings("SEGAConcept", **settings_of)
        assert math.isfinite(built.strength) and math.isfinite(built.guidance_scale)
        assert isinstance(preset.name, str)


@FUZZ
@given(st.lists(presets | values, max_size=4) | values)
def test_presets_with_any_fields(folders: Folders, quiet: None, entries: Any) -> None:
    assert_presets_build(folders, json.dumps(entries).encode())


@FUZZ
@given(st.data())
def test_presets_with_bytes_changed_or_cut(folders: Folders, quiet: None, data: st.DataObject) -> None:
    content = bytearray((Path(folders.host.pack.__file__).parent / "nodes" / "presets.json").read_bytes()[:900])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert_presets_build(folders, bytes(content) + data.draw(st.sampled_from([b"", b"]", b'"}]'])))
