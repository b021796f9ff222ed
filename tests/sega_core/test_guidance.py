"""A concept's guidance: its direction, its scale, and exactly the elements that the interpolated quantile keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sega_core import Comparison, Concept, concept_guidance, keep_largest
from sega_core.concept import THRESHOLDS_OVER
from support.core import noise

SHAPES = [(3, 4, 7, 5), (2, 16, 3, 6, 6), (2, 1, 333), (1, 2, 1, 1), (2, 3, 2, 1)]
THRESHOLDS = [0.0, 0.001, 1 / 3, 0.5, 0.8, 0.9, 0.99]


def quantile_mask(psi: torch.Tensor, threshold: float) -> torch.Tensor:
    magnitude = psi.abs().flatten(2)
    return (magnitude >= torch.quantile(magnitude, threshold, dim=2, keepdim=True)).view_as(psi)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_elements_of_the_quantile_pass_unchanged(shape: tuple[int, ...], threshold: float) -> None:
    for seed in range(5):
        psi = noise(*shape, seed=seed)
        assert torch.equal(keep_largest(psi, threshold), torch.where(quantile_mask(psi, threshold), psi, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_thresholded_in_fp32(dtype: torch.dtype) -> None:
    difference = noise(2, 4, 9, 9).to(dtype)
    psi = difference.float() * 5
    guidance = concept_guidance(Comparison(difference), Concept(threshold=0.8))
    assert guidance.dtype == torch.float32
    assert torch.equal(guidance, torch.where(quantile_mask(psi, 0.8), psi, 0))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_tied_elements_pass_together(threshold: float) -> None:
    psi, equal = noise(2, 3, 10, 10).mul(2).round(), torch.full((1, 2, 5, 5), -0.7)
    assert torch.equal(keep_largest(psi, threshold), torch.where(quantile_mask(psi, threshold), psi, 0))
    assert torch.equal(keep_largest(equal, threshold), equal)


def test_each_channel_has_its_own_threshold() -> None:
    psi = noise(1, 2, 10, 10) * torch.tensor([1.0, 1000.0]).view(1, 2, 1, 1)
    assert (keep_largest(psi, 0.9) != 0).sum((0, 2, 3)).tolist() == [10, 10]


def test_remove_is_the_negative_of_add() -> None:
    difference = noise(2, 4, 8, 8)
    added = concept_guidance(Comparison(difference), Concept(direction="add"))
    assert torch.equal(added, -concept_guidance(Comparison(difference), Concept(direction="remove")))
    assert added.any()


@pytest.mark.parametrize("direction", ["add", "remove"])
def test_the_comparisons_scale_multiplies_the_concepts(direction: str) -> None:
    difference, concept = noise(2, 4, 8, 8), Concept(direction, guidance_scale=2.0)
    scaled = concept_guidance(Comparison(difference, 7.5), concept)
    assert torch.equal(scaled, concept_guidance(Comparison(difference), Concept(direction, guidance_scale=15.0)))
    assert not concept_guidance(Comparison(difference, 0.0), concept).any()


@pytest.mark.parametrize("over", THRESHOLDS_OVER)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 1], ids=str)
def test_each_sample_may_have_a_scale_of_its_own(shape: tuple[int, ...], over: str) -> None:
    difference, concept = noise(*shape), Concept(threshold=0.6, threshold_over=over)
    scales = torch.tensor([0.0, 1.5, 8.0])[: shape[0]]
    together = concept_guidance(Comparison(difference, scales), concept)
    assert together.shape == shape
    for sample, scale, got in zip(difference, scales.tolist(), together, strict=True):
        assert torch.equal(got, concept_guidance(Comparison(sample[None], scale), concept)[0])


def test_a_samples_scale_leaves_its_mask_and_its_attention_alone() -> None:
    difference, concept = noise(2, 4, 8, 8), Concept(threshold=0.5, attention_threshold=0.5)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    attention = torch.rand((2, 4, 4), generator=torch.Generator().manual_seed(4))
    plain, doubled = (
        concept_guidance(Comparison(difference, torch.tensor(scales), mask, attention), concept)
        for scales in ([1.0, 1.0], [2.0, 4.0])
    )
    assert plain[0].any()
    assert plain[1].any()
    assert torch.equal(doubled, plain * torch.tensor([2.0, 4.0]).view(2, 1, 1, 1))


class Elsewhere(Tensor):
    """A tensor of a device on which one function of torch is missing, as on Apple's with an older PyTorch."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.device.__get__:
            return torch.device("mps")
        if func is Tensor.kthvalue:
            raise NotImplementedError("The operator 'aten::kthvalue.values' is not currently implemented")
        return super().__torch_function__(func, types, args, kwargs)


@pytest.mark.parametrize("over", THRESHOLDS_OVER)
@pytest.mark.parametrize("threshold", [0.1, 0.9])
def test_a_device_without_a_selection_keeps_the_same_elements(threshold: float, over: str) -> None:
    psi = noise(2, 4, 9, 7)
    kept = keep_largest(psi.as_subclass(Elsewhere), threshold, over)
    assert torch.equal(kept.as_subclass(Tensor), keep_largest(psi, threshold, over))
