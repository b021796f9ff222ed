"""scripts/sweep.py on servers that answer like ComfyUI: what it reads and refuses, and what it does when they fail."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dev.host.packages import REPO, load_file

WORKFLOW = {
    "1": {"class_type": "Loader", "_meta": {"title": "Load"}, "inputs": {"file": "a.safetensors"}},
    "2": {"class_type": "Encode", "_meta": {"title": "Prompt"}, "inputs": {"clip": ["1", 1], "text": "a face"}},
    "3": {"class_type": "Encode", "_meta": {"title": "Negative"}, "inputs": {"clip": ["1", 1], "text": ""}},
    "4": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 7, "cfg": 3.5, "tiled": False}},
    "v1.5 save": {"class_type": "Save", "_meta": {"title": "Negative"}, "inputs": {"images": ["4", 0], "name": "x"}},
}

# What the server says of a KSampler; the workflow leaves the optional inputs out.
KSAMPLER = {
    "required": {"model": ["MODEL"], "cfg": ["FLOAT", {}]},
    "optional": {
        "strength": ["FLOAT", {"default": 1.0}],
        "text": ["STRING", {"forceInput": True}],
        "mask": ["MASK", {}],
    },
}


class FakeServer(ThreadingHTTPServer):
    """Answers like ComfyUI; the picture of a run has the colour (seed, cfg, 0).

    Args:
        answer: called with the sampler's inputs of each run; returns node_errors to refuse it, a text for it to fail
            with that message, and raises ConnectionError for the server to go away.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[dict[str, Any]], Any] = lambda inputs: None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.history: dict[str, Any] = {}
        self.queued: list[dict[str, Any]] = []
        self.gone, self.cut = False, 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, content: Any, status: int = 200, cut: int = 0) -> None:
        """Answer; the last `cut` bytes do not arrive."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + cut))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.server.gone:
            return
        if self.path == "/queue":
            self.reply({"queue_running": [[0, key] for key in self.server.history], "queue_pending": []})
        elif self.path.startswith("/history/"):
            self.reply({name: self.server.history[name]})
        elif self.path.startswith("/object_info/"):
            self.reply({"KSampler": {"input": KSAMPLER}} if name == "KSampler" else {})
        else:
            red, green = self.path.partition("filename=")[2].partition(".png")[0].split("_")
            picture = BytesIO()
            Image.new("RGB", (64, 48), (int(red), int(float(green)), 0)).save(picture, "PNG")
            self.reply(picture.getvalue(), cut=self.server.cut)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.gone:
            return
        inputs = content["prompt"]["4"]["inputs"]
        try:
            answer = self.server.answer(inputs)
        except ConnectionError:
            self.server.gone = True
            return
        if isinstance(answer, dict):
            return self.reply({"error": {"message": "not valid"}, "node_errors": answer}, 400)
        self.server.queued.append(inputs)
        key = f"run-{len(self.server.queued)}"
        image = {"filename": f"{inputs['seed']}_{inputs['cfg']}.png", "subfolder": "", "type": "output"}
        status: dict[str, Any] = {"status_str": "success", "messages": []}
        if answer:
            failure = {"node_type": "KSampler", "node_id": "4", "exception_message": answer}
            status = {"status_str": "error", "messages": [["execution_error", failure]]}
        self.server.history[key] = {"status": status, "outputs": {"v1.5 save": {"images": [image]}}}
        self.reply({"prompt_id": key, "node_errors": {}})


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    servers: list[FakeServer] = []

    def start(*arguments: Any) -> FakeServer:
        servers.append(FakeServer(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., tuple[int, str]]:
    """Call the script, without a server for a dry run; return its exit status and what it logs."""
    sweep = load_file("sweep", REPO / "scripts" / "sweep.py")
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(sweep, "PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.INFO)

    def run(*sets: str, servers: tuple[FakeServer, ...] = (), workflow: Any = WORKFLOW) -> tuple[int, str]:
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps(workflow))
        arguments = [str(file), "--output", str(tmp_path / "out")]
        arguments += [word for text in sets for word in ("--set", text)]
        arguments += [word for server in servers for word in ("--server", server.address)]
        caplog.clear()
        return sweep.main(arguments if servers else [*arguments, "--dry-run"]), caplog.text

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output folder."""
    return tmp_path / "out"


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def values(folder: Path) -> list[list[Any]]:
    return [list(line["values"].values()) for line in results(folder)]


