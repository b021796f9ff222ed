"""The demo model as a small node pack of its own, and what made it; imports nothing of the host by itself."""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    from .nodes import DemoExtension

    return DemoExtension()
