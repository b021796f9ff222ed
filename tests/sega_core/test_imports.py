"""Imports point one way: `__init__ -> nodes -> nodes/sampling -> sega_core -> torch`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CORE = sorted(REPO.glob("sega_core/*.py"))
NODES = sorted(REPO.glob("nodes/*.py"))
SAMPLING = sorted(REPO.glob("nodes/sampling/*.py"))
SAMPLING_API = ("comfy.sampler_helpers", "comfy.patcher_extension", "comfy.model_patcher")
HOST = {"comfy", "comfy_api", "comfy_extras", "nodes", "folder_paths", "node_helpers", "latent_preview"}


def imported(file: Path) -> Iterator[str]:
    """Yield the absolute name of every module and name that the file imports; ours start with the folder's name."""
    package = file.parent.relative_to(REPO).parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ("pack", *package)[: len(package) + 2 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.name)
def test_the_core_imports_torch_numpy_and_itself_alone(file: Path) -> None:
    for name in imported(file):
        assert is_standard(name) or name.startswith(("torch", "numpy", "safetensors", "pack.sega_core.")), name


@pytest.mark.parametrize("file", [*NODES, *SAMPLING], ids=lambda file: file.name)
def test_nodes_import_the_host_the_core_and_themselves_and_sampling_no_node(file: Path) -> None:
    ours = ("pack.nodes.sampling." if file in SAMPLING else "pack.nodes.", "pack.sega_core.")
    for name in imported(file):
        known = name.split(".")[0] in HOST | {"torch", "numpy", "safetensors", "PIL"} or is_standard(name)
        assert known or name.startswith(ours), name


@pytest.mark.parametrize("file", NODES, ids=lambda file: file.name)
def test_only_sampling_meets_the_sampling_api(file: Path) -> None:
    assert not [name for name in imported(file) if name.startswith(SAMPLING_API)]


def test_the_root_imports_its_nodes_and_the_hosts_api_alone() -> None:
    names = set(imported(REPO / "__init__.py"))
    host = ("comfy_api.latest.", "pack.nodes.")
    assert all(name.startswith(host) or is_standard(name) for name in names), names


def test_there_is_something_to_check() -> None:
    assert len(CORE) > 4
    assert len(NODES) > 5
    assert any(name.startswith(SAMPLING_API) for file in SAMPLING for name in imported(file))
