"""Presets: the shipped ones, a file of the user's own, and what a workflow gets from them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import REPO
from sega_core import ConceptSettings
from support.host import Host

pytestmark = pytest.mark.compat("Features", "presets, with a file of the user's own")

DEFAULTS = asdict(ConceptSettings())
EVERYTHING = {"text": "a hat", **DEFAULTS}
GLASSES = {
    "strength": 1.0,
    "guidance_scale": 5.0,
    "threshold": 0.975,
    "threshold_over": "channel",
    "start_percent": 0.2,
}
# The last number is the published warm-up in steps of 50.
PUBLISHED = [
    ("smile", "smiling, smile", "add", 4, 0.99, 10),
    ("glasses", "glasses, wearing glasses", "add", 5, 0.975, 10),
    ("curly hair", "curls, wavy hair, curly hair", "add", 5, 0.925, 10),
    ("beard", "beard, full beard, mustache", "add", 5.4, 0.96, 10),
    ("sunglasses", "sunglasses", "add", 6, 0.95, 10),
    ("crowd, remove", "crowd, crowded, people", "remove", 8.3, 0.9, 10),
    ("boat", "boat on a river, boat", "add", 6, 0.9, 15),
    ("impressionism", "monet, impression, sunrise", "add", 6, 0.8, 18),
    ("style (LEDITS++)", None, "add", 7, 0.5, 2),
    ("face (LEDITS++)", None, "add", 5, 0.95, 2),
    ("object (LEDITS++)", None, "add", 12, 0.9, 5),
    ("cherry blossom (LEDITS++)", "cherry blossom", "add", 10, 0.75, 0),
]


class Clip:
    """A text encoder that remembers what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, Any]:
        self.texts.append(text)
        words = [(7, 1.0, place) for place, _ in enumerate(text.split(), 1)]
        return {"l": [[(0, 1.0, 0), *words] if return_word_ids else [token[:2] for token in words]]}

    def encode_from_tokens_scheduled(self, tokens: Any) -> list[Any]:
        return [[torch.zeros(1, 77, 32), {}]]


@pytest.fixture
def node(host: Host) -> Any:
    return host.pack.nodes.SEGAConcept


