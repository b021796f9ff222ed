"""scripts/sweep.py against the real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dev.host.packages import REPO


@pytest.fixture
def sweep(server: Any, tmp_path: Path) -> Any:
    """Start the script on a workflow; the output folder is tmp_path / "out"."""

    def start(workflow: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps(workflow))
        command = [sys.executable, str(REPO / "scripts" / "sweep.py"), str(file), "--output", str(tmp_path / "out")]
        if "--server" not in arguments:
            command += ["--server", server.url]
        return subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Where the tests run in the background, Ctrl-C may be switched off for them and what they start.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    return start


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_two_inputs_over_two_addresses_give_the_pictures_of_their_values(
    workflows: Any, sweep: Any, pixels: Any, server: Any, tmp_path: Path
) -> None:
    workflow = workflows.load("first_edit", steps=3, batch=1)
    addresses = [server.url.removeprefix("http://"), server.url.replace("127.0.0.1", "localhost")]
    arguments = ["--set", "SEGA Concept.strength=0,2", "--set", "SEGASampler.seed=31:32"]
    for address in addresses:
        arguments += ["--server", address]
    status, output = end_of(sweep(workflow, *arguments))
    assert status == 0, output

    done = results(tmp_path / "out")
    assert {line["server"] for line in done} == set(addresses)
    assert [tuple(line["values"].values()) for line in done] == [(0, 31), (0, 32), (2, 31), (2, 32)]
    for line in done:
        strength, seed = line["values"].values()
        with Image.open(tmp_path / "out" / line["files"][0]) as file:
            prompt = json.loads(file.info["prompt"])
            picture = np.asarray(file.convert("RGB"))
        expected = workflows.changed(workflow, "SEGAConcept", strength=strength)
        expected = workflows.changed(expected, "SEGASampler", seed=seed)
        assert prompt[workflows.only(prompt, "SEGAConcept")]["inputs"]["strength"] == strength
        assert prompt[workflows.only(prompt, "SEGASampler")]["inputs"]["seed"] == seed
        assert (picture == pixels(expected)[0]).all()
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 2 * 128 and sheet.height > 2 * 128


def test_ctrl_c_takes_back_only_the_sweeps_run_and_the_next_call_does_the_rest(
    workflows: Any, sweep: Any, client: Any, tmp_path: Path
) -> None:
    workflow = workflows.load("first_edit", steps=2, batch=1)
    # The second run is long enough to be met while it runs.
    arguments = ["--set", "SEGASampler.steps=2,100", "--set", "SEGASampler.seed=41"]
    process = sweep(workflow, *arguments)

    def queue() -> dict[str, Any]:
        return json.loads(client._get("/queue"))

    while not (tmp_path / "out" / "results.jsonl").exists() or not queue()["queue_running"]:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    others = client.queue(workflows.changed(workflow, "SEGASampler", seed=42))
    process.send_signal(signal.SIGINT)
    status, output = end_of(process)
    assert status == 130, output
    (first,) = results(tmp_path / "out")
    picture = tmp_path / "out" / first["files"][0]
    written = picture.stat().st_mtime_ns
    while queue()["queue_running"] or queue()["queue_pending"]:
        time.sleep(0.05)
    assert client.history(others)["status"]["status_str"] == "success"

    status, output = end_of(sweep(workflow, *arguments))
    assert status == 0, output
    assert [list(line["values"].values()) for line in results(tmp_path / "out")] == [[2, 41], [100, 41]]
    assert picture.stat().st_mtime_ns == written


def test_a_refused_and_a_failing_value_are_named_and_the_others_are_done(
    workflows: Any, sweep: Any, tmp_path: Path
) -> None:
    workflow = workflows.load("first_edit", steps=2, batch=1)
    workflow = workflows.changed(workflow, "SEGAConcept", attention_threshold=0.5, prompt=None)
    status, output = end_of(sweep(workflow, "--set", "SEGAConcept.text=hat,", "--set", "SEGAConcept.threshold=1.3,0.9"))
    assert status == 1
    assert [list(line["values"].values()) for line in results(tmp_path / "out")] == [["hat", 0.9]]
    for part in ["threshold", "1.3", '.text=""', "SEGAConcept (node", "attention_threshold needs words", "1 of 4 runs"]:
        assert part in output


def test_a_server_that_cannot_run_the_workflow_is_named(workflows: Any, sweep: Any) -> None:
    workflow = workflows.load("first_edit", steps=2, batch=1)
    workflow[workflows.only(workflow, "VAEDecode")]["class_type"] = "NoSuchNode"
    status, output = end_of(sweep(workflow, "--set", "SEGASampler.seed=1"))
    assert status == 1
    for part in ["cannot run this workflow", "not found", "no server is left"]:
        assert part in output
