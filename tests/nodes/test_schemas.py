"""The nodes' ids, inputs, types and defaults are a public contract: a saved workflow depends on each of them."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest

from support.host import Host

CONCEPT_INPUTS = [
    ("direction", "COMBO", "add"),
    ("guidance_scale", "FLOAT", 5.0),
    ("threshold", "FLOAT", 0.9),
    ("warmup_steps", "INT", 10),
    ("cooldown_steps", "INT", 0),
    ("weight", "FLOAT", 1.0),
]
PLACE_INPUTS = [
    ("mask", "MASK", None),
    ("threshold_over", "COMBO", "channel"),
    ("attention_threshold", "FLOAT", 0.0),
]
GUIDANCE_INPUTS = [
    ("concepts", "SEGA_CONCEPT,SEGA_CONCEPT_STACK", None),
    ("momentum_scale", "FLOAT", 0.1),
    ("momentum_beta", "FLOAT", 0.4),
    ("mode", "COMBO", "reference"),
    ("baseline", "COMBO", "auto"),
    ("guidance", "SEGA_GUIDANCE", None),
    ("reuse_steps", "INT", 1),
    ("warmup_tolerance", "FLOAT", 0.0),
]
INPUTS = {
    "SEGAConcept": [
        ("clip", "CLIP", None),
        ("text", "STRING", None),
        *CONCEPT_INPUTS,
        *PLACE_INPUTS,
        ("preset", "COMBO", "none"),
    ],
    "SEGAConceptFromConditioning": [("conditioning", "CONDITIONING", None), *CONCEPT_INPUTS, *PLACE_INPUTS],
    "SEGAConceptStack": [("concepts", "COMFY_AUTOGROW_V3", None), ("stack", "SEGA_CONCEPT_STACK", None)],
    "SEGASampler": [
        ("model", "MODEL", None),
        ("seed", "INT", 0),
        ("steps", "INT", 20),
        ("cfg", "FLOAT", 8.0),
        ("sampler_name", "COMBO", None),
        ("scheduler", "COMBO", None),
        ("positive", "CONDITIONING", None),
        ("negative", "CONDITIONING", None),
        ("latent_image", "LATENT", None),
        ("denoise", "FLOAT", 1.0),
        *GUIDANCE_INPUTS,
    ],
    "SEGAModelPatch": [("model", "MODEL", None), *GUIDANCE_INPUTS],
    "SEGASaveGuidance": [("guidance", "SEGA_GUIDANCE", None), ("filename_prefix", "STRING", "guidance")],
    "SEGALoadGuidance": [("file", "COMBO", None)],
    "SEGASaveConditioning": [
        ("conditioning", "CONDITIONING", None),
        ("filename_prefix", "STRING", "conditioning"),
    ],
    "SEGALoadConditioning": [("file", "COMBO", None)],
    "SEGAPreview": [("guidance", "SEGA_GUIDANCE", None), ("image", "IMAGE", None)],
}
OUTPUTS = {
    "SEGAConcept": ["SEGA_CONCEPT"],
    "SEGAConceptFromConditioning": ["SEGA_CONCEPT"],
    "SEGAConceptStack": ["SEGA_CONCEPT_STACK"],
    "SEGASampler": ["LATENT", "SEGA_GUIDANCE"],
    "SEGAModelPatch": ["MODEL"],
    "SEGASaveGuidance": [],
    "SEGALoadGuidance": ["SEGA_GUIDANCE"],
    "SEGASaveConditioning": [],
    "SEGALoadConditioning": ["CONDITIONING"],
    "SEGAPreview": ["IMAGE", "IMAGE"],
}
OPTIONAL = {
    ("SEGAConceptStack", "stack"),
    *itertools.product(["SEGASampler", "SEGAModelPatch"], ["concepts", "guidance", "reuse_steps", "warmup_tolerance"]),
    # A preset gives what a workflow leaves out.
    *(("SEGAConcept", name) for name, _, _ in INPUTS["SEGAConcept"] if name != "clip"),
    *(("SEGAConceptFromConditioning", name) for name, _, _ in PLACE_INPUTS),
}
RANGES = {
    "guidance_scale": (0, 100),
    "threshold": (0, 0.999),
    "warmup_steps": (0, 10000),
    "cooldown_steps": (0, 10000),
    "weight": (0, 100),
    "momentum_scale": (0, 10),
    "momentum_beta": (0, 0.999),
    "attention_threshold": (0, 0.999),
    "reuse_steps": (1, 100),
    "warmup_tolerance": (0, 1),
    "steps": (1, 10000),
    "cfg": (0, 100),
    "denoise": (0, 1),
}


@pytest.fixture(scope="module")
def nodes(host: Host) -> dict[str, Any]:
    async def load() -> list[Any]:
        extension = await host.pack.comfy_entrypoint()
        return await extension.get_node_list()

    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(load())}


def test_the_pack_brings_these_nodes(nodes: dict[str, Any]) -> None:
    assert nodes.keys() >= INPUTS.keys()


@pytest.mark.parametrize("node_id", INPUTS)
def test_inputs_keep_their_ids_order_types_and_defaults(nodes: dict[str, Any], node_id: str) -> None:
    inputs = nodes[node_id].GET_SCHEMA().inputs
    assert [(i.id, i.get_io_type(), getattr(i, "default", None)) for i in inputs] == INPUTS[node_id]


@pytest.mark.parametrize("node_id", INPUTS)
def test_outputs_keep_their_order_and_types(nodes: dict[str, Any], node_id: str) -> None:
    assert [output.get_io_type() for output in nodes[node_id].GET_SCHEMA().outputs] == OUTPUTS[node_id]


@pytest.mark.parametrize("node_id", INPUTS)
def test_only_these_inputs_may_stay_unconnected(nodes: dict[str, Any], node_id: str) -> None:
    optional = {(node_id, i.id) for i in nodes[node_id].GET_SCHEMA().inputs if i.optional}
    assert optional == {pair for pair in OPTIONAL if pair[0] == node_id}


@pytest.mark.parametrize("node_id", INPUTS)
def test_numbers_have_the_range_that_their_tooltip_names(nodes: dict[str, Any], node_id: str) -> None:
    for i in nodes[node_id].GET_SCHEMA().inputs:
        if i.id in RANGES:
            assert (i.min, i.max) == RANGES[i.id], i.id
            if i.id != "cooldown_steps":
                assert re.search(rf"\b{i.min:g} to {i.max:g}\b", i.tooltip), i.tooltip
            else:
                assert "up to 10000" in i.tooltip


@pytest.mark.parametrize("node_id", INPUTS)
def test_everything_explains_itself(nodes: dict[str, Any], node_id: str) -> None:
    schema = nodes[node_id].GET_SCHEMA()
    assert schema.description
    assert schema.display_name.startswith("SEGA")
    assert schema.category == "sampling/SEGA"
    for item in [*schema.inputs, *schema.outputs]:
        assert item.tooltip and item.tooltip.endswith("."), item


@pytest.mark.parametrize("node_id", INPUTS)
def test_edit_settings_name_their_default_in_the_reference(nodes: dict[str, Any], node_id: str) -> None:
    for i in nodes[node_id].GET_SCHEMA().inputs:
        names = {name for name, _, _ in [*CONCEPT_INPUTS, *PLACE_INPUTS, *GUIDANCE_INPUTS]}
        if i.id in names - {"concepts", "baseline", "mode"} and node_id not in ("SEGASaveGuidance", "SEGAPreview"):
            assert "reference's default" in i.tooltip, i.id


def test_choices_are_these(nodes: dict[str, Any]) -> None:
    options = {i.id: i.options for i in nodes["SEGASampler"].GET_SCHEMA().inputs if hasattr(i, "options")}
    assert options["mode"] == ["reference", "independent"]
    assert options["baseline"] == ["auto", "negative", "positive"]
    concept = {i.id: i for i in nodes["SEGAConcept"].GET_SCHEMA().inputs}
    assert concept["direction"].options == ["add", "remove"]
    assert concept["threshold_over"].options == ["channel", "space"]


def test_the_sampler_offers_the_hosts_samplers_and_schedulers(host: Host, nodes: dict[str, Any]) -> None:
    options = {i.id: i.options for i in nodes["SEGASampler"].GET_SCHEMA().inputs if hasattr(i, "options")}
    assert options["sampler_name"] == host.samplers.KSampler.SAMPLERS
    assert options["scheduler"] == host.samplers.KSampler.SCHEDULERS


def test_the_sampler_keeps_the_ksamplers_inputs(host: Host, nodes: dict[str, Any]) -> None:
    theirs = host.nodes.KSampler.INPUT_TYPES()["required"]
    ours = {i.id: i for i in nodes["SEGASampler"].GET_SCHEMA().inputs}
    assert [i for i in ours if i in theirs] == list(theirs)
    for name, (_, *options) in theirs.items():
        for key in ("default", "min", "max", "step", "round"):
            if options and key in options[0]:
                assert getattr(ours[name], key) == options[0][key], (name, key)


def test_widgets_keep_their_order_in_the_editor(nodes: dict[str, Any]) -> None:
    # A saved workflow holds their values as a list; the editor shows required inputs before optional ones.
    types = nodes["SEGAConcept"].INPUT_TYPES()
    names = [name for part in ("required", "optional") for name in types.get(part, {})]
    assert names == [name for name, _, _ in INPUTS["SEGAConcept"]]


def test_concept_text_is_long_and_dynamic(nodes: dict[str, Any]) -> None:
    text = {i.id: i for i in nodes["SEGAConcept"].GET_SCHEMA().inputs}["text"]
    assert text.multiline
    assert text.dynamic_prompts


def test_a_stack_grows_to_a_hundred_concepts(nodes: dict[str, Any]) -> None:
    template = {i.id: i for i in nodes["SEGAConceptStack"].GET_SCHEMA().inputs}["concepts"].template
    assert (template.prefix, template.min, template.max) == ("concept_", 1, 100)


@pytest.mark.parametrize("node_id", INPUTS)
def test_the_old_style_description_is_complete(nodes: dict[str, Any], node_id: str) -> None:
    types = nodes[node_id].INPUT_TYPES()
    names = [name for part in ("required", "optional") for name in types.get(part, {})]
    assert set(names) == {name for name, _, _ in INPUTS[node_id]}
