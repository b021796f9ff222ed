"""ComfyUI-SEGA: semantic guidance (arXiv 2301.12247) as ComfyUI nodes."""

import logging
from pathlib import Path

from comfy_api.latest import ComfyExtension, io
from comfy_config.config_parser import extract_node_configuration

from .nodes import NODES

WEB_DIRECTORY = "./web"


class SegaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)


async def comfy_entrypoint() -> SegaExtension:
    version = extract_node_configuration(str(Path(__file__).parent)).project.version
    logging.info("ComfyUI-SEGA %s: %d nodes", version, len(NODES))
    return SegaExtension()
