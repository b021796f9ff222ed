"""ComfyUI in this process, without a server: for what trains, measures and tests."""

from __future__ import annotations

import sys
from types import ModuleType

from .packages import COMFYUI, REPO, load_package

PACK = "semantic_guidance"


def start_host(cpu: bool = True) -> None:
    """Set ComfyUI up as its server would without arguments, with PyTorch's attention.

    Call it before anything of ComfyUI is imported. On a CPU its own attention is several times slower than PyTorch's,
    which diffusers uses too.
    """
    # In front of this repository, whose `nodes` has the name of a module of the host.
    sys.path.insert(0, str(COMFYUI))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = cpu
    args.use_pytorch_cross_attention = True
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def load_pack() -> ModuleType:
    """Return the pack, imported under a name of its own as the host does."""
    return load_package(PACK, REPO)
