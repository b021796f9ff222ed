"""The nodes' ids, inputs, types and defaults are a public contract: a saved workflow depends on each of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sega_core import ConceptSettings, Settings
from support.host import Host

CONCEPT = ConceptSettings()
SETTINGS = Settings(mode="independent", momentum_scale=0.0)
CONCEPT_INPUTS = [
    ("direction", "COMBO", "add"), ("strength", "FLOAT", CONCEPT.strength),
    ("threshold", "FLOAT", CONCEPT.threshold), ("start_percent", "FLOAT", CONCEPT.start_percent),
    ("end_percent", "FLOAT", 1.0), ("mask", "MASK", None),
]  # fmt: skip
ADVANCED_INPUTS = [
    ("guidance_scale", "FLOAT", 0.0), ("weight", "FLOAT", 1.0), ("threshold_over", "COMBO", "energy"),
    ("attention_threshold", "FLOAT", 0.0), ("curve", "CURVE", None), ("strengths", "FLOATS", None),
]  # fmt: skip
CONCEPTS = ("concepts", "SEGA_CONCEPT,SEGA_CONCEPT_STACK", None)
GUIDANCE_INPUTS = [
    ("mode", "COMBO", "independent"),
    ("momentum_scale", "FLOAT", SETTINGS.momentum_scale),
    ("momentum_beta", "FLOAT", SETTINGS.momentum_beta),
    ("guidance", "SEGA_GUIDANCE", None),
    ("reuse_steps", "INT", 1),
    ("warmup_tolerance", "FLOAT", 0.0),
]
SAMPLING = [
    ("model", "MODEL", None), ("seed", "INT", 0), ("steps", "INT", 20), ("cfg", "FLOAT", 8.0),
    ("sampler_name", "COMBO", None), ("scheduler", "COMBO", None), ("positive", "CONDITIONING", None),
    ("negative", "CONDITIONING", None), ("latent_image", "LATENT", None),
]  # fmt: skip
INPUTS = {
    "SEGAConcept": [
        ("clip", "CLIP", None), ("text", "STRING", None), ("prompt", "STRING", None), ("instead_of", "STRING", ""),
        *CONCEPT_INPUTS, ("preset", "COMBO", "none"), *ADVANCED_INPUTS,
    ],
    "SEGAConceptFromConditioning": [
        ("conditioning", "CONDITIONING", None), ("instead_of", "CONDITIONING", None), *CONCEPT_INPUTS, *ADVANCED_INPUTS,
    ],
    "SEGAConceptStack": [("concepts", "COMFY_AUTOGROW_V3", None), ("stack", "SEGA_CONCEPT_STACK", None)],
    "SEGASampler": [*SAMPLING, ("denoise", "FLOAT", 1.0), CONCEPTS, *GUIDANCE_INPUTS],
    "SEGASamplerCustom": [
        ("model", "MODEL", None), ("add_noise", "BOOLEAN", True), ("noise_seed", "INT", 0), ("cfg", "FLOAT", 8.0),
        ("positive", "CONDITIONING", None), ("negative", "CONDITIONING", None), ("sampler", "SAMPLER", None),
        ("sigmas", "SIGMAS", None), ("latent_image", "LATENT", None), CONCEPTS, *GUIDANCE_INPUTS,
    ],
    "SEGAModelPatch": [("model", "MODEL", None), CONCEPTS, *GUIDANCE_INPUTS],
    "SEGAInvert": [*SAMPLING, ("start_percent", "FLOAT", 0.0)],
    "SEGAStrengths": [
        ("first", "FLOAT", 0.0), ("last", "FLOAT", 2.0), ("count", "INT", 5), ("share", "FLOAT", 1.0),
        ("seed", "INT", 0),
    ],
    "SEGASaveGuidance": [("guidance", "SEGA_GUIDANCE", None), ("filename_prefix", "STRING", "guidance")],
    "SEGALoadGuidance": [("file", "COMBO", None)],
    "SEGASaveConditioning": [("conditioning", "CONDITIONING", None), ("filename_prefix", "STRING", "conditioning")],
    "SEGALoadConditioning": [("file", "COMBO", None)],
    "SEGAPreview": [("guidance", "SEGA_GUIDANCE", None), ("image", "IMAGE", None)],
}  # fmt: skip
OUTPUTS = {
    "SEGAConcept": ["SEGA_CONCEPT"], "SEGAConceptFromConditioning": ["SEGA_CONCEPT"],
    "SEGAConceptStack": ["SEGA_CONCEPT_STACK"], "SEGASampler": ["LATENT", "SEGA_GUIDANCE"],
    "SEGASamplerCustom": ["LATENT", "SEGA_GUIDANCE"], "SEGAModelPatch": ["MODEL"],
    "SEGAInvert": ["LATENT", "SAMPLER", "SIGMAS"], "SEGAStrengths": ["FLOATS"], "SEGASaveGuidance": [],
    "SEGALoadGuidance": ["SEGA_GUIDANCE"], "SEGASaveConditioning": [], "SEGALoadConditioning": ["CONDITIONING"],
    "SEGAPreview": ["IMAGE", "IMAGE", "MASK"],
}  # fmt: skip
GUIDED = ["SEGASampler", "SEGASamplerCustom", "SEGAModelPatch"]
# What the editor hides at first: no good edit needs it.
ADVANCED = {
    *itertools.product(["SEGAConcept", "SEGAConceptFromConditioning"], [name for name, _, _ in ADVANCED_INPUTS]),
    *itertools.product(GUIDED, [name for name, _, _ in GUIDANCE_INPUTS]),
    ("SEGASamplerCustom", "add_noise"),
}
OPTIONAL = {
    *ADVANCED - {("SEGASamplerCustom", "add_noise")},
    ("SEGAConceptStack", "stack"),
    *itertools.product(GUIDED, ["concepts"]),
    # A preset gives what a workflow leaves out.
    *(("SEGAConcept", name) for name, _, _ in INPUTS["SEGAConcept"] if name != "clip"),
    *(("SEGAConceptFromConditioning", name) for name, _, _ in INPUTS["SEGAConceptFromConditioning"][1:]),
    *(("SEGAStrengths", name) for name in ("share", "seed")),
}
RANGES = {
    **dict.fromkeys(["strength", "guidance_scale", "first", "last", "weight", "cfg"], (0, 100)),
    **dict.fromkeys(["threshold", "attention_threshold", "momentum_beta"], (0, 0.999)),
    **dict.fromkeys(["start_percent", "end_percent", "share", "warmup_tolerance", "denoise"], (0, 1)),
    "count": (1, 4096), "momentum_scale": (0, 10), "reuse_steps": (1, 100), "steps": (1, 10000),
}  # fmt: skip


@pytest.fixture(scope="module")
def nodes(host: Host) -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: node for node in host.pack.nodes.NODES}


def test_the_pack_brings_these_nodes(nodes: dict[str, Any]) -> None:
    assert nodes.keys() == INPUTS.keys()


@pytest.mark.parametrize("node_id", INPUTS)
def test_inputs_and_outputs_keep_their_ids_order_types_and_defaults(nodes: dict[str, Any], node_id: str) -> None:
    schema = nodes[node_id].GET_SCHEMA()
    assert [(i.id, i.get_io_type(), getattr(i, "default", None)) for i in schema.inputs] == INPUTS[node_id]
    assert [output.get_io_type() for output in schema.outputs] == OUTPUTS[node_id]
    assert schema.category == "sampling/SEGA"
    for flag, pairs in (("optional", OPTIONAL), ("advanced", ADVANCED)):
        flagged = {(node_id, i.id) for i in schema.inputs if getattr(i, flag)}
        assert flagged == {pair for pair in pairs if pair[0] == node_id}, flag
    for i in schema.inputs:
        assert i.id not in RANGES or (i.min, i.max) == RANGES[i.id], i.id
    # The older description, which the editor and scripts read.
    types = nodes[node_id].INPUT_TYPES()
    names = {name for part in ("required", "optional") for name in types.get(part, {})}
    assert names == {name for name, _, _ in INPUTS[node_id]}


def test_what_only_a_link_can_bring_is_a_socket(nodes: dict[str, Any]) -> None:
    prompt = {i.id: i for i in nodes["SEGAConcept"].GET_SCHEMA().inputs}["prompt"]
    assert prompt.force_input
    # The host's own input of this type would draw an editor in the node.
    types = nodes["SEGAConcept"].INPUT_TYPES()["optional"]
    assert (types["curve"][0], types["strengths"][0]) == ("CURVE", "FLOATS")


def test_choices_are_these(host: Host, nodes: dict[str, Any]) -> None:
    options = {i.id: i.options for i in nodes["SEGASampler"].GET_SCHEMA().inputs if hasattr(i, "options")}
    assert options["mode"] == ["reference", "independent"]
    assert options["sampler_name"] == host.samplers.KSampler.SAMPLERS
    assert options["scheduler"] == host.samplers.KSampler.SCHEDULERS
    concept = {i.id: i for i in nodes["SEGAConcept"].GET_SCHEMA().inputs}
    assert concept["direction"].options == ["add", "remove"]
    assert concept["threshold_over"].options == ["energy", "channel", "space"]
    assert concept["text"].multiline and concept["text"].dynamic_prompts


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


def test_a_stack_grows_to_a_hundred_concepts(nodes: dict[str, Any]) -> None:
    template = {i.id: i for i in nodes["SEGAConceptStack"].GET_SCHEMA().inputs}["concepts"].template
    assert (template.prefix, template.min, template.max) == ("concept_", 1, 100)
