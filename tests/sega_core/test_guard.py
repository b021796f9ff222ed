"""The guard of strong edits: what the default strength makes is free, the rest has little room."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from sega_core import Comparison, Concept, Guard, concept_guidance, guarded, room_of
from support.core import noise

SHAPES = [(2, 4, 33), (3, 4, 8, 6), (2, 16, 3, 6, 5), (1, 1, 1, 1)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def room(shape: tuple[int, ...], size: float) -> torch.Tensor:
    """Return room that differs for each sample and channel, (B, C, 1, ...)."""
    shares = torch.rand(shape[:2], generator=torch.Generator().manual_seed(2))
    return size * (0.1 + shares).view(*shape[:2], *[1] * (len(shape) - 2))


@every_shape
@pytest.mark.parametrize("free", [0.1, 0.5])
def test_nothing_goes_further_than_the_free_share_and_the_room(shape: tuple[int, ...], free: float) -> None:
    guidance, limit = noise(*shape, seed=1), room(shape, 0.01)
    got = guarded(guidance, Guard(free, limit))
    assert got.shape == shape
    assert ((got - free * guidance).abs() <= limit * 1.001).all()
    assert (got.abs() <= guidance.abs()).all()
    assert (got * guidance >= 0).all()


@every_shape
def test_what_is_within_the_limits_is_left_alone(shape: tuple[int, ...]) -> None:
    guidance = noise(*shape)
    assert torch.equal(guarded(guidance, Guard(1.0, room(shape, 0.0))), guidance)
    torch.testing.assert_close(guarded(guidance, Guard(0.5, room(shape, 100.0))), guidance)


def test_a_stronger_edit_is_never_weaker() -> None:
    direction, limit = noise(2, 4, 8, 8), room((2, 4, 8, 8), 0.1)
    edits = [guarded(strength * direction, Guard(1.5 / strength, limit)) for strength in (1.5, 2.0, 4.0, 16.0, 100.0)]
    for weaker, stronger in pairwise(edits):
        assert (stronger.abs() >= weaker.abs() * 0.9999).all()
    torch.testing.assert_close(edits[0], 1.5 * direction)
    assert (edits[-1] - edits[0]).abs().max() <= limit.max() * 1.001


def test_each_sample_has_its_own_free_share_and_what_is_not_a_number_is_not_hidden() -> None:
    guidance, shares = noise(3, 4, 8, 8), torch.tensor([1.0, 0.5, 0.25])
    got = guarded(guidance, Guard(shares, torch.zeros(3, 4, 1, 1)))
    torch.testing.assert_close(got, guidance * shares.view(3, 1, 1, 1))
    guidance[0, 1, 2, 3] = torch.nan
    assert guarded(guidance, Guard(shares, room((3, 4, 8, 8), 0.1))).isnan().sum() == 1


@every_shape
def test_the_room_is_a_twentieth_of_the_estimates_range(shape: tuple[int, ...]) -> None:
    plain = 3 * noise(*shape)
    values = plain.flatten(2)
    # The guidance counts sigma times in the estimate of x0.
    expected = 0.05 * (values.max(2).values - values.min(2).values) / 5.0
    got = room_of(plain, 5.0)
    assert got.ndim == plain.ndim
    torch.testing.assert_close(got.flatten(1), expected)


def test_an_outlier_makes_room_in_its_own_sample_and_channel_only() -> None:
    plain = noise(2, 4, 8, 8)
    before = room_of(plain, 1.0)
    plain[0, 1, 2, 3] = 1000.0
    assert (room_of(plain, 1.0) != before).nonzero().tolist() == [[0, 1, 0, 0]]


def test_the_room_is_counted_in_single_precision() -> None:
    got = room_of(noise(1, 4, 8, 8).half(), 1e-4)
    assert got.dtype == torch.float32
    assert got.isfinite().all()


def test_it_comes_after_the_threshold() -> None:
    difference, concept = noise(1, 4, 8, 8), Concept(guidance_scale=4.0, threshold=0.5)
    whole = concept_guidance(Comparison(difference), concept)
    limited = concept_guidance(Comparison(difference, guard=Guard(0.25, torch.zeros(1, 4, 1, 1))), concept)
    torch.testing.assert_close(limited, whole / 4)
