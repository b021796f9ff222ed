"""The pack's entry point: nothing in it can lose the pack."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from dev.host.packages import load_package
from support.host import Host

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("project", [None, "", "[project\n", '[project]\nname = "x"\n'])
def test_the_pack_loads_whatever_its_configuration_says(host: Host, tmp_path: Path, project: str | None) -> None:
    """A configuration may be missing from a copy by hand, or broken by a merge."""
    folder = tmp_path / "pack"
    for name in ("nodes", "sega_core"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "__init__.py", folder)
    if project is not None:
        (folder / "pyproject.toml").write_text(project)
    pack = load_package(f"bare_{tmp_path.name}", folder)
    nodes = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
    assert {node.__name__ for node in nodes} == {node.__name__ for node in host.pack.nodes.NODES}
