"""The guidance of one concept at one step (arXiv 2301.12247, section 3, equations 5 to 7), as pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .comparison import Comparison
from .concept import Concept, ThresholdOver
from .guard import guarded, per_sample

# At the first step, on the demo model, 10% of the pictures with an edit on a face reach it (medians 0.11 to 0.35), and
# 94% of those with another scene, background or style (0.42 to 0.59).
COVERING_SHARE = 0.375


def concept_guidance(comparison: Comparison, concept: Concept) -> Tensor:
    """Scale, mask and threshold a concept's direction (equations 5 to 7): gamma.

    Args:
        comparison: of the concept's text, (B, C, *spatial). Its mask is applied first, so the threshold only sees
            what is inside. Its attention needs two spatial axes and an `attention_threshold` above 0.
        concept: gives direction, scale and thresholds.

    Returns:
        The guidance, (B, C, *spatial), fp32, before weight and momentum.
    """
    difference = comparison.difference.float()
    psi = difference * (concept.factor * per_sample(comparison.scale, difference))
    if comparison.mask is not None:
        psi = psi * comparison.mask
    gamma = keep_largest(psi, concept.threshold, concept.threshold_over)
    if comparison.attention is not None:
        gamma = gamma * attention_mask(comparison.attention, concept.attention_threshold, gamma.shape[2:])
    return gamma if comparison.guard is None else guarded(gamma, comparison.guard)


def is_covering(difference: Tensor, concept: Concept) -> Tensor:
    """Say whether a concept covers most of the picture, as a scene does, or is local, as glasses are; our own.

    Args:
        difference: of the concept's text at the first step, (B, C, *spatial).
        concept: gives the threshold; without one, every concept is covering.

    Returns:
        (B,), bool.
    """
    kept = keep_largest(difference.float(), concept.threshold, concept.threshold_over)
    return kept.ne(0).any(1).flatten(1).float().mean(1) >= COVERING_SHARE


def keep_largest(psi: Tensor, threshold: float, over: ThresholdOver = "channel") -> Tensor:
    """Zero the elements whose magnitude is below a quantile of their sample (equations 6 and 7).

    The interpolated quantile lies between two neighbouring order statistics, and exactly the elements from the upper
    one on reach it, so one selection replaces the sort. (If the quantile is very close to the lower one, torch.quantile
    may round down to it and keep one more element.)

    Args:
        psi: (B, C, *spatial), fp32.
        threshold: the quantile over all spatial axes, in [0, 1).
        over: "channel" takes a quantile per channel; "space" takes one of the magnitude summed over the channels
            (LEDITS++, arXiv 2311.16711, section 3.3); "energy", our own, drops the weakest places that make up this
            share of the energy: the sum is smoothed over its neighbours in the last two axes, and each place counts
            by its square. Guidance that is strong in few places keeps few; even guidance keeps most.

    Returns:
        Same shape; elements that pass keep their value.
    """
    if threshold == 0:
        return psi
    magnitude = psi.abs()
    if over != "channel":
        magnitude = magnitude.sum(1, keepdim=True)
    if over == "energy":
        magnitude = _smoothed(magnitude)
    places = magnitude.flatten(2)
    least = (_energy_quantile_of if over == "energy" else _quantile_of)(places, threshold)
    # In place, with 1 and 0 as floats: several times faster on a CPU than booleans, and no extra memory.
    kept = places.ge_(least).view_as(magnitude)
    return kept.mul_(psi) if kept.shape == psi.shape else kept * psi


def attention_mask(attention: Tensor, threshold: float, spatial: Sequence[int]) -> Tensor:
    """Return where the picture attends to the concept's words (LEDITS++, arXiv 2311.16711, section 3.3: M^1).

    Args:
        attention: cross-attention summed over the words, averaged over heads and layers, (B, h, w).
        threshold: the quantile over the picture, in [0, 1), from which the mask is 1.
        spatial: height and width of the mask.

    Returns:
        (B, 1, height, width), of 0 and 1.
    """
    smooth = _smoothed(attention.float().unsqueeze(1))
    places = smooth.flatten(2)
    mask = (places >= _quantile_of(places, threshold)).view_as(smooth)
    return F.interpolate(mask.float(), size=tuple(spatial))


def _smoothed(values: Tensor) -> Tensor:
    """Return the weighted mean of each place and its neighbours in the last one or two axes, (B, C, *spatial)."""
    planes = (values if values.ndim > 3 else values.unsqueeze(1)).flatten(1, -3)
    # The weights of LEDITS++'s implementation, computed on the device: a copy from the CPU would have to wait for it.
    weights = torch.exp(-torch.arange(-1.0, 2.0, device=values.device).abs())
    weights = weights / weights.sum()
    edge = "reflect" if min(planes.shape[2:]) > 1 else "replicate"
    padded = F.pad(planes, (1, 1, 1, 1), mode=edge)
    channels = planes.shape[1]
    kernel = (weights[:, None] * weights).expand(channels, 1, 3, 3)
    return F.conv2d(padded, kernel, groups=channels).view_as(values)


def _energy_quantile_of(values: Tensor, threshold: float) -> Tensor:
    """Return the value along the last axis above which the rest of the energy lies, (..., 1); fp32, 0 or more."""
    ordered = values.sort(dim=-1).values
    # Relative to the largest value, so that squares neither overflow nor vanish.
    energy = (ordered / ordered[..., -1:].clamp(min=torch.finfo(ordered.dtype).tiny)).square_().cumsum(-1)
    dropped = (energy < threshold * energy[..., -1:]).sum(-1, keepdim=True)
    return ordered.gather(-1, dropped.clamp_(max=values.shape[-1] - 1))


def _quantile_of(values: Tensor, threshold: float) -> Tensor:
    """Return the smallest value along the last axis that reaches its quantile, (..., 1); fp32, 0 or more."""
    # torch.quantile computes the rank in fp32 as well.
    rank = math.ceil(float(torch.tensor(threshold, dtype=torch.float32) * (values.shape[-1] - 1)))
    if values.device.type != "cpu":
        try:
            return values.kthvalue(rank + 1, dim=-1, keepdim=True).values
        except NotImplementedError:
            # Apple's devices support it since PyTorch 2.9.
            return values.sort(dim=-1).values[..., rank : rank + 1]
    # Read as integers, these bits keep their order, and NumPy selects integers ten times faster than torch. Row by row,
    # its copy stays small.
    rows = values.detach().reshape(-1, values.shape[-1]).view(torch.int32).numpy()
    bits = np.array([np.partition(row, rank)[rank] for row in rows])
    return torch.from_numpy(bits).view(torch.float32).view(*values.shape[:-1], 1)
