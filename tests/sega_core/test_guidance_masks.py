"""Where a concept may act: the user's mask, the quantile over places, and the mask of its attention."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sega_core import Concept, GuidanceRun, Settings, concept_guidance, keep_largest
from sega_core.concept import THRESHOLDS_OVER
from sega_core.guidance import attention_mask
from support.core import compared, noise

THRESHOLDS = [0.001, 0.25, 1 / 3, 0.8, 0.9, 0.99]
SHAPES = [(3, 4, 7, 5), (2, 16, 3, 6, 6), (2, 2, 333), (1, 2, 1, 1)]


def soft_mask(shape: tuple[int, ...], seed: int = 9) -> Tensor:
    """Return a mask, (B, 1, *spatial), a third of it black and a third of it white."""
    values = 3 * torch.rand((shape[0], 1, *shape[2:]), generator=torch.Generator().manual_seed(seed)) - 1
    return values.clamp(0, 1)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_places_of_the_quantile_pass_unchanged_in_all_channels(shape: tuple[int, ...], threshold: float) -> None:
    for seed in range(5):
        psi = noise(*shape, seed=seed)
        places = psi.abs().sum(1).flatten(1)
        passes = places >= torch.quantile(places, threshold, dim=1, keepdim=True)
        expected = torch.where(passes.view(shape[0], 1, *shape[2:]), psi, 0)
        assert torch.equal(keep_largest(psi, threshold, "space"), expected)


def test_the_channel_is_the_default_and_the_same_over_space_with_one_channel() -> None:
    psi, single = noise(2, 4, 9, 9), noise(2, 1, 9, 9)
    assert torch.equal(keep_largest(psi, 0.8), keep_largest(psi, 0.8, "channel"))
    assert torch.equal(keep_largest(single, 0.8, "space"), keep_largest(single, 0.8, "channel"))
    by_place = concept_guidance(compared(psi), Concept(threshold_over="space"))
    assert not torch.equal(concept_guidance(compared(psi), Concept()), by_place)


@pytest.mark.parametrize("over", THRESHOLDS_OVER)
def test_what_passes_in_a_sample_does_not_depend_on_the_rest_of_its_batch(over: str) -> None:
    psi = noise(3, 4, 8, 8)
    other = torch.cat([psi[:1], 100 * noise(2, 4, 8, 8, seed=1)])
    assert torch.equal(keep_largest(psi, 0.6, over)[0], keep_largest(other, 0.6, over)[0])


def patch(side: int) -> Tensor:
    """Return a strong square of so many places a side, (1, 4, 32, 32)."""
    psi = torch.zeros(1, 4, 32, 32)
    psi[..., 8 : 8 + side, 8 : 8 + side] = 1
    return psi


def test_one_threshold_keeps_a_small_thing_small_and_a_large_one_large() -> None:
    weak = 0.03 * noise(1, 4, 32, 32)
    for side in (4, 8, 16):
        kept = keep_largest(patch(side) + weak, 0.2, "energy")[0, 0] != 0
        assert kept[8 : 8 + side, 8 : 8 + side].float().mean() > 0.7
        assert kept.sum() < 1.5 * side**2
    even = keep_largest(1 + weak, 0.2, "energy") != 0
    assert even.float().mean() > 0.75


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_passes_is_unchanged_in_all_channels(shape: tuple[int, ...], threshold: float) -> None:
    psi = noise(*shape)
    kept = keep_largest(psi, threshold, "energy")
    passes = (kept != 0).any(1, keepdim=True)
    assert torch.equal(kept, torch.where(passes, psi, 0))
    # Of independent numbers, smoothed, the energy is about that of the numbers.
    share = kept.square().flatten(1).sum(1) / psi.square().flatten(1).sum(1)
    assert (share >= 0.7 * (1 - threshold)).all()


def test_a_higher_threshold_keeps_fewer_of_the_same_places() -> None:
    psi = noise(2, 4, 16, 16)
    kept = [keep_largest(psi, threshold, "energy") != 0 for threshold in THRESHOLDS]
    assert all((more | fewer).equal(more) and fewer.sum() < more.sum() for more, fewer in pairwise(kept[1:]))


def test_the_share_does_not_depend_on_the_size_and_nothing_stays_nothing() -> None:
    psi = noise(2, 4, 16, 16)
    for scale in (1e-30, 1e30):
        assert torch.equal(keep_largest(psi * scale, 0.4, "energy") != 0, keep_largest(psi, 0.4, "energy") != 0)
    assert not keep_largest(0 * psi, 0.4, "energy").any()


def test_single_places_fall_before_connected_ones() -> None:
    """Smoothing tells a thing from noise of the same magnitude."""
    psi = patch(6)
    psi[..., 24::4, ::4] = 1
    kept = keep_largest(psi, 0.5, "energy")[0, 0] != 0
    assert kept[9:13, 9:13].all()
    assert not kept[24:].any()


@pytest.mark.parametrize("over", THRESHOLDS_OVER)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_white_mask_is_none_and_a_black_one_leaves_nothing(shape: tuple[int, ...], over: str) -> None:
    difference, concept = noise(*shape), Concept(threshold=0.5, threshold_over=over)
    white = torch.ones(shape[0], 1, *shape[2:])
    assert torch.equal(
        concept_guidance(compared(difference, white), concept), concept_guidance(compared(difference), concept)
    )
    assert not concept_guidance(compared(difference, 0 * white), concept).any()


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_without_a_threshold_a_mask_scales_the_guidance(shape: tuple[int, ...]) -> None:
    difference, concept, mask = noise(*shape), Concept(threshold=0.0), soft_mask(shape)
    masked = concept_guidance(compared(difference, mask), concept)
    assert torch.equal(masked, concept_guidance(compared(difference), concept) * mask)
    assert torch.equal(masked != 0, (mask > 0).expand(shape))


@pytest.mark.parametrize("over", ["channel", "space"])
def test_the_threshold_looks_at_what_the_mask_leaves(over: str) -> None:
    """A mask of a quarter of the picture holds the strongest tenth of the whole picture, as LEDITS++ has it."""
    difference, concept = noise(2, 4, 20, 20), Concept(threshold=0.9, threshold_over=over)
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., :10, :10] = 1
    guidance = concept_guidance(compared(difference, mask), concept)
    assert torch.equal(guidance, keep_largest(5.0 * difference * mask, 0.9, over))
    assert not guidance[..., 10:, :].any()
    assert not guidance[..., 10:].any()
    assert (guidance != 0).sum((2, 3)).float().mean() == pytest.approx(40, abs=1)


def test_one_mask_serves_all_images_and_several_serve_one_each() -> None:
    difference, concept = noise(3, 4, 8, 8), Concept(threshold=0.5)
    masks = soft_mask((3, 4, 8, 8))
    together = concept_guidance(compared(difference, masks), concept)
    shared = concept_guidance(compared(difference, masks[:1]), concept)
    for i in range(3):
        alone = difference[i : i + 1]
        assert torch.equal(together[i : i + 1], concept_guidance(compared(alone, masks[i : i + 1]), concept))
        assert torch.equal(shared[i : i + 1], concept_guidance(compared(alone, masks[:1]), concept))


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_the_momentum_stays_inside_the_masks(mode: str) -> None:
    concepts = [Concept(threshold=0.5, warmup_steps=1), Concept("remove", threshold=0.0, warmup_steps=2)]
    run = GuidanceRun(concepts, Settings(momentum_scale=0.7, mode=mode), 6)
    masks = {0: torch.zeros(1, 1, 8, 8), 1: torch.zeros(1, 1, 8, 8)}
    masks[0][..., :3] = 1
    masks[1][..., 6:] = 1
    for step in range(6):
        guidance = run.guidance(
            step, {c: compared(noise(2, 4, 8, 8, seed=10 * step + c), masks[c]) for c in run.needed(step)}
        )
        if step >= 2:
            assert guidance[..., :3].any()
            assert guidance[..., 6:].any()
            assert not guidance[..., 3:6].any()


def test_each_concept_acts_in_its_own_mask() -> None:
    concepts = [Concept(threshold=0.5, warmup_steps=0), Concept("remove", threshold=0.5, warmup_steps=0)]
    masks = {0: soft_mask((2, 4, 8, 8), 1), 1: soft_mask((2, 4, 8, 8), 2)}
    differences = {c: noise(2, 4, 8, 8, seed=c) for c in range(2)}
    masked = [compared(differences[c], masks[c]) for c in range(2)]
    one = [masked[0], compared(differences[1])]
    for made_of in (masked, one):
        run = GuidanceRun(concepts, Settings(momentum_scale=0, mode="independent"), 1)
        expected = sum(concept_guidance(made_of[c], concepts[c]) for c in range(2))
        assert torch.equal(run.guidance(0, dict(enumerate(made_of))), expected)


def smoothed(attention: Tensor) -> Tensor:
    """Return the mean of each place's neighbours, weighted as LEDITS++ does, of one map (h, w); edges mirror."""
    height, width = attention.shape
    side = math.exp(-1)
    weights = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]

    def mirrored(i: int, size: int) -> int:
        return 0 if size == 1 else -i if i < 0 else 2 * (size - 1) - i if i >= size else i

    out = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    value = float(attention[mirrored(y + dy, height), mirrored(x + dx, width)])
                    out[y, x] += weights[dy + 1] * weights[dx + 1] * value
    return out


