"""What the tiers share: where the host lies, the core loaded alone, and diffusers' pipeline with random weights."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parents[1]
WORDS = ["a", "face", "dog", "smiling", "glasses", "hat", "beard", "purple", "old", "blurry"]


def load_package(name: str, folder: Path) -> ModuleType:
    """Import the package in `folder` as `name`; the repository's root stays off sys.path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


load_package("sega_core", REPO / "sega_core")
load_package("support", REPO / "tests" / "support")

# What is fuzzed is the same on every run and machine, however slow.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")


COMFYUI = Path(os.environ.get("COMFYUI_PATH", REPO / ".host" / "ComfyUI-0.30.0"))


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    return COMFYUI


class CompatibilityReport:
    """Counts, for each row of the compatibility table, how many of its tests passed, failed and were skipped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[tuple[str, str], Counter[str]] = {}
        self.places: dict[tuple[str, str], int] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for place, item in enumerate(items):
            for mark in item.iter_markers("compat"):
                item.user_properties.append(("compat", (*mark.args, place)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for name, value in report.user_properties:
            if name == "compat":
                group, row, place = value
                self.rows.setdefault((group, row), Counter())[report.outcome] += 1
                self.places[group, row] = min(place, self.places.get((group, row), place))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # Tests that run side by side report to the process that started the others.
        if hasattr(session.config, "workerinput"):
            return
        version = re.search(r'__version__ = "(.+)"', (COMFYUI / "comfyui_version.py").read_text())
        rows = [
            {"group": group, "row": row, **self.rows[group, row]}
            for group, row in sorted(self.rows, key=self.places.__getitem__)
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"comfyui": version and version[1], "rows": rows}, indent=1))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compatibility", type=Path, help="write what each row of the compatibility table gave here")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; `nox -s tests` runs it with the newest ComfyUI alone")
    if file := config.getoption("--compatibility"):
        config.pluginmanager.register(CompatibilityReport(file))


@pytest.fixture(scope="session")
def tool(repo: Path) -> ModuleType:
    """The module tools/from_diffusers.py."""
    spec = importlib.util.spec_from_file_location("from_diffusers", repo / "tools" / "from_diffusers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package_loader() -> Any:
    return load_package


@pytest.fixture(scope="session")
def demo(repo: Path) -> ModuleType:
    """The demo's pack, as sega_demo."""
    return load_package("sega_demo", repo / "demo")


@pytest.fixture(scope="session")
def comfy_server(demo: ModuleType) -> ModuleType:
    """The module demo.comfy_server."""
    from sega_demo import comfy_server

    return comfy_server


def fill_with_noise(module: torch.nn.Module, seed: int) -> None:
    """Draw every parameter, keeping activations near unit size."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.1 * noise
    for name, parameter in module.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data += 1


@pytest.fixture(scope="session")
def noise_filler() -> Any:
    return fill_with_noise


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Diffusers' SemanticStableDiffusionPipeline around tiny networks; it knows WORDS."""
    from diffusers import AutoencoderKL, DDIMScheduler, SemanticStableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    merges, tokens = [], ["<|startoftext|>", "<|endoftext|>", *map(chr, range(97, 123))]
    tokens += [letter + "</w>" for letter in map(chr, range(97, 123))]
    for word in WORDS:
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            merges.append(f"{symbols[0]} {symbols[1]}")
            symbols[:2] = [symbols[0] + symbols[1]]
            tokens.append(symbols[0])
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]))
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12, pad_token="<|endoftext|>"
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=12,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    for seed, module in enumerate((text_encoder, unet)):
        fill_with_noise(module, seed)
        module.eval()
    pipe = SemanticStableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(32,), latent_channels=4, norm_num_groups=32),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def random_edit(seed: int, steps: int) -> dict[str, Any]:
    """Draw 1 to 4 concepts and what they share, as Concept's and Settings' arguments.

    At each step with some but not all concepts warm, one of the warm ones is not cooled: the reference divides by zero
    there otherwise.
    """
    generator = torch.Generator().manual_seed(seed)

    def number(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    concepts: list[dict[str, Any]] = []
    for _ in range(1 + seed % 4):
        warmup = whole(0, steps - 3)
        concepts.append(
            {
                "direction": "add" if whole(0, 1) else "remove",
                "guidance_scale": number(1, 8),
                "threshold": [0.0, 0.5, 0.8, 0.9, 0.95, 0.99][whole(0, 5)],
                "warmup_steps": warmup,
                "cooldown_steps": whole(warmup + 1, steps) if whole(0, 2) == 0 else None,
                "weight": number(0.2, 2),
            }
        )
    last = max(concept["warmup_steps"] for concept in concepts)
    first = min(concepts, key=lambda concept: concept["warmup_steps"])
    if first["cooldown_steps"] is not None:
        first["cooldown_steps"] = max(first["cooldown_steps"], last + 1)
    momentum = seed % 3 != 0
    settings = {"momentum_scale": number(0.1, 0.6) if momentum else 0.0, "momentum_beta": number(0.1, 0.8)}
    return {"concepts": concepts, "settings": settings, "batch": 1 + (seed // 2) % 3, "prompts": WORDS[3:7]}


@pytest.fixture(scope="session")
def edit_drawer() -> Any:
    return random_edit


def pipeline_arguments(edit: dict[str, Any]) -> dict[str, Any]:
    """Return the edit under the names of diffusers' pipeline."""
    concepts = edit["concepts"]
    return {
        "editing_prompt": edit["prompts"][: len(concepts)],
        "reverse_editing_direction": [concept["direction"] == "remove" for concept in concepts],
        "edit_guidance_scale": [concept["guidance_scale"] for concept in concepts],
        "edit_threshold": [concept["threshold"] for concept in concepts],
        "edit_warmup_steps": [concept["warmup_steps"] for concept in concepts],
        "edit_cooldown_steps": [concept["cooldown_steps"] or 10**6 for concept in concepts],
        "edit_weights": [concept["weight"] for concept in concepts],
        "edit_momentum_scale": edit["settings"]["momentum_scale"],
        "edit_mom_beta": edit["settings"]["momentum_beta"],
    }


@pytest.fixture(scope="session")
def as_pipeline_arguments() -> Any:
    return pipeline_arguments


@pytest.fixture(scope="session")
def checkout(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what ours tracks and is about to track."""
    if not (repo / ".git").exists():
        pytest.skip("the registry's client packs what git tracks, and here is no git repository")
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=repo, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (repo / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repo / name, folder / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def comfy(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run the registry's client in the repository; return what it says."""
    home = str(tmp_path_factory.mktemp("home"))
    env = {**os.environ, "HOME": home, "USERPROFILE": home, "DO_NOT_TRACK": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments]
        done = subprocess.run(
            command, cwd=checkout, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def archive(checkout: Path, comfy: Callable[..., str]) -> Path:
    """The archive that the registry gets."""
    comfy("node", "pack")
    return checkout / "node.zip"
