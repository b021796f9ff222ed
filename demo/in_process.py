"""ComfyUI in this process, without a server: for the programs that train or measure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PACK = "comfyui_sega"


def start_host(cpu: bool = True) -> None:
    """Set ComfyUI up as its server would without arguments, with PyTorch's attention.

    To be called before anything of ComfyUI is imported. On a CPU its own attention is several times slower than
    PyTorch's, which diffusers uses too.
    """
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = cpu
    args.use_pytorch_cross_attention = True
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def load_pack() -> ModuleType:
    """Return the pack, imported under a name of its own as the host does."""
    if PACK not in sys.modules:
        where = [str(ROOT)]
        spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=where)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = module
        spec.loader.exec_module(module)
    return sys.modules[PACK]
