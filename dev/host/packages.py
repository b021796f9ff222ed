"""Where the repository and the host lie, and how packages are loaded while their folders stay off sys.path."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

REPO = Path(__file__).resolve().parents[2]
# Another editor than ComfyUI's own, for its servers.
EDITOR = os.environ.get("SEGA_EDITOR")
# ComfyUI's own templates.
TEMPLATES = os.environ.get("SEGA_TEMPLATES")
COMFYUI = Path(os.environ.get("COMFYUI_PATH", REPO / ".host" / "ComfyUI-0.30.0"))


def load_file(name: str, file: Path) -> ModuleType:
    """Import a file as `name`, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def load_package(name: str, folder: Path) -> ModuleType:
    """Import the package in `folder` as `name`, once."""
    return load_file(name, folder / "__init__.py")


def comfyui_files() -> dict[str, tuple[int, int]]:
    """Return each file of the host's source with its size and time; Python's own caches do not count."""
    return {
        str(file.relative_to(COMFYUI)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in COMFYUI.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
