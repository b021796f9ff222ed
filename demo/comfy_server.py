"""A real ComfyUI server in a folder of its own, and a plain client for it.

The server runs the ComfyUI of COMFYUI_PATH with this project's nodes. Models, outputs, settings and the database live
in the folder, so that a user's ComfyUI is read and never written.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1"

Workflow = dict[str, dict[str, Any]]


class ServerError(RuntimeError):
    """The server did not start, or went away."""


class WorkflowRejected(ValueError):
    """The server refused a workflow before running it."""


class ExecutionError(RuntimeError):
    """A node failed while the workflow ran."""

    def __init__(self, node_id: str, node_type: str, message: str) -> None:
        super().__init__(f"{node_type} (node {node_id}): {message}")
        self.node_id, self.node_type = node_id, node_type


class ExecutionInterrupted(RuntimeError):
    """Somebody stopped the workflow."""


@dataclass(frozen=True)
class Event:
    """What the server said while it ran a workflow.

    Args:
        type: the host's name: executing, progress, execution_cached, execution_success, ...; preview for an image.
        data: the host's data.
        image: an encoded preview (JPEG or PNG).
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    image: bytes = b""


class Server:
    """The running server, as a context manager.

    Args:
        comfyui: the ComfyUI folder.
        folder: for everything the server writes, made if need be; by default one that goes when the server stops.
        demo_pack: whether to load the demo model's node too.
        checkpoints: a folder with the user's checkpoints.
        port: a free one by default.
        cpu: whether to leave the GPU alone.
        arguments: more of the host's command-line arguments.
        env: more environment variables.
        seconds: how long the start may take.

    Raises:
        ServerError: on entering, when the server does not come up; the message ends with the log's last lines.
    """

    def __init__(
        self,
        comfyui: Path,
        *,
        folder: Path | None = None,
        demo_pack: bool = False,
        checkpoints: Path | None = None,
        port: int | None = None,
        cpu: bool = True,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        seconds: float = 180,
    ) -> None:
        self.comfyui = comfyui.resolve()
        self.own_folder = tempfile.TemporaryDirectory(prefix="sega-server-") if folder is None else None
        self.folder = Path(self.own_folder.name if self.own_folder else folder or "").resolve()
        self.packs = {"ComfyUI-SEGA": ROOT, **({"sega_demo": ROOT / "demo"} if demo_pack else {})}
        self.checkpoints = checkpoints
        self.port = port
        self.cpu = cpu
        self.arguments = list(arguments)
        self.env = dict(env or {})
        self.seconds = seconds
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
        """End the server, which is gone when this returns, and its own folder if it has one."""
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
        client, end = self.client(), time.monotonic() + self.seconds
        while True:
            answers = client.answers()
            if process.poll() is not None:
                raise ServerError(f"ComfyUI stopped with exit status {process.returncode}; {self._log_tail()}")
            if answers:
                return
            if time.monotonic() > end:
                raise ServerError(f"ComfyUI did not answer within {self.seconds:g} seconds; {self._log_tail()}")
            time.sleep(0.2)

    def _log_tail(self) -> str:
        lines = self.log().splitlines()[-20:]
        return "the last lines of its log:\n" + "\n".join(lines)


