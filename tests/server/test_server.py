"""Starting the server: clear errors, nothing left behind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from support.packages import COMFYUI


def test_a_busy_port_is_a_clear_error(comfy_server: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(comfy_server.ServerError, match=f"port {port} .*busy"),
            comfy_server.Server(COMFYUI, port=port),
        ):
            pass


def test_a_port_taken_meanwhile_leads_to_another(comfy_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []

    def start(server: Any, port: int) -> None:
        starts.append(port)
        if len(starts) < 3:
            server.log_file.write_text("[Errno 98] address already in use")
            raise comfy_server.ServerError("ComfyUI stopped")

    monkeypatch.setattr(comfy_server.Server, "_start", start)
    with comfy_server.Server(COMFYUI) as server:
        assert server.port == starts[-1]
    assert len(starts) == 3


def test_a_server_that_dies_shows_its_log_and_leaves_no_folder(comfy_server: Any) -> None:
    server = comfy_server.Server(COMFYUI, arguments=["--no-such-argument"])
    with pytest.raises(comfy_server.ServerError, match="no-such-argument"), server:
        pass
    assert server.process is None
    assert not server.folder.exists()


def test_a_folder_that_is_no_host_is_a_clear_error(comfy_server: Any, tmp_path: Path) -> None:
    with pytest.raises(comfy_server.ServerError, match=r"main\.py"), comfy_server.Server(tmp_path):
        pass


def test_a_silent_server_is_a_clear_error(workflows: Any, client: Any, comfy_server: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=701)
    with pytest.raises(comfy_server.ServerError, match="silent"):
        client.run(workflow, seconds=0.001)
    assert client.answers()
