"""What the server tells the editor about the nodes, and that loading them is uneventful."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import pytest

from sega_core import ConceptSettings, Settings

pytestmark = pytest.mark.compat("Server", "nodes, inputs and defaults as the editor gets them")

CONCEPT = asdict(ConceptSettings())
SETTINGS = asdict(Settings(mode="independent", momentum_scale=0.0))
NODES = {
    "SEGAConcept": {**CONCEPT, "instead_of": "", "preset": "none"},
    "SEGAConceptFromConditioning": CONCEPT,
    "SEGAConceptStack": {},
    "SEGASampler": {"steps": 20, "cfg": 8.0, "denoise": 1.0, **SETTINGS},
    "SEGASamplerCustom": {"cfg": 8.0, "add_noise": True, **SETTINGS},
    "SEGAModelPatch": SETTINGS,
    "SEGAInvert": {"steps": 20, "cfg": 8.0, "start_percent": 0.0},
    "SEGAStrengths": {"first": 0, "share": 1},
}


def inputs_of(info: dict[str, Any]) -> dict[str, Any]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


@pytest.fixture(scope="module")
def object_info(server: Any) -> dict[str, Any]:
    return server.client().object_info()


def test_the_packs_load_without_a_complaint(server: Any, object_info: dict[str, Any]) -> None:
    log, _, later = server.log().partition("To see the GUI go to")
    assert later
    # A host may log traces of its own.
    assert not re.search(r'File ".*(semantic-guidance|sega_demo).*", line', log)
    assert "IMPORT FAILED" not in log
    complaints = [line for line in log.splitlines() if re.search("warning|error|unable|skip", line, re.IGNORECASE)]
    assert not [line for line in complaints if "sega" in line.lower() or "pyproject" in line.lower()]


@pytest.mark.parametrize("name", NODES)
def test_a_node_explains_itself(object_info: dict[str, Any], name: str) -> None:
    info = object_info[name]
    assert info["display_name"].startswith("SEGA ")
    assert info["category"] == "sampling/SEGA"
    assert len(info["description"]) > 20
    assert all(info["output_tooltips"])
    inputs = inputs_of(info)
    assert all(options.get("tooltip") for _, options in inputs.values())
    assert {key: inputs[key][1]["default"] for key in NODES[name]} == NODES[name]


def test_the_sampler_has_all_inputs_of_the_hosts_sampler(object_info: dict[str, Any]) -> None:
    theirs, ours = inputs_of(object_info["KSampler"]), inputs_of(object_info["SEGASampler"])
    assert list(ours)[: len(theirs)] == list(theirs)
    assert ours["seed"][1]["control_after_generate"]
    assert "concepts" not in object_info["SEGASampler"]["input"]["required"]
