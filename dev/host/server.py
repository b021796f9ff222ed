"""A real ComfyUI server in a folder of its own.

It runs the ComfyUI of COMFYUI_PATH with this project's nodes. Models, outputs, settings and the database live in the
folder, so that a user's ComfyUI is read and never written.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .client import Client, ServerError
from .packages import COMFYUI, EDITOR, REPO

ADDRESS = "127.0.0.1"
START_SECONDS = 180

# Node packs by the name of their folder in custom_nodes.
PACK = {"semantic-guidance": REPO}
DEMO_PACK = {"sega_demo": REPO / "dev" / "demo"}


class Server:
    """The running server, as a context manager.

    Args:
        packs: the node packs to load, their folders by name.
        comfyui: the ComfyUI folder.
        folder: for everything the server writes, made if need be; by default one that goes when the server stops.
        checkpoints: a folder with the user's checkpoints.
        port: a free one by default.
        cpu: whether to leave the GPU alone.
        arguments: more of the host's command-line arguments.
        env: more environment variables.

    Raises:
        ServerError: on entering, when the server does not come up; the message ends with the log's last lines.
    """

    def __init__(
        self,
        packs: Mapping[str, Path],
        *,
        comfyui: Path = COMFYUI,
        folder: Path | None = None,
        checkpoints: Path | None = None,
        port: int | None = None,
        cpu: bool = True,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.comfyui = comfyui.resolve()
        self.own_folder = tempfile.TemporaryDirectory(prefix="sega-server-") if folder is None else None
        self.folder = Path(self.own_folder.name if self.own_folder else folder or "").resolve()
        self.packs = packs
        self.checkpoints = checkpoints
        self.port = port
        self.cpu = cpu
        self.arguments = list(arguments)
        self.env = dict(env or {})
        self.log_file = self.folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        if not (self.comfyui / "main.py").is_file():
            raise ServerError(f"{self.comfyui} is no ComfyUI folder: main.py is missing")
        self._prepare_folder()
        try:
            if self.port is not None:
                _require_free(self.port)
                self._start(self.port)
            else:
                self._start_on_free_port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    def log(self) -> str:
        """Return what the server has said so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def client(self) -> Client:
        return Client(self.url)

    def stop(self) -> None:
        """End the server and delete its own folder, if it has one."""
        self._end_process()
        if self.own_folder is not None:
            self.own_folder.cleanup()

    def _end_process(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_on_free_port(self) -> None:
        for attempt in range(5):
            self.port = _free_port()
            try:
                return self._start(self.port)
            except ServerError:
                self._end_process()
                # Somebody else may have taken the port in between.
                if attempt == 4 or "address already in use" not in self.log().lower():
                    raise

    def _prepare_folder(self) -> None:
        for name in ("custom_nodes", "input", "models/checkpoints", "output", "temp", "user"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name, source in self.packs.items():
            link = self.folder / "custom_nodes" / name
            link.unlink(missing_ok=True)
            link.symlink_to(source, target_is_directory=True)

    def _start(self, port: int) -> None:
        command = [sys.executable, str(self.comfyui / "main.py"), "--listen", ADDRESS, "--port", str(port)]
        command += ["--base-directory", str(self.folder), "--database-url", "sqlite:///:memory:"]
        command += ["--disable-api-nodes", "--disable-auto-launch"]
        command += ["--front-end-root", EDITOR] if EDITOR else []
        command += ["--cpu", "--use-pytorch-cross-attention"] if self.cpu else []
        if self.checkpoints is not None:
            # The host reads YAML, of which JSON is a part.
            extra = self.folder / "checkpoints.json"
            extra.write_text(json.dumps({"checkpoints": {"checkpoints": str(self.checkpoints.resolve())}}))
            command += ["--extra-model-paths-config", str(extra)]
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **self.env}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready(self.process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        client, end = self.client(), time.monotonic() + START_SECONDS
        while True:
            answers = client.answers()
            if process.poll() is not None:
                raise ServerError(f"ComfyUI stopped with exit status {process.returncode}; {self._log_tail()}")
            if answers:
                return
            if time.monotonic() > end:
                raise ServerError(f"ComfyUI did not answer within {START_SECONDS} seconds; {self._log_tail()}")
            time.sleep(0.2)

    def _log_tail(self) -> str:
        lines = self.log().splitlines()[-20:]
        return "the last lines of its log:\n" + "\n".join(lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise ServerError(f"port {port} on {ADDRESS} is busy: stop what uses it or choose another") from error
