"""SEGAStrengths: a strength factor for each image of a batch."""

from __future__ import annotations

import random

from comfy_api.latest import io

from .sampler_inputs import HIGHEST_SEED

MAX_COUNT = 4096


class SEGAStrengths(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAStrengths",
            display_name="SEGA Strengths",
            category="sampling/SEGA",
            description="Gives each image of a batch its own strength: a row from weak to strong, or the concept in "
            "only some of the images. Connect it to strengths on a SEGA Concept.",
            search_aliases=["semantic guidance", "concept slider", "strength slider", "batch", "variation", "floats"],
            inputs=[
                io.Float.Input(
                    "first",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="The first image's factor on the concept's strength, 0 to 100. 0 leaves the image alone.",
                ),
                io.Float.Input(
                    "last",
                    default=2.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="The last image's factor, 0 to 100. The images in between are evenly spaced.",
                ),
                io.Int.Input(
                    "count",
                    default=5,
                    min=1,
                    max=MAX_COUNT,
                    tooltip="Number of images, 1 to 4096; use the batch size. In a larger batch the row starts again.",
                ),
                io.Float.Input(
                    "share",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share of the images that get the concept, 0 to 1, picked at random; the others get 0. 1 "
                    "is all of them (off).",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=HIGHEST_SEED,
                    optional=True,
                    control_after_generate=True,
                    tooltip="Decides which images get the concept when share is below 1.",
                ),
            ],
            outputs=[
                io.Custom("FLOATS").Output(
                    "strengths", display_name="strengths", tooltip="Connect to strengths on a SEGA Concept."
                )
            ],
        )

    @classmethod
    def execute(cls, first: float, last: float, count: int, share: float = 1.0, seed: int = 0) -> io.NodeOutput:
        if not 1 <= count <= MAX_COUNT:
            raise ValueError(f"SEGAStrengths: count must be in [1, {MAX_COUNT}], got {count!r}")
        for name, value, most in (("first", first, 100), ("last", last, 100), ("share", share, 1)):
            if not 0 <= value <= most:
                raise ValueError(f"SEGAStrengths: {name} must be in [0, {most}], got {value!r}")
        row = [first + (last - first) * i / max(1, count - 1) for i in range(count)]
        chosen = set(random.Random(seed).sample(range(count), round(share * count)))
        return io.NodeOutput([value if i in chosen else 0.0 for i, value in enumerate(row)])
