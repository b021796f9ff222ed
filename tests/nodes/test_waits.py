"""A GPU never waits for what our code could have made beforehand: constants are made once per run."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from support.host import Host

REPO = Path(__file__).resolve().parents[2]
OURS = (str(REPO / "nodes"), str(REPO / "sega_core"))


class CopiesOfOurs(TorchFunctionMode):
    """Counts where our code makes tensors of Python's numbers, or indexes tensors with lists of them."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        caller = sys._getframe(1)
        if caller.f_code.co_filename.startswith(OURS):
            index = args[1] if func is Tensor.__getitem__ else ()
            listed = any(isinstance(part, list) for part in (index if isinstance(index, tuple) else (index,)))
            on_device = func in (torch.tensor, torch.as_tensor) and "device" in (kwargs or {})
            if listed or on_device:
                self.places[f"{caller.f_code.co_filename}:{caller.f_lineno}"] += 1
        return func(*args, **(kwargs or {}))


def test_a_run_copies_its_constants_once_however_many_steps_it_has(host: Host) -> None:
    """The places of each concept's words, and its strengths."""
    settings = {"attention_threshold": 0.5, "guidance_scale": 0.0, "strengths": [0.5, 2.0]}
    concepts = [replace(host.concept(10 + c, **settings), token_positions=(1, 2 + c)) for c in range(2)]
    made = []
    for steps in (1, 4):
        with CopiesOfOurs() as copies:
            host.sega(*concepts, steps=steps, mode="independent", latent=host.latent(2))
        made.append(copies.places.total())
    assert made == [4, 4]
