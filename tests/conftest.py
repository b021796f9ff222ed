"""What the tiers share: the packages, diffusers' pipeline with random weights, and what the registry gets."""

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
from hypothesis import HealthCheck, settings

for name in ("support", "dev"):
    folder = Path(__file__).parent / name if name == "support" else Path(__file__).parents[1] / name
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)

from dev.host.packages import COMFYUI, REPO, load_file, load_package  # noqa: E402
from support.pipeline import build_pipeline  # noqa: E402

load_package("sega_core", REPO / "sega_core")

# What is fuzzed is the same on every run and machine, however slow.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")


class CompatibilityReport:
    """Counts, for each row of the compatibility table, how many of its tests passed, failed and were skipped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[tuple[str, str], Counter[str]] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.reasons: dict[tuple[str, str], str] = {}

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
                if report.skipped and isinstance(report.longrepr, tuple):
                    self.reasons[group, row] = report.longrepr[2].removeprefix("Skipped: ")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # Tests that run side by side report to the process that started the others.
        if hasattr(session.config, "workerinput"):
            return
        version = re.search(r'__version__ = "(.+)"', (COMFYUI / "comfyui_version.py").read_text())
        rows = [
            {"group": key[0], "row": key[1], **self.rows[key], "reason": self.reasons.get(key)}
            for key in sorted(self.rows, key=self.places.__getitem__)
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"comfyui": version and version[1], "rows": rows}, indent=1))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compatibility", type=Path, help="write what each row of the compatibility table gave here")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only `nox -s compatibility` runs it")
    if file := config.getoption("--compatibility"):
        config.pluginmanager.register(CompatibilityReport(file))


@pytest.fixture(scope="session")
def tool() -> ModuleType:
    """The module scripts/from_diffusers.py."""
    return load_file("from_diffusers", REPO / "scripts" / "from_diffusers.py")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Diffusers' SemanticStableDiffusionPipeline around tiny networks; it knows WORDS."""
    return build_pipeline(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what ours tracks and is about to track."""
    if not (REPO / ".git").exists():
        pytest.skip("the registry's client packs what git tracks, and here is no git repository")
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPO, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPO / name, folder / name)
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
