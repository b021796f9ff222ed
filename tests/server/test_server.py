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
        with pytest.raises(ServerError, match=f"port {port} .*busy"), Server(PACK, port=port):
            pass


def test_a_server_that_dies_shows_its_log_and_leaves_no_folder() -> None:
    server = Server(PACK, arguments=["--no-such-argument"])
    with pytest.raises(ServerError, match="no-such-argument"), server:
        pass
    assert not server.folder.exists()


def test_a_folder_that_is_no_host_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"main\.py"), Server(PACK, comfyui=tmp_path):
        pass


def test_a_silent_server_is_a_clear_error(workflows: Any, client: Any) -> None:
    workflow = workflows.changed(workflows.load("first_edit"), "SEGASampler", seed=701)
    with pytest.raises(ServerError, match="silent"):
        client.run(workflow, seconds=0.001)
    assert client.answers()
