"""Mixed precision where it is faster."""

from __future__ import annotations

import torch


def mixed() -> torch.autocast:
    """Return bfloat16 autocast on a CPU with tiles for it; on others float32 is faster, and this does nothing."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("amx_bf16")))
