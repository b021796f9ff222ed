"""Semantic Guidance (SEGA) (arXiv 2301.12247) as ComfyUI nodes."""

from comfy_api.latest import ComfyExtension, io

from .nodes import NODES
from .nodes.texts_route import add_texts_route

WEB_DIRECTORY = "./web"


class SegaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)


async def comfy_entrypoint() -> SegaExtension:
    add_texts_route()
    return SegaExtension()
