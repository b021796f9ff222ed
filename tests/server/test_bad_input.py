"""Bad values end in a message that names node, input and value, and the server goes on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dev.host.client import ExecutionError, WorkflowRejected

pytestmark = pytest.mark.compat("Refused with a clear error", "values out of range, in the editor and over the API")

# The API takes what the editor's fields would not: the host's ranges refuse some, the nodes the others.
CASES = [
    ("first_edit", "SEGAConcept", {"threshold": 1.3}, ["threshold", "1.3"]),
    ("first_edit", "SEGAConcept", {"threshold": math.nan}, ["threshold", "nan"]),
    ("first_edit", "SEGAConcept", {"guidance_scale": math.inf}, ["guidance_scale", "inf"]),
    ("first_edit", "SEGAConcept", {"start_percent": 0.5, "end_percent": 0.3}, ["end_percent", "0.3"]),
    ("first_edit", "SEGAConcept", {"prompt": ["2", 0]}, ["prompt", "CONDITIONING"]),
    ("first_edit", "SEGAConcept", {"direction": "sideways"}, ["direction", "sideways"]),
    ("first_edit", "SEGASampler", {"momentum_scale": math.nan}, ["momentum_scale", "nan"]),
    ("first_edit", "SEGASampler", {"concepts": ["2", 0]}, ["concepts", "CONDITIONING"]),
    ("model_patch", "SEGAModelPatch", {"mode": "turbo"}, ["mode", "turbo"]),
    ("strength_slider", "SEGAStrengths", {"count": 0}, ["count", "0"]),
]


@pytest.mark.parametrize(("name", "node", "values", "named"), CASES)
def test_a_bad_value_is_named(workflows: Any, client: Any, name: str, node: str, values: Any, named: list[str]) -> None:
    workflow = workflows.changed(workflows.load(name), node, **values)
    with pytest.raises((WorkflowRejected, ExecutionError)) as failure:
        client.run(workflow)
    message = str(failure.value)
    for part in [node, *named]:
        assert part.lower() in message.lower()


def test_an_empty_stack_is_named(workflows: Any, client: Any) -> None:
    workflow = workflows.load("three_concepts")
    workflow[workflows.only(workflow, "SEGAConceptStack")]["inputs"] = {}
    with pytest.raises((WorkflowRejected, ExecutionError), match=r"SEGAConceptStack.*concept"):
        client.run(workflow)


def test_more_concepts_than_a_stack_holds_are_named(workflows: Any, client: Any) -> None:
    workflow = workflows.load("three_concepts")
    inputs = workflow[workflows.only(workflow, "SEGAConceptStack")]["inputs"]
    inputs |= {f"concepts.concept_{i}": inputs["concepts.concept_0"] for i in range(101)}
    with pytest.raises(ExecutionError, match=r"SEGAConceptStack.*concepts.concept_100"):
        client.run(workflow)


def test_the_server_serves_a_good_workflow_after_bad_ones(workflows: Any, pixels: Any, client: Any) -> None:
    good = workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=601)
    bad = workflows.changed(good, "SEGAConcept", threshold=math.nan)
    with pytest.raises(Exception, match="threshold"):
        client.run(bad)
    assert pixels(good).std() > 10