@pytest.fixture(autouse=True)
def users_file(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's file, which is not there yet."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    file = tmp_path / "user" / "default" / "sega_presets.json"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def available(host: Host) -> Callable[[], dict[str, Any]]:
    return host.pack.nodes.presets.available


@pytest.fixture
def concept(node: Any) -> Callable[..., Any]:
    """Run the node without the inputs that a workflow leaves out."""

    def run(**inputs: Any) -> Any:
        return node.execute(clip=Clip(), **inputs)[0]

    return run


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def of(concept: Any) -> dict[str, Any]:
    """Return a concept's settings and its text."""
    return {"text": concept.name, **asdict(concept.settings)}


def test_every_shipped_preset_is_valid_and_names_its_source(available: Any, caplog: Any) -> None:
    entries = json.loads((REPO / "nodes" / "presets.json").read_text(encoding="utf-8"))
    presets = available()
    assert [entry["name"] for entry in entries] == list(presets)
    assert not warnings(caplog)
    for preset in presets.values():
        assert re.search(r"arXiv \d{4}\.\d{5}", preset.source), preset.name
        # A published scale is a number of its own, whatever the cfg.
        assert preset.values["strength"] == 1 and preset.values["guidance_scale"] > 0, preset.name


def test_shipped_presets_have_the_published_values(available: Any) -> None:
    presets = available()
    for name, text, direction, scale, threshold, warmup in PUBLISHED:
        ledits = name.endswith("(LEDITS++)")
        expected = {"direction": direction, "guidance_scale": scale, "threshold": threshold, "end_percent": 1}
        expected |= {"start_percent": warmup / 50, "threshold_over": "space" if ledits else "channel"}
        expected |= {"attention_threshold": threshold if ledits else 0}
        assert presets[name].values.items() >= expected.items(), name
        assert presets[name].values.get("text") == text, name
    assert presets["unsafe content, remove (SLD)"].values["direction"] == "remove"


def test_presets_are_offered_after_none_in_alphabetical_order(node: Any) -> None:
    preset = {i.id: i for i in node.GET_SCHEMA().inputs}["preset"]
    assert preset.default == preset.options[0] == "none"
    assert preset.options[1:] == sorted(preset.options[1:], key=str.casefold)


def test_the_editor_gets_every_presets_values(node: Any, available: Any) -> None:
    info = json.loads(json.dumps(node.GET_NODE_INFO_V1()))
    given = info["input"]["optional"]["preset"][1]["sega_presets"]
    assert given == {name: preset.values for name, preset in available().items()}


def test_a_preset_alone_is_a_whole_concept(concept: Any) -> None:
    assert of(concept(preset="glasses")) == {**DEFAULTS, **GLASSES, "text": "glasses, wearing glasses"}


def test_a_given_value_wins_over_the_preset(concept: Any) -> None:
    built = concept(preset="glasses", guidance_scale=8.0, text="round glasses")
    assert of(built) == {**DEFAULTS, **GLASSES, "text": "round glasses", "guidance_scale": 8.0}


def test_with_every_value_given_the_preset_changes_nothing(concept: Any, available: Any) -> None:
    for name in ["none", *available(), "of another machine"]:
        assert of(concept(preset=name, **EVERYTHING)) == EVERYTHING
    assert of(concept(text="a hat")) == EVERYTHING


def test_a_preset_without_a_text_leaves_the_text_alone(concept: Any) -> None:
    built = of(concept(preset="style (LEDITS++)", text="watercolour painting"))
    assert built["text"] == "watercolour painting"
    assert (built["threshold_over"], built["attention_threshold"]) == ("space", 0.5)


def test_a_preset_acts_on_the_prompt_that_is_connected(node: Any) -> None:
    clip = Clip()
    node.execute(clip=clip, preset="sunglasses", prompt="a photo of a cat")
    assert clip.texts == ["a photo of a cat, sunglasses", "a photo of a cat"]


@pytest.mark.parametrize("preset", ["none", "style (LEDITS++)"])
def test_no_text_from_either_is_an_error(concept: Any, preset: str) -> None:
    with pytest.raises(ValueError, match=rf"^SEGAConcept: text is missing, and preset '{re.escape(preset)}'"):
        concept(preset=preset)


@pytest.mark.parametrize("preset", ["of another machine", None, ["x"]])
def test_an_unknown_preset_is_an_error_that_names_what_is_missing(concept: Any, preset: Any) -> None:
    given = {key: value for key, value in EVERYTHING.items() if key not in ("text", "threshold_over")}
    with pytest.raises(ValueError) as error:
        concept(preset=preset, **given)
    message = str(error.value)
    assert message.startswith("SEGAConcept: preset must be one of none, ")
    assert f"got {preset!r}" in message
    assert message.endswith("missing: text, threshold_over")


def test_a_value_that_does_not_go_with_the_presets_is_an_error(concept: Any) -> None:
    with pytest.raises(ValueError, match=r"SEGAConcept: end_percent must be after start_percent \(0.2\), got 0.1"):
        concept(preset="glasses", end_percent=0.1)


def test_a_users_preset_is_offered_and_runs(concept: Any, node: Any, users_file: Path) -> None:
    given = {"text": "wearing a hat", "strength": 1.5, "threshold": 0.95, "start_percent": 0.1, "end_percent": 0.9}
    users_file.write_text(json.dumps([{"name": "hat", **given, "weight": 2}]))
    assert "hat" in {i.id: i for i in node.GET_SCHEMA().inputs}["preset"].options
    assert of(concept(preset="hat")) == {**DEFAULTS, **given, "weight": 2}


def test_a_users_preset_replaces_the_shipped_one_of_its_name(concept: Any, available: Any, users_file: Path) -> None:
    shipped = len(available())
    users_file.write_text(json.dumps([{"name": "glasses", "text": "monocle"}]))
    assert len(available()) == shipped
    assert of(concept(preset="glasses")) == {**DEFAULTS, "text": "monocle"}


def test_a_changed_file_is_read_anew(concept: Any, node: Any, users_file: Path) -> None:
    users_file.write_text('[{"name": "hat", "text": "a hat"}]')
    first = node.fingerprint_inputs(preset="hat")
    assert concept(preset="hat").name == "a hat"
    users_file.write_text('[{"name": "hat", "text": "two hats"}]')
    assert concept(preset="hat").name == "two hats"
    assert node.fingerprint_inputs(preset="hat") != first
    assert node.fingerprint_inputs(preset="glasses") == node.fingerprint_inputs(preset="glasses", weight=3)


def test_the_file_may_hold_any_script_and_a_byte_order_mark(concept: Any, users_file: Path) -> None:
    users_file.write_text('[{"name": "微笑 🙂", "text": "微笑\\n笑顔"}]', encoding="utf-8-sig")
    assert concept(preset="微笑 🙂").name == "微笑\n笑顔"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "bad", "guidance_scale": "5"}, "guidance_scale must be a number in [0, 100], got '5'"),
        ({"name": "bad", "guidance_scale": True}, "guidance_scale must be a number in [0, 100], got True"),
        ({"name": "bad", "weight": float("nan")}, "weight must be a number in [0, 100], got nan"),
        ({"name": "bad", "threshold": 1}, "threshold must be a number in [0, 0.999], got 1"),
        ({"name": "bad", "start_percent": 10**30}, "start_percent must be a number in [0, 1]"),
        ({"name": "bad", "start_percent": 0.5, "end_percent": 0.2}, "end_percent must be after start_percent (0.5)"),
        ({"name": "bad", "warmup_steps": 10}, "unknown field 'warmup_steps', use name, text, direction, strength, "),
        ({"name": "bad", "direction": "up"}, "direction must be one of add, remove, got 'up'"),
        ({"name": "bad", "threshold_over": ["space"]}, "threshold_over must be one of energy, channel, space"),
        ({"name": "bad", "text": ""}, "text must be a string of 1 to 2000 characters, got ''"),
        ({"name": "bad", "text": "x" * 2001}, "text must be a string of 1 to 2000 characters"),
        ({"name": "bad", "text": "\x00"}, "text must have no control characters"),
        ({"name": "bad", "text": "\ud800"}, "text must have no control characters"),
        ({"name": "bad", "source": {"a": {"b": []}}}, "source must be a string"),
        ({"name": "bad\nERROR forged"}, "name must have no control characters, got 'bad\\nERROR forged'"),
        ({"name": "x" * 81}, "name must be a string of 1 to 80 characters"),
        ({"name": " None "}, "name must not be 'none'"),
        ({"text": "a hat"}, "name must be a string of 1 to 80 characters, got None"),
        ({"name": "good"}, "name must not be used twice"),
        ("bad", "must be an object, got 'bad'"),
    ],
)
def test_a_bad_preset_is_left_out_and_the_log_says_why(
    available: Any, users_file: Path, caplog: Any, entry: Any, words: str
) -> None:
    shipped = list(available())
    users_file.write_text(json.dumps([{"name": "good", "text": "a hat"}, entry, {"name": "better", "text": "a cap"}]))
    assert sorted(available()) == sorted([*shipped, "good", "better"])
    (message,) = warnings(caplog)
    assert words in message and str(users_file) in message and "preset 2" in message
    assert "\n" not in message and len(message) < 500
    available()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 200_000,
        b"[" + b"9" * 10_000 + b"]",
        b"\xff\xfe\x00[",
        b'[{"name": "big", "text": "' + b"x" * 10_000_000 + b'"}]',
        None,
    ],
    ids=["empty", "object", "nested", "digits", "utf-16", "10 MB", "a folder"],
)
def test_a_broken_file_is_left_out_and_the_log_says_why(
    available: Any, users_file: Path, caplog: Any, content: bytes | None
) -> None:
    shipped = list(available())
    if content is None:
        users_file.mkdir()
    else:
        users_file.write_bytes(content)
    assert list(available()) == shipped
    (message,) = warnings(caplog)
    assert str(users_file) in message and len(message) < 500


def test_only_the_first_500_presets_are_used(available: Any, users_file: Path, caplog: Any) -> None:
    shipped = len(available())
    users_file.write_text(json.dumps([{"name": f"hat {i}"} for i in range(600)]))
    assert len(available()) == shipped + 500
    (message,) = warnings(caplog)
    assert "only the first 500 of 600" in message
