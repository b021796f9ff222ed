"""Concepts in a stack, and two patches of the pack in one graph, are all edits of the same sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.host import SETTINGS, STEPS, Host


@pytest.mark.parametrize("settings", [{"mode": "independent"}, {"mode": "reference"}], ids=str)
def test_two_patches_in_a_row_are_both_edits(host: Host, settings: dict[str, Any]) -> None:
    one, two = host.concept(10, threshold=0.0), host.concept(11, 1, threshold=0.0, direction="remove")
    chained = host.sample(host.patched(two, model=host.patched(one, **settings), **settings))
    joint = host.sega(one, two, **settings)
    assert (chained - joint).norm() < 1e-4 * joint.norm()
    assert not torch.allclose(joint, host.sega(one, **settings))


def test_patches_with_settings_of_their_own_keep_them(host: Host) -> None:
    early, late = host.concept(10, end_percent=2 / STEPS), host.concept(11, 1, start_percent=3 / STEPS)
    chained = host.sample(host.patched(late, model=host.patched(early, momentum_scale=0.0), momentum_scale=0.0))
    joint = host.sega(early, late, momentum_scale=0.0, mode="independent")
    assert (chained - joint).norm() < 1e-4 * joint.norm()


def test_a_stack_can_be_extended(host: Host) -> None:
    concepts = [host.concept(10), host.concept(11), host.concept(12)]
    node = host.pack.nodes.SEGAConceptStack
    extended = node.execute({"concept_0": concepts[2]}, stack=host.stack(*concepts[:2]))[0]
    assert extended == host.stack(*concepts)


def test_a_concept_alone_is_a_stack_of_one(host: Host) -> None:
    alone = host.pack.nodes.SEGAModelPatch.execute(host.eps, host.concept(), **SETTINGS)[0]
    assert torch.equal(host.sample(alone), host.sega(host.concept()))
