"""The program of docs/api.md does what the page says, as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from dev.host.packages import REPO

ADDRESS = "http://127.0.0.1:8188"


def test_the_program_brings_the_picture_of_the_changed_concept_and_stops_at_a_bad_value(
    workflows: Any, server: Any, tmp_path: Path
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (REPO / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    (file,) = re.findall(r"example_workflows/api/\w+\.json", program)
    assert ADDRESS in program
    program = program.replace(ADDRESS, server.url).replace(file, "workflow.json")

    def run(workflow: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Run the program in a folder of its own, with nothing but the standard library."""
        (tmp_path / "workflow.json").write_text(json.dumps(workflow))
        # A proxy in the environment is not for a server on this machine.
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        command = [sys.executable, "-I", "-S", "-c", program]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    workflow = workflows.load(Path(file).stem, steps=2, batch=1)
    refused = run(workflows.changed(workflow, "SEGAConcept", threshold=1.3))
    assert refused.returncode != 0 and "HTTP Error 400" in refused.stderr
    assert not (tmp_path / "picture.png").exists()

    done = run(workflow)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "picture.png") as picture:
        (concept,) = workflows.demo.nodes_of(json.loads(picture.info["prompt"]), "SEGAConcept")
        assert picture.size == (128, 128)
    assert (concept["text"], concept["strength"]) == ("hat", 1.5)