@pytest.mark.parametrize(
    ("sets", "runs"),
    [
        (["KSampler.seed=1:3"], ["KSampler.seed=1", "KSampler.seed=2", "KSampler.seed=3"]),
        (["k sampler.seed=2:1"], ["KSampler.seed=2", "KSampler.seed=1"]),
        (["4.seed=5, 7:9:2"], ["KSampler.seed=5", "KSampler.seed=7", "KSampler.seed=9"]),
        (["4.cfg=0:0.3:0.1"], [f"KSampler.cfg={cfg}" for cfg in (0.0, 0.1, 0.2, 0.3)]),
        (["Prompt.text=a cat, 1:2"], ["Prompt.text=a cat", "Prompt.text=1:2"]),
        (['Prompt.text=["a hat, red", "x=y"]'], ["Prompt.text=a hat, red", "Prompt.text=x=y"]),
        (["v1.5 save.name=x"], ["v1.5 save.name=x"]),
        (
            ["4.seed=1:2", "2.text=hat,beard"],
            [f"KSampler.seed={seed}, Prompt.text={text}" for seed in (1, 2) for text in ("hat", "beard")],
        ),
    ],
    ids=str,
)
def test_a_dry_run_lists_the_runs_and_does_nothing(
    call: Any, out: Path, capsys: pytest.CaptureFixture[str], sets: list[str], runs: list[str]
) -> None:
    assert call(*sets)[0] == 0
    assert capsys.readouterr().out.splitlines() == [f"{place}: {run}" for place, run in enumerate(runs, 1)]
    assert not out.exists()


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (["Nobody.seed=1"], ["'Nobody'", "4: KSampler (KSampler)", "2: Prompt (Encode)"]),
        (["Encode.text=a"], ["2 nodes", "2: Prompt (Encode)", "3: Negative (Encode)", "use an id"]),
        (["4.model=1"], ["4.model", "connected to node 1", "seed, cfg, tiled"]),
        (["4.seed=one"], ["4.seed", "'one'"]),
        (["seed=1"], ["NODE.INPUT=VALUES", "'seed=1'"]),
        (["4.cfg=0:1:0"], ["4.cfg", "0:1:0"]),
        (["4.cfg=NaN"], ["4.cfg must be a number", "nan"]),
        (["4.tiled=1"], ["4.tiled must be true or false", "got 1"]),
        (["4.seed=1:1000000000"], ["at most 10000"]),
        (["4.seed=1", "KSampler.seed=2"], ["KSampler.seed is set twice"]),
        (["4.seed=1", "4.cfg=2", "2.text=a"], ["one or two"]),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named_with_what_there_is(
    call: Any, out: Path, sets: list[str], named: list[str]
) -> None:
    status, said = call(*sets)
    assert status == 2 and not out.exists()
    assert [part for part in named if part not in said] == []


def test_a_workflow_of_the_editor_is_refused_with_the_way_out(call: Any) -> None:
    status, said = call("4.seed=1", workflow={"nodes": [], "links": []})
    assert status == 2 and "Export (API)" in said


@pytest.mark.parametrize(
    ("argument", "expected"), [("4.strength=0:1:0.5", [0.0, 0.5, 1.0]), ("4.text=hat,20", ["hat", "20"])]
)
def test_an_input_that_the_workflow_leaves_out_is_swept(
    call: Any, serve: Any, argument: str, expected: list[Any]
) -> None:
    server = serve()
    assert call(argument, servers=(server,))[0] == 0
    assert [inputs[argument[2:].partition("=")[0]] for inputs in server.queued] == expected


@pytest.mark.parametrize(
    ("argument", "gone", "named"),
    [
        ("4.sed=1", False, "4.sed is not an input of KSampler"),
        ("4.mask=1", False, "4.mask is not an input of KSampler"),
        ("4.strength=1", True, "4.strength is not in the workflow, which has seed, cfg, tiled, and the server"),
    ],
)
def test_what_the_server_does_not_know_is_named(
    call: Any, serve: Any, out: Path, argument: str, gone: bool, named: str
) -> None:
    server = serve()
    server.gone = gone
    status, said = call(argument, servers=(server,))
    assert status == 2 and named in said
    assert not server.queued and not out.exists()


