"""Names, conditionings in files and presets with anything in them: refused by name, or used as what they say.

The format of the files is fuzzed with guidance, in tests/sega_core.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fuzz import TYPES, values
from support.host import Host

# What is fuzzed is the pack's own: one host is enough.
pytestmark = pytest.mark.slow

FUZZ = settings(max_examples=200)
PARTS = ["..", ".", "/", "//", "\\", "a", "x", "secret", "inside", "input", "output", "\0", "\ud800", "\udc80", "é",
         "~", "C:", "%year%", "%", "\n", " ", " [output]", "[output]", " [temp]", ".safetensors", "..%2f",
         "{root}", "x" * 300]  # fmt: skip
KEYS = ["cross_attn", "pooled_output", "attention_mask", "area", "hooks", "audio_codes", ""]

names = st.lists(st.sampled_from(PARTS), max_size=7).map("".join) | st.text(max_size=10)
fields = ["name", "text", "source", "direction", "strength", "guidance_scale", "threshold", "start_percent",
          "end_percent", "weight", "threshold_over", "attention_threshold", "mask"]  # fmt: skip
likely = st.sampled_from(["hat", "add", "remove", "space", "channel", 0, 1, 5, 0.5, -1])
presets = st.dictionaries(st.sampled_from(fields), values | likely, max_size=8)


class Folders:
    """ComfyUI's folders with a file in each, and one outside of them."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host, self.root, self.output, self.input = host, root, root / "output", root / "input"
        (root / "a").mkdir()
        for name, text in (("secret", "secret"), ("input/inside", "input"), ("output/inside", "output")):
            conditioning = [[torch.zeros(1, 2, 3), {"conditioning_lyrics": text}]]
            host.pack.nodes.conditioning_file.save_conditioning(conditioning, root / f"{name}.safetensors")

    def outside(self) -> dict[str, bytes]:
        """Return the files that nothing may write."""
        files = (file for file in self.root.rglob("*") if file.is_file() and self.output not in file.parents)
        return {str(file): file.read_bytes() for file in files}


@pytest.fixture
def folders(host: Host, hosts_folders: Path) -> Folders:
    return Folders(host, hosts_folders)


@FUZZ
@given(names)
def test_no_name_reads_a_file_outside_of_the_folders(folders: Folders, name: str) -> None:
    name = name.replace("{root}", str(folders.root))
    node = folders.host.pack.nodes.SEGALoadConditioning
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
@given(names | values)
def test_no_prefix_writes_a_file_outside_of_the_output_folder(folders: Folders, prefix: Any) -> None:
    prefix = prefix.replace("{root}", str(folders.root)) if isinstance(prefix, str) else prefix
    before, node = folders.outside(), folders.host.pack.nodes.SEGASaveConditioning
    try:
        (result,) = node.execute(folders.host.conditioning(1), prefix).ui["conditioning"]
    except ValueError as error:
        assert str(error).startswith("SEGASaveConditioning: filename_prefix must be a name")
    except OSError as error:
        # The file system's own limit.
        assert "name too long" in str(error)
    else:
        assert (folders.output / result["subfolder"] / result["filename"]).is_file()
    assert folders.outside() == before


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
    file, module = folders.input / "made.safetensors", folders.host.pack.sega_core.tensor_file
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
    try:
        loaded = folders.host.pack.nodes.SEGALoadConditioning.execute(file.name)[0]
    except ValueError as error:
        assert str(error).startswith(f"SEGALoadConditioning: file {file.name!r}: {file.name}")
        return
    for embedding, extras in loaded:
        for value in (embedding, *extras.values()):
            assert not isinstance(value, torch.Tensor) or value.float().isfinite().all()


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@FUZZ
@given(st.lists(presets | values, max_size=4) | values)
def test_presets_with_any_fields(folders: Folders, quiet: None, entries: Any) -> None:
    """Each preset that is offered makes a concept."""
    pack, user = folders.host.pack, Path(tempfile.mkdtemp(dir=folders.root))
    (user / "default").mkdir()
    (user / "default" / "sega_presets.json").write_text(json.dumps(entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("folder_paths.get_user_directory", lambda: str(user))
        offered = pack.nodes.presets.available()
    for preset in offered.values():
        settings_of = {key: value for key, value in preset.values.items() if key != "text"}
        built = pack.nodes.concept_inputs.concept_settings("SEGAConcept", **settings_of)
        assert math.isfinite(built.strength) and math.isfinite(built.guidance_scale)
        assert isinstance(preset.name, str)
