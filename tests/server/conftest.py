"""One real server for the tier, and what the tests say to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dev.demo import workflows as demo_workflows
from dev.host.packages import comfyui_files
from dev.host.server import DEMO_PACK, PACK, Server


class Workflows:
    """The shipped workflows, for the demo model."""

    demo = demo_workflows

    def names(self) -> list[str]:
        return sorted(file.stem for file in self.demo.FOLDER.glob("*.json"))

    def load(self, name: str, steps: int = 6, batch: int = 2) -> dict[str, Any]:
        """Return a shipped workflow with few steps and images."""
        workflow = self.demo.load(name)
        for node in workflow.values():
            if "steps" in node["inputs"]:
                node["inputs"]["steps"] = steps
            if node["class_type"] in self.demo.MAKERS_OF_SIZE and "batch_size" in node["inputs"]:
                node["inputs"]["batch_size"] = batch
        return workflow

    def only(self, workflow: dict[str, Any], class_type: str) -> str:
        """Return the id of the one node of a class."""
        (node_id,) = (key for key, node in workflow.items() if node["class_type"] == class_type)
        return node_id

    def changed(self, workflow: dict[str, Any], class_type: str, **inputs: Any) -> dict[str, Any]:
        """Return a copy with other values at the one node of a class; None leaves an input out."""
        out = copy.deepcopy(workflow)
        node = out[self.only(out, class_type)]
        node["inputs"] = {key: value for key, value in {**node["inputs"], **inputs}.items() if value is not None}
        return out


@pytest.fixture(scope="session")
def workflows() -> Workflows:
    return Workflows()


@pytest.fixture(scope="session")
def host_files() -> dict[str, tuple[int, int]]:
    """The host's source before the server starts."""
    return comfyui_files()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for checkpoints, which the server knows from the start."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def server(checkpoints: Path, host_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("server")
    with Server(
        {**PACK, **DEMO_PACK},
        folder=folder,
        checkpoints=checkpoints,
        arguments=["--preview-method", "latent2rgb"],
        # For so small a model, threads that wait for each other on a busy machine cost more than they bring.
        env={"OMP_NUM_THREADS": "1"},
    ) as running:
        yield running


@pytest.fixture
def client(server: Any) -> Any:
    return server.client()


class Recorder:
    """The events of a run."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __call__(self, event: Any) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    @property
    def executed(self) -> set[str]:
        """The nodes that ran."""
        return {event.data["node"] for event in self.of("executing")} - {None}

    @property
    def cached(self) -> set[str]:
        return {node for event in self.of("execution_cached") for node in event.data["nodes"]}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def pixels(client: Any) -> Any:
    """Run a workflow and return the images (N, H, W, 3) that it saves."""

    def run(workflow: dict[str, Any], on_event: Any = None) -> np.ndarray:
        return np.stack([np.asarray(picture) for picture in client.pictures(workflow, on_event)["SaveImage"]])

    return run
