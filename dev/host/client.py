"""A plain client of a ComfyUI server: its HTTP and websocket interface, one workflow at a time."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from PIL import Image

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
    """What the server said while it ran a workflow: the host's type and data, or "preview" and an encoded image."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    image: bytes = b""


class Client:
    """What a program asks of the server at `url`."""

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

    def pictures(
        self, workflow: Workflow, on_event: Callable[[Event], None] | None = None
    ) -> dict[str, list[Image.Image]]:
        """Run a workflow; return the pictures that its nodes saved or showed, by the nodes' class."""
        from PIL import Image

        made: dict[str, list[Image.Image]] = {}
        for node_id, output in self.run(workflow, on_event).items():
            files = [self.image(image) for image in output.get("images", [])]
            pictures = [Image.open(BytesIO(file)).convert("RGB") for file in files]
            made.setdefault(workflow[node_id]["class_type"], []).extend(pictures)
        return made

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


def _rejection(answer: dict[str, Any]) -> str:
    """Say in one line per problem what the server found wrong."""
    lines = [
        f"{node['class_type']} (node {node_id}): {error['message']}: {error['details']}"
        for node_id, node in (answer.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    error = answer.get("error") or {}
    return "\n".join(lines) or f"{error.get('message')} {error.get('details', '')}".strip()
