"""Workflows that the command made of pipeline calls run on the server, on the demo's model."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dev.host.packages import REPO

pytestmark = pytest.mark.compat("Features", "calls of diffusers' pipeline as workflows (scripts/from_diffusers.py)")

DOCUMENTED = """
gen = torch.Generator(device=device)
gen.manual_seed(21)
out = pipe(prompt='a photo of the face of a woman', generator=gen, num_images_per_prompt=1, guidance_scale=7,
           editing_prompt=['smiling, smile', 'glasses, wearing glasses', 'curls, wavy hair, curly hair',
                           'beard, full beard, mustache'],
           reverse_editing_direction=[False, False, False, False], edit_warmup_steps=[10, 10, 10,10],
           edit_guidance_scale=[4, 5, 5, 5.4], edit_threshold=[0.99, 0.975, 0.925, 0.96],
           edit_momentum_scale=0.3, edit_mom_beta=0.6, edit_weights=[1,1,1,1,1], height=128, width=128)
"""
# Each takes other nodes than the documented call.
SHORT = "editing_prompt='hat', edit_warmup_steps=2, height=128, width=128"
CALLS = {
    "steps that do not divide 1000": f"pipe('a face', num_inference_steps=12, {SHORT})",
    "eta": f"pipe('a face', num_inference_steps=10, eta=0.5, {SHORT})",
    "several prompts": f"pipe(['a face', 'a hat'], num_inference_steps=10, {SHORT})",
    "a seed for each image": "pipe('a face', num_images_per_prompt=2, num_inference_steps=10, "
    f"generator=[torch.manual_seed(1), torch.manual_seed(2)], {SHORT})",
}


@pytest.fixture
def convert() -> Any:
    """Run the command on a call; return the workflow, with the demo's model in place of a checkpoint."""

    def run(call: str) -> dict[str, Any]:
        command = [sys.executable, str(REPO / "scripts" / "from_diffusers.py"), "-"]
        written = subprocess.run(command, input=call, capture_output=True, text=True, check=True).stdout
        workflow = json.loads(written)
        return {**workflow, "1": {"class_type": "SEGADemoModel", "inputs": {}}}

    return run


def test_the_documented_call_runs(convert: Any, pixels: Any) -> None:
    off = DOCUMENTED.replace("edit_guidance_scale=[4, 5, 5, 5.4]", "edit_guidance_scale=0")
    edited, unedited = pixels(convert(DOCUMENTED)), pixels(convert(off))
    assert edited.shape == (1, 128, 128, 3)
    assert not np.array_equal(edited, unedited)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_runs(name: str, convert: Any, pixels: Any) -> None:
    images = pixels(convert(CALLS[name]))
    assert images.shape == (2 if name in ("several prompts", "a seed for each image") else 1, 128, 128, 3)
    assert images.std() > 10
    assert len(np.unique(images, axis=0)) == len(images)
