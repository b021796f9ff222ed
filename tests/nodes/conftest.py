"""The real host in process on the CPU, the pack loaded as the host loads it, and a tiny model with random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.in_process import load_pack, start_host
from dev.host.packages import COMFYUI
from support.demo import JudgedModel
from support.evaluations import Seen, listening
from support.host import Host
from support.models import UNET
from support.pipeline import load_weights


@pytest.fixture(scope="session")
def host() -> Host:
    """Start the host without arguments and load the pack as the host does."""
    # pytest's importlib mode may have put a placeholder where the host's module goes.
    if getattr(sys.modules.get("nodes"), "__file__", None) is None:
        sys.modules.pop("nodes", None)
    sys.path.insert(0, str(COMFYUI))
    start_host()
    import nodes  # noqa: F401

    return Host(load_pack())


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the host runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def nothing_loaded(host: Host) -> Iterator[None]:
    """Forget the loaded models: the host collects garbage at each sampling, or stumbles, while one of them is gone."""
    import comfy.model_management

    yield
    comfy.model_management.current_loaded_models.clear()


@pytest.fixture
def one_pass_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host find no free memory: it then evaluates one prompt per call, and equal prompts give equal bits."""
    import comfy.model_patcher

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)


@pytest.fixture(scope="session")
def twin(host: Host, pipeline: Any) -> Any:
    """The host's MODEL with the weights of diffusers' pipeline."""
    model = host.model(host.eps.model.model_type)
    load_weights(pipeline.unet, model, UNET)
    return model


@pytest.fixture(scope="session")
def demo(host: Host) -> JudgedModel:
    with torch.inference_mode():
        return JudgedModel()


@pytest.fixture
def hosts_folders(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `input` and `output` are ComfyUI's, with nothing in them."""
    import folder_paths

    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def evaluations() -> Iterator[list[Seen]]:
    """What each evaluation of this test did."""
    log: list[Seen] = []
    with listening(log.append):
        yield log


@pytest.fixture
def guidance_log() -> Iterator[list[torch.Tensor | None]]:
    """The guidance of each evaluation of this test; of packed latents that of each part."""
    log: list[torch.Tensor | None] = []
    with listening(lambda evaluation: log.extend(evaluation.parts)):
        yield log
