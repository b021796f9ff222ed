"""The program of docs/api.md does what it says, as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dev.host.packages import REPO

ADDRESS = "http://127.0.0.1:8188"


@pytest.fixture(scope="module")
def program() -> str:
    page = (REPO / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return code


@pytest.fixture
def shipped(program: str) -> Path:
    """The workflow that the program names."""
    (file,) = re.findall(r"example_workflows/api/\w+\.json", program)
    return REPO / file


@pytest.fixture
def run_program(program: str, shipped: Path, server: Any, tmp_path: Path) -> Any:
    """Run the program on a workflow, with nothing but the standard library, in a folder of its own."""

    def run(workflow: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        (tmp_path / "workflow.json").write_text(json.dumps(workflow))
        assert ADDRESS in program
        code = program.replace(ADDRESS, server.url).replace(shipped.relative_to(REPO).as_posix(), "workflow.json")
        command = [sys.executable, "-I", "-S", "-c", code]
        # A proxy in the environment is not for a server on this machine.
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    return run


def test_the_readmes_program_brings_the_picture_of_the_changed_concept(
    workflows: Any, shipped: Path, run_program: Any, tmp_path: Path
) -> None:
    assert shipped.is_file()
    done = run_program(workflows.load(shipped.stem, steps=2, batch=1))
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "picture.png") as picture:
        prompt = json.loads(picture.info["prompt"])
        assert picture.size == (128, 128)
    (concept,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "SEGAConcept")
    assert (concept["text"], concept["strength"]) == ("hat", 1.5)


def test_a_refused_workflow_ends_the_readmes_program_with_status_400(
    workflows: Any, shipped: Path, run_program: Any, tmp_path: Path
) -> None:
    done = run_program(workflows.changed(workflows.load(shipped.stem), "SEGAConcept", threshold=1.3))
    assert done.returncode != 0
    assert "HTTP Error 400" in done.stderr
    assert not (tmp_path / "picture.png").exists()


def test_the_readmes_program_stays_short(program: str) -> None:
    assert len(program.splitlines()) <= 25
