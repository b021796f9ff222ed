"""SEGAPreview: where each concept acted, and how strongly at each step."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..sega_core import GuidanceVectors
from .drawing.heatmaps import heat_maps, heat_mask, heat_of
from .drawing.plot import effect_plot
from .types import NOT_RECORDED, SegaGuidance


class SEGAPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAPreview",
            display_name="SEGA Preview",
            category="sampling/SEGA",
            description="Shows what each concept did: a heat map over the image of where it acted, and a plot of how "
            "strongly it acted at each step.",
            search_aliases=["semantic guidance", "heat map", "attention map", "concept mask", "plot", "strength"],
            inputs=[
                SegaGuidance.Input(
                    "guidance", tooltip="What the concepts of a run did: a SEGA Sampler's guidance, or a saved one."
                ),
                io.Image.Input(
                    "image",
                    tooltip="The decoded images of that run, in their order: one or more for each latent, as a "
                    "video's frames. A single latent's guidance serves any number of images.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "heatmaps",
                    display_name="heatmaps",
                    tooltip="A picture for each concept and image, concept by concept: brighter where the concept "
                    "acted more, each concept on its own scale.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Each concept's strength over the steps, on one scale; steps in which it does not act are "
                    "hatched.",
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="Where any of the concepts acted, with soft edges, in the size of the images: with "
                    "ImageCompositeMasked the rest stays the picture you had, to the pixel.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, guidance: GuidanceVectors | None, image: Tensor) -> io.NodeOutput:
        if guidance is None:
            raise ValueError(f"SEGAPreview: {NOT_RECORDED}")
        _check(guidance, image)
        heat, pictures = heat_of(guidance.activity[0], len(image)), image[..., :3].float().cpu()
        # Without a concept the workflow runs as well: to compare.
        maps = heat_maps(heat, pictures, guidance.concepts, guidance.texts) if guidance.concepts else pictures
        plot = effect_plot(guidance.magnitudes, guidance.concepts, guidance.texts)
        shown = ui.PreviewImage(plot.unsqueeze(0), cls=cls)
        if guidance.concepts:
            # Pictures of another size need a call of their own.
            shown.values = ui.PreviewImage(maps, cls=cls).values + shown.values
        # The editor's tabs, in the order of the pictures: the concepts, and the plot.
        tabs: list[dict[str, Any]] = [
            {"text": text, "direction": concept.direction, "count": len(image)}
            for text, concept in zip(guidance.texts, guidance.concepts, strict=True)
        ]
        tabs.append({"count": 1})
        mask = heat_mask(heat, len(image), (image.shape[1], image.shape[2]))
        return io.NodeOutput(maps, plot.unsqueeze(0), mask, ui={**shown.as_dict(), "sega_tabs": tabs})


def _check(guidance: GuidanceVectors, image: Tensor) -> None:
    """Refuse what cannot be shown.

    Raises:
        ValueError: names the input and the value.
    """
    activity = guidance.activity[0]
    if activity.ndim not in (4, 5):
        raise ValueError(
            "SEGAPreview: guidance must be of images or videos, with two or three spatial axes, got "
            f"{activity.ndim - 2}; sound has no picture"
        )
    if not activity.isfinite().all() or not guidance.magnitudes.isfinite().all():
        raise ValueError("SEGAPreview: guidance must be finite, got NaN or infinity")
    latents, images = activity.shape[1], image.shape[0]
    if images == 0 or images % latents:
        raise ValueError(
            f"SEGAPreview: image must hold a multiple of guidance's {latents} latents, got {images} images; connect "
            "the decoded images of the same run"
        )
