"""Fed with the estimates of diffusers' own pipeline, a run gives the pipeline's guidance at every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sega_core import Comparison, Concept, GuidanceRun, Settings
from support.pipeline import pipeline_arguments, random_edit

STEPS = 8


def record_pipeline(pipe: Any, arguments: dict[str, Any], batch: int, seed: int) -> list[tuple[torch.Tensor, ...]]:
    """Sample, and return each step's UNet estimates: negative, positive, concepts."""
    recorded = []
    forward = pipe.unet.forward

    def recording(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        recorded.append(out.sample.chunk(2 + len(arguments["editing_prompt"])))
        return out

    pipe.unet.forward = recording
    try:
        pipe(
            ["a dog"] * batch,
            negative_prompt=["blurry"] * batch,
            height=8,
            width=8,
            num_inference_steps=STEPS,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            **arguments,
        )
    finally:
        pipe.unet.forward = forward
    return recorded


@pytest.mark.parametrize("seed", range(16))
def test_the_guidance_is_the_pipelines(seed: int, pipeline: Any) -> None:
    edit = random_edit(seed, STEPS)
    recorded = record_pipeline(pipeline, pipeline_arguments(edit), edit["batch"], seed)
    run = GuidanceRun([Concept(**concept) for concept in edit["concepts"]], Settings(**edit["settings"]), STEPS)
    edited = 0
    for step, (negative, _, *concepts) in enumerate(recorded):
        guidance = run.guidance(step, {c: Comparison(concepts[c] - negative) for c in run.needed(step)})
        want = pipeline.sem_guidance[step]
        if guidance is None:
            assert not want.any()
            continue
        torch.testing.assert_close(guidance, want, rtol=1e-5, atol=1e-6 * float(want.abs().max()))
        edited += bool(want.any())
    assert edited
