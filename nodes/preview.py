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
            description="Shows where each concept acted, as a heat map over the image, and how strongly at each step, "
            "as a plot.",
            search_aliases=["semantic guidance", "heat map", "attention map", "concept mask", "plot", "strength"],
            inputs=[
                SegaGuidance.Input(
                    "guidance", tooltip="The guidance output of a SEGA Sampler, or of SEGA Load Guidance."
                ),
                io.Image.Input(
                    "image",
                    tooltip="The decoded images of the same run, in order: one or more per latent, such as a video's "
                    "frames. Guidance of a single latent works with any number of images.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "heatmaps",
                    display_name="heatmaps",
                    tooltip="One heat map per concept and image, concept by concept. Brighter is where the concept "
                    "acted more; each concept has its own scale.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Each concept's strength over the steps, all on one scale. Steps where it does not act are "
                    "hatched.",
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="Where any concept acted, with soft edges, at the size of the images. With "
                    "ImageCompositeMasked, the rest of your picture stays the same to the pixel.",
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
        # The workflow also runs without concepts, to compare.
        maps = heat_maps(heat, pictures, guidance.concepts, guidance.texts) if guidance.concepts else pictures
        plot = effect_plot(guidance.magnitudes, guidance.concepts, guidance.texts)
        shown = ui.PreviewImage(plot.unsqueeze(0), cls=cls)
        if guidance.concepts:
            # The heat maps have another size, so they need a separate call.
            shown.values = ui.PreviewImage(maps, cls=cls).values + shown.values
        # The editor's tabs, in the order of the pictures: the concepts, then the plot.
        tabs: list[dict[str, Any]] = [
            {"text": text, "direction": concept.direction, "count": len(image)}
            for text, concept in zip(guidance.texts, guidance.concepts, strict=True)
        ]
        tabs.append({"count": 1})
        mask = heat_mask(heat, len(image), (image.shape[1], image.shape[2]))
        return io.NodeOutput(maps, plot.unsqueeze(0), mask, ui={**shown.as_dict(), "sega_tabs": tabs})


def _check(guidance: GuidanceVectors, image: Tensor) -> None:
    """Refuse guidance and images that cannot be shown.

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
