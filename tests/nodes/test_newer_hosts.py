"""Conditioning keys of newer hosts and of other packs."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from support.host import Host


def in_place_of(host: Host, prompt: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a text with these keys in the place of a prompt with those."""
    from comfy.sampler_helpers import convert_cond

    entries = convert_cond(host.conditioning(1, **text)), convert_cond(host.conditioning(2, **prompt))
    make = host.pack.nodes.sampling.concept_conds.concept_conds
    return make(*entries, "positive", host.eps.model, "concept 1")[0][0]


@pytest.mark.parametrize(
    "key", ["image_slots", "yue2_chunks", "prefix_keys", "sensenova_images", "direct_context", "k6_audio_context"]
)
def test_what_a_newer_text_encoder_writes_is_the_concepts_own(host: Host, key: str) -> None:
    """Qwen-Image 2.1 would look for the concept's images at the places of the prompt's."""
    assert in_place_of(host, {key: "the prompt's"}, {key: "the text's"})[key] == "the text's"
    assert key not in in_place_of(host, {key: "the prompt's"}, {})


@pytest.mark.parametrize("key", ["generated_keyframes", "pose_strength", "reference_strength", "k6_reference_tail"])
def test_what_a_newer_node_adds_is_the_prompts(host: Host, key: str) -> None:
    assert in_place_of(host, {key: "the prompt's"}, {key: "the text's"})[key] == "the prompt's"
    assert key not in in_place_of(host, {}, {key: "the text's"})


def test_a_key_that_nobody_knows_is_the_prompts_and_named_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            made = in_place_of(host, {"from_the_future": "the prompt's"}, {"from_the_future": "the text's", "later": 1})
            assert made["from_the_future"] == "the prompt's"
            assert "later" not in made
    said = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert ["'from_the_future'" in said[0], "'later'" in said[1], len(said)] == [True, True, 2]
