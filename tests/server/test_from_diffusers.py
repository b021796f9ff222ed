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

SHORT = "editing_prompt='hat', edit_warmup_steps=2, height=128, width=128"
# Each takes other nodes.
CALLS = {
    "one prompt": f"pipe('a face', num_inference_steps=10, {SHORT})",
    "steps that do not divide 1000": f"pipe('a face', num_inference_steps=12, {SHORT})",
    "eta": f"pipe('a face', num_inference_steps=10, eta=0.5, {SHORT})",
    "several prompts": f"pipe(['a face', 'a hat'], num_inference_steps=10, {SHORT})",
    "a seed for each image": "pipe('a face', num_images_per_prompt=2, num_inference_steps=10, "
    f"generator=[torch.manual_seed(1), torch.manual_seed(2)], {SHORT})",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_runs(name: str, pixels: Any) -> None:
    def run(call: str) -> np.ndarray:
        command = [sys.executable, str(REPO / "scripts" / "from_diffusers.py"), "-"]
        written = subprocess.run(command, input=call, capture_output=True, text=True, check=True).stdout
        # The demo's model takes the place of the checkpoint.
        return pixels({**json.loads(written), "1": {"class_type": "SEGADemoModel", "inputs": {}}})

    images = run(CALLS[name])
    assert images.shape == (2 if name in ("several prompts", "a seed for each image") else 1, 128, 128, 3)
    assert len(np.unique(images, axis=0)) == len(images)
    assert not np.array_equal(images, run(CALLS[name].replace("'hat'", "None")))
