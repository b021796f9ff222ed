"""How far tensors are from each other."""

from __future__ import annotations

from torch import Tensor


def relative(difference: Tensor, to: Tensor) -> float:
    """Return the size of a difference in the L2 norm, in parts of another size."""
    return float(difference.norm() / to.norm())


def distance(one: Tensor, other: Tensor) -> float:
    """Return how far one tensor is from another, in parts of the other's size."""
    return relative(one - other, other)


def differ(one: Tensor, other: Tensor) -> bool:
    return bool(one.isfinite().all()) and distance(one, other) > 1e-3
