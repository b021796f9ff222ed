"""The documented four-concept example on a user's SD1.5 checkpoint: here one with random weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dev.host.packages import COMFYUI, REPO

pytestmark = [pytest.mark.slow, pytest.mark.compat("Server", "a checkpoint file, loaded by the host's loader")]


@pytest.fixture(scope="module")
def checkpoint(checkpoints: Path) -> Iterator[Path]:
    file = checkpoints / "random_sd15.safetensors"
    command = [sys.executable, str(REPO / "tests" / "server" / "random_checkpoint.py"), str(file)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(COMFYUI)}, check=True)
    yield file
    file.unlink()


def test_the_four_concept_workflow_runs_on_a_checkpoint(
    workflows: Any, client: Any, pixels: Any, checkpoint: Path
) -> None:
    client.free()
    workflow = workflows.changed(workflows.demo.shipped("four_concept_face"), "SEGASampler", steps=2)
    workflow = workflows.changed(workflow, "CheckpointLoaderSimple", ckpt_name=checkpoint.name)
    workflow = workflows.changed(workflow, "EmptyLatentImage", width=64, height=64, batch_size=1)
    assert pixels(workflow).shape == (1, 64, 64, 3)
    client.free()


def test_the_demo_takes_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", str(checkpoint), "--steps", "2", "--size", "64", "--columns", "1"]
    path = os.pathsep.join([str(COMFYUI), str(REPO)])
    run = subprocess.run(
        [sys.executable, "-m", "dev.demo.run", *options, "--output", str(tmp_path)],
        env={**os.environ, "COMFYUI_PATH": str(COMFYUI), "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width > 64
