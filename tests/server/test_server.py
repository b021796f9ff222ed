"""Starting the server: clear errors, nothing left behind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from dev.host.client import ServerError
from dev.host.server import PACK, Server


def test_a_busy_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServerError, match=f"port {port} .*busy"),
            Server(PACK, port=port),
        ):
            pass


def test_a_port_taken_meanwhile_leads_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []

    def start(server: Any, port: int) -> None:
        starts.append(port)
        if len(starts) < 3:
            server.log_file.write_text("[Errno 98] address already in use")
            raise ServerError("ComfyUI stopped")

    monkeypatch.setattr(Server, "_start", start)
    with Server(PACK) as server:
        assert server.port == starts[-1]
    assert len(starts) == 3


def test_a_server_that_dies_shows_its_log_and_leaves_no_folder() -> None:
    server = Server(PACK, arguments=["--no-such-argument"])
    with pytest.raises(ServerError, match="no-such-argument"), server:
        pass
    assert server.process is None
    assert not server.folder.exists()


def test_a_folder_that_is_no_host_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"main\.py"), Server(tmp_path):
        pass


def test_a_silent_server_is_a_clear_error(workflows: Any, client: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=701)
    with pytest.raises(ServerError, match="silent"):
        client.run(workflow, seconds=0.001)
    assert client.answers()
