"""The guidance of one concept at one step (arXiv 2301.12247, section 3, equations 5 to 7), as a pure function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .concept import Concept


def concept_guidance(difference: Tensor, concept: Concept) -> Tensor:
    """Scale and threshold a concept's direction (equations 5 to 7): gamma.

    Args:
        difference: concept estimate minus baseline estimate, (B, C, *spatial), in noise or velocity space.
        concept: its direction, scale and threshold are used.

    Returns:
        The guidance, same shape, fp32, before weight and momentum.
    """
    return keep_largest(difference.float() * concept.factor, concept.threshold)


def keep_largest(psi: Tensor, threshold: float) -> Tensor:
    """Zero the elements whose magnitude is under the quantile of their sample and channel (equations 6 and 7).

    The interpolated quantile lies between two neighbouring order statistics, so exactly the elements from the upper
    one on reach it: one selection replaces the sort. (Between two adjacent floats torch.quantile may round down to the
    lower one, and keep one element more.)

    Args:
        psi: (B, C, *spatial), fp32.
        threshold: the quantile over all spatial axes, in [0, 1).

    Returns:
        Same shape; elements that pass keep their value.
    """
    if threshold == 0:
        return psi
    magnitude = psi.abs().flatten(2)
    count = magnitude.shape[2]
    # torch.quantile computes the rank in fp32 as well.
    rank = math.ceil(float(torch.tensor(threshold, dtype=torch.float32) * (count - 1)))
    limit = magnitude.kthvalue(rank + 1, dim=2, keepdim=True).values
    return torch.where(magnitude >= limit, psi.flatten(2), 0).view_as(psi)
