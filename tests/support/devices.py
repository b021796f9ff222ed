"""Tensors without values stand for those on a GPU: what asked for one of their values would fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

ELSEWHERE = torch.device("meta")


class NoCopies(TorchFunctionMode):
    """Refuse copies from the CPU to where the tensors without values are: each makes a GPU wait."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        places = args[1] if func is Tensor.__getitem__ else ()
        listed = any(isinstance(place, list) for place in (places if isinstance(places, tuple) else (places,)))
        moved = func in (torch.tensor, torch.as_tensor, Tensor.to) and out.device == ELSEWHERE
        came = moved and not (func is Tensor.to and args[0].device == ELSEWHERE)
        if came or (listed and args[0].device == ELSEWHERE):
            raise AssertionError(f"{func} copies from the CPU")
        return out