@pytest.mark.parametrize("threshold", [0.1, 0.8])
@pytest.mark.parametrize("size", [(16, 16), (5, 9), (2, 3)], ids=str)
def test_the_most_looked_at_places_are_kept(size: tuple[int, int], threshold: float) -> None:
    attention = torch.rand((3, *size), generator=torch.Generator().manual_seed(4))
    mask = attention_mask(attention, threshold, size)
    assert mask.shape == (3, 1, *size)
    for image, got in zip(attention, mask[:, 0], strict=True):
        smooth = smoothed(image)
        limit = torch.quantile(smooth.flatten(), threshold)
        assert torch.equal(got, (smooth >= limit).float())
        assert got.sum() == smooth.numel() - math.ceil(threshold * (smooth.numel() - 1))


@pytest.mark.parametrize("spatial", [(8, 8), (33, 17), (2, 2)], ids=str)
def test_each_place_of_the_mask_covers_its_part_of_the_picture(spatial: tuple[int, int]) -> None:
    attention = torch.zeros(1, 4, 4)
    attention[..., :2] = 1
    mask = attention_mask(attention, 0.5, spatial)[0, 0]
    assert mask.shape == spatial
    columns = (torch.arange(spatial[1]) * 4 / spatial[1]).floor() < 2
    assert torch.equal(mask, columns.float().expand(spatial))