class Client:
    """The server's HTTP and websocket interface, one workflow at a time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.id = uuid.uuid4().hex

    def answers(self) -> bool:
        """Say whether a server is there."""
        try:
            self._get("/system_stats", seconds=5)
        except (OSError, ServerError):
            return False
        return True

    def object_info(self) -> dict[str, Any]:
        """Return what the server knows of each node."""
        return json.loads(self._get("/object_info"))

    def queue(self, workflow: Workflow) -> str:
        """Queue a workflow in API format; return the id of its run.

        Raises:
            WorkflowRejected: the workflow is not valid; names node, input and value.
        """
        status, body = self._post("/prompt", {"prompt": workflow, "client_id": self.id})
        answer = json.loads(body)
        # The server runs the valid outputs and only mentions the others.
        if status != 200 or answer.get("node_errors"):
            if status == 200:
                self._post("/queue", {"delete": [answer["prompt_id"]]})
                self._post("/interrupt", {"prompt_id": answer["prompt_id"]})
            raise WorkflowRejected(_rejection(answer))
        return answer["prompt_id"]

    def run(
        self, workflow: Workflow, on_event: Callable[[Event], None] | None = None, seconds: float = 600
    ) -> dict[str, Any]:
        """Run a workflow; return its outputs as the history has them: {node id: {"images": [...]}}.

        Args:
            workflow: in API format.
            on_event: called with each event of this run.
            seconds: how long the server may be silent.

        Raises:
            WorkflowRejected: the workflow is not valid.
            ExecutionError: a node failed.
            ExecutionInterrupted: it was stopped.
            ServerError: the server went away or was silent for too long.
        """
        try:
            prompt_id = asyncio.run(self._follow(workflow, on_event or (lambda _: None), seconds))
        except asyncio.TimeoutError:
            self.interrupt()
            raise ServerError(f"the server was silent for {seconds:g} seconds; the workflow was stopped") from None
        return self.history(prompt_id)["outputs"]

    def interrupt(self) -> None:
        """Stop the running workflow."""
        self._post("/interrupt", {})

    def history(self, prompt_id: str) -> dict[str, Any]:
        """Return what the server remembers of a run: prompt, outputs, status."""
        return json.loads(self._get(f"/history/{prompt_id}"))[prompt_id]

    def image(self, image: Mapping[str, str]) -> bytes:
        """Return the file of an image that `run` listed."""
        return self._get("/view?" + urllib.parse.urlencode(image))

    def upload(self, name: str, image: bytes) -> None:
        """Put an image file into the server's input folder, in place of one of that name."""
        boundary = uuid.uuid4().hex
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        overwrite = 'Content-Disposition: form-data; name="overwrite"\r\n\r\ntrue'
        form = f"--{boundary}\r\n{overwrite}\r\n--{boundary}\r\n{head}".encode()
        form += image + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, body = self._send(urllib.request.Request(f"{self.url}/upload/image", form, headers), seconds=60)
        if status != 200:
            raise ServerError(
                f"the server answered {status} to the image {name}: {body[:200].decode(errors='replace')}"
            )

    def free(self) -> None:
        """Drop the loaded models and every cached result."""
        self._post("/free", {"unload_models": True, "free_memory": True})

    async def _follow(self, workflow: Workflow, on_event: Callable[[Event], None], seconds: float) -> str:
        """Queue the workflow and report its events until the server is done with it; return the id of its run."""
        socket_url = f"{self.url}/ws?clientId={self.id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(socket_url, max_msg_size=0) as ws:
            prompt_id = self.queue(workflow)
            failure: Exception | None = None
            while not ws.closed:
                message = await ws.receive(timeout=seconds)
                if message.type == aiohttp.WSMsgType.BINARY:
                    # Two big-endian 32-bit numbers come first: the kind (1 is a preview) and the image format.
                    if message.data[:4] == b"\0\0\0\1":
                        on_event(Event("preview", image=message.data[8:]))
                    continue
                if message.type != aiohttp.WSMsgType.TEXT:
                    continue
                content = json.loads(message.data)
                data = content.get("data") or {}
                if data.get("prompt_id") != prompt_id:
                    continue
                kind: str = content["type"]
                on_event(Event(kind, data))
                if kind == "execution_error":
                    failure = ExecutionError(data["node_id"], data["node_type"], data["exception_message"].strip())
                elif kind == "execution_interrupted":
                    failure = ExecutionInterrupted(f"stopped at {data.get('node_type')} (node {data.get('node_id')})")
                elif kind == "executing" and data["node"] is None:
                    if failure is not None:
                        raise failure
                    return prompt_id
        raise ServerError("the server went away while the workflow ran")

    def _get(self, path: str, seconds: float = 60) -> bytes:
        status, body = self._send(urllib.request.Request(self.url + path), seconds)
        if status != 200:
            raise ServerError(f"the server answered {status} to {path}: {body[:200].decode(errors='replace')}")
        return body

    def _post(self, path: str, content: Any) -> tuple[int, bytes]:
        data = json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        return self._send(request, seconds=60)

    def _send(self, request: urllib.request.Request, seconds: float) -> tuple[int, bytes]:
        # A proxy in the environment is not for a server on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


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


def _rejection(answer: dict[str, Any]) -> str:
    """Say in one line per problem what the server found wrong."""
    lines = [
        f"{node['class_type']} (node {node_id}): {error['message']}: {error['details']}"
        for node_id, node in (answer.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    error = answer.get("error") or {}
    return "\n".join(lines) or f"{error.get('message')} {error.get('details', '')}".strip()
