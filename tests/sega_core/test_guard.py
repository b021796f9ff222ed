"""The guard of strong edits: it keeps each sample's channels within what the unedited ones have, and a margin."""

from __future__ import annotations

import pytest
import torch

from sega_core import guarded
from support.core import noise

SHAPES = [(2, 4, 33), (3, 4, 8, 6), (2, 16, 3, 6, 5), (1, 1, 1, 1)]
MARGIN = 0.05


def limits(plain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least and the most that each sample and channel may have, (B, C, 1)."""
    values = plain.flatten(2)
    low, high = values.min(2, keepdim=True).values, values.max(2, keepdim=True).values
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_sample_and_channel_stays_in_its_own_range(shape: tuple[int, ...]) -> None:
    sizes = torch.rand((*shape[:2], *[1] * (len(shape) - 2)), generator=torch.Generator().manual_seed(2))
    plain = noise(*shape) * sizes + noise(*shape[:2], seed=3).view_as(sizes)
    edited = plain + 8 * noise(*shape, seed=1)
    got = guarded(edited, plain)
    assert got.shape == shape
    low, high = limits(plain)
    torch.testing.assert_close(got.flatten(2), torch.clamp(edited.flatten(2), low, high))
    assert not torch.equal(got, edited)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_inside_the_range_and_its_margin_is_left_alone(shape: tuple[int, ...]) -> None:
    plain = noise(*shape)
    low, high = (limit.view(*shape[:2], *[1] * (len(shape) - 2)) for limit in limits(plain))
    share = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    # Not to the very ends: there rounding counts.
    edited = low + (0.001 + 0.998 * share) * (high - low)
    assert torch.equal(guarded(edited, plain), edited)
    assert torch.equal(guarded(plain, plain), plain)


def test_an_edit_reaches_a_twentieth_of_the_range_beyond_it() -> None:
    plain = torch.tensor([-1.0, 0.0, 3.0]).view(1, 1, 3)
    edited = torch.tensor([-9.0, 3.1, 9.0]).view(1, 1, 3)
    torch.testing.assert_close(guarded(edited, plain), torch.tensor([-1.2, 3.1, 3.2]).view(1, 1, 3))


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_outliers_loosen_no_other_samples_or_channels_limits(shape: tuple[int, ...]) -> None:
    plain, edited = noise(*shape), 20 * noise(*shape, seed=1)
    before = guarded(edited, plain)
    plain = plain.clone()
    plain[0, 1].flatten()[0] = 1000.0
    after = guarded(edited, plain)
    changed = (after != before).flatten(2).any(2)
    assert changed[0, 1]
    assert changed.sum() == 1


def test_a_sample_is_guarded_alike_alone_and_in_a_batch() -> None:
    plain, edited = noise(3, 4, 8, 8), 20 * noise(3, 4, 8, 8, seed=1)
    assert torch.equal(guarded(edited, plain)[1:2], guarded(edited[1:2], plain[1:2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_of_number_is_kept(dtype: torch.dtype) -> None:
    plain, edited = noise(2, 4, 8, 8).to(dtype), (20 * noise(2, 4, 8, 8, seed=1)).to(dtype)
    got = guarded(edited, plain)
    assert got.dtype == dtype
    assert got.isfinite().all()
    torch.testing.assert_close(got.float(), guarded(edited.float(), plain.float()), rtol=0.02, atol=0.02)


def test_the_estimates_are_left_alone() -> None:
    plain, edited = noise(1, 4, 8, 8), 20 * noise(1, 4, 8, 8, seed=1)
    before = plain.clone(), edited.clone()
    guarded(edited, plain)
    assert torch.equal(plain, before[0])
    assert torch.equal(edited, before[1])


def test_a_number_that_is_none_is_not_hidden() -> None:
    edited = noise(1, 2, 4, 4)
    edited[0, 1, 2, 3] = torch.nan
    got = guarded(edited, noise(1, 2, 4, 4, seed=1))
    assert got.isnan().sum() == 1