def test_attention_that_is_the_same_everywhere_leaves_out_nothing() -> None:
    assert attention_mask(torch.full((2, 1, 1), 0.3), 0.9, (5, 5)).all()
    assert attention_mask(torch.zeros(2, 6, 6), 0.9, (12, 12)).all()


def test_neither_size_nor_precision_nor_the_rest_of_the_batch_counts_in_attention() -> None:
    attention = torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(4)).half().float()
    mask = attention_mask(attention, 0.7, (16, 16))
    assert torch.equal(mask[:1], attention_mask(attention[:1], 0.7, (16, 16)))
    assert torch.equal(mask, attention_mask(attention * 2.0**-20, 0.7, (16, 16)))
    half = attention_mask(attention.half(), 0.7, (16, 16))
    assert half.dtype == torch.float32
    assert torch.equal(mask, half)


@pytest.mark.parametrize("over", THRESHOLDS_OVER)
@pytest.mark.parametrize("mask", [None, soft_mask((2, 4, 12, 12))], ids=["no mask", "mask"])
def test_the_guidance_is_that_without_the_attention_inside_its_mask(over: str, mask: Tensor | None) -> None:
    """The threshold of the estimates does not see the attention: both masks are made for themselves."""
    difference = noise(2, 4, 12, 12)
    attention = torch.rand((2, 6, 6), generator=torch.Generator().manual_seed(4))
    settings = {"threshold": 0.6, "threshold_over": over}
    without = concept_guidance(compared(difference, mask), Concept(**settings))
    both = concept_guidance(compared(difference, mask, attention), Concept(**settings, attention_threshold=0.7))
    assert torch.equal(both, without * attention_mask(attention, 0.7, (12, 12)))
    assert 0 < both.count_nonzero() < without.count_nonzero()