def test_servers_share_the_runs_and_each_picture_is_in_its_place(call: Any, serve: Any, out: Path) -> None:
    both_have_one = threading.Barrier(2, timeout=30)
    first_of_each = [lambda inputs: both_have_one.wait() and None if inputs["seed"] == 10 else None] * 2
    servers = [serve(answer) for answer in first_of_each]
    assert call("4.seed=10:250:120", "4.cfg=0,200", servers=tuple(servers))[0] == 0
    assert values(out) == [[10, 0], [10, 200], [130, 0], [130, 200], [250, 0], [250, 200]]
    assert {line["server"] for line in results(out)} == {server.address for server in servers}
    for line in results(out):
        with Image.open(out / line["files"][0]) as picture:
            assert picture.getpixel((0, 0)) == (*line["values"].values(), 0)
    expected = [(*pair, 0) for pair in values(out)]
    with Image.open(out / "contact_sheet.png") as sheet:
        places = [(x, y) for y in range(0, sheet.height, 8) for x in range(0, sheet.width, 8)]
        seen = dict.fromkeys(colour for place in places if (colour := sheet.getpixel(place)) in expected)
    assert list(seen) == expected


def test_a_second_call_does_only_what_is_missing(call: Any, serve: Any, out: Path) -> None:
    server = serve()
    assert call("4.seed=1:4", servers=(server,))[0] == 0
    (out / results(out)[2]["files"][0]).unlink()
    server.queued.clear()
    assert call("KSampler.seed=1,2,3,4", servers=(server,))[0] == 0
    assert [inputs["seed"] for inputs in server.queued] == [3]
    assert values(out) == [[1], [2], [3], [4]]


def test_another_sweep_in_the_same_folder_is_refused(call: Any, serve: Any, out: Path) -> None:
    server = serve()
    call("4.seed=1:2", servers=(server,))
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    status, said = call("4.seed=1:3", servers=(server,))
    assert status == 2 and "another sweep (other inputs" in said and "--output" in said
    status, said = call("4.seed=1:2", servers=(server,), workflow={**WORKFLOW, "9": WORKFLOW["2"]})
    assert status == 2 and "another sweep (other workflow" in said
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.parametrize("fate", ["gone", "without a file"])
def test_a_server_that_fails_gives_its_run_to_the_others(call: Any, serve: Any, out: Path, fate: str) -> None:
    failed = threading.Event()
    problem = {"message": "Value not in list", "details": "file: 'a.safetensors' not in []"}

    def fail(inputs: dict[str, Any]) -> Any:
        failed.set()
        if fate == "gone":
            raise ConnectionError
        return {"1": {"class_type": "Loader", "errors": [problem]}}

    # The other waits, so that the one that fails has had a run.
    servers = serve(fail), serve(lambda inputs: failed.wait(30) and None)
    status, said = call("4.seed=1:4", servers=servers)
    assert status == 0
    why = "does not answer" if fate == "gone" else "cannot run this workflow: Loader (node 1): Value not in list: file"
    assert f"{servers[0].address} {why}" in said
    assert values(out) == [[1], [2], [3], [4]]
    assert {line["server"] for line in results(out)} == {servers[1].address}


def test_without_any_server_left_what_is_done_is_kept(call: Any, serve: Any, out: Path) -> None:
    def go_away_at_3(inputs: dict[str, Any]) -> None:
        if inputs["seed"] == 3:
            raise ConnectionError

    status, said = call("4.seed=1:4", servers=(serve(go_away_at_3),))
    assert status == 1
    assert "no server is left" in said and "2 of 4 runs are done" in said
    assert values(out) == [[1], [2]]
    assert (out / "contact_sheet.png").exists()
    assert call("4.seed=1:4", servers=(serve(),))[0] == 0
    assert values(out) == [[1], [2], [3], [4]]


def test_a_picture_that_arrives_in_part_is_not_kept(call: Any, serve: Any, out: Path) -> None:
    server = serve()
    server.cut = 10
    status, said = call("4.seed=1", servers=(server,))
    assert status == 1 and "does not answer" in said
    assert [file.name for file in out.iterdir()] == ["sweep.json"]


def test_a_failing_run_is_reported_and_the_others_are_done(call: Any, serve: Any, out: Path) -> None:
    problem = {"message": "Value too big", "details": "seed"}
    refusals = {2: {"4": {"class_type": "KSampler", "errors": [problem]}}, 3: "seed must not be 3"}
    status, said = call("4.seed=1:4", servers=(serve(lambda inputs: refusals.get(inputs["seed"])),))
    assert status == 1
    assert "failed: KSampler.seed=2" in said and "KSampler (node 4): Value too big: seed" in said
    assert "failed: KSampler.seed=3" in said and "KSampler (node 4): seed must not be 3" in said
    assert values(out) == [[1], [4]]
