"""Sweep one or two inputs of a workflow over the queue of one or several ComfyUI servers, and make a contact sheet.

    python examples/sweep.py WORKFLOW.json --set "SEGAConcept.strength=0.5,1,2" --set "SEGASampler.seed=1:5"

WORKFLOW.json is in API format (in the editor: File > Export (API)). --set names a node by its title, class or id, then
an input of it, which the file may leave out. Values are separated by commas; 1:5 and 0:1:0.25 are ranges with both
ends; texts with commas are a JSON list: '["a hat, red", "glasses"]'. The first --set makes the rows of the sheet, the
second its columns.

The output folder gets the pictures, results.jsonl (one line per run: values, files, server), sweep.json (what was
swept) and contact_sheet.png. The same call again does only what is missing. Ctrl-C takes back what is queued. The exit
status is 0 when every run is done, 1 when some are not, 2 when the call is wrong or a file cannot be written, and 130
after Ctrl-C.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import io
import itertools
import json
import logging
import math
import os
import re
import sys
import textwrap
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

MAX_RUNS = 10_000
POLL_SECONDS = 0.2
ATTEMPTS, PAUSE_SECONDS, TIMEOUT_SECONDS = 5, 1.0, 30.0
COLUMNS, MAX_CELL, MAX_SHEET = 8, 256, 12_000
PAPER, INK, FAINT, EMPTY = "white", "#22242a", "#777a82", "#ececec"

Workflow = dict[str, dict[str, Any]]
log = logging.getLogger("sweep")


class SweepError(Exception):
    """The call cannot be carried out; the message says what there is instead."""


class RunFailed(Exception):
    """The server refused this run's values, or a node failed."""


class ServerUnusable(Exception):
    """The server went away, or cannot run this workflow."""


class Stopped(Exception):
    """The sweep is being stopped, and this run was taken back."""


@dataclass(frozen=True)
class Axis:
    """One swept input; its name has the node's title, or the id where several nodes have that title."""

    node: str
    input: str
    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """One combination of values; runs are numbered from 1, row by row."""

    number: int
    values: dict[str, Any]
    workflow: Workflow

    def __str__(self) -> str:
        texts = {name: as_text(value) for name, value in self.values.items()}
        return ", ".join(f"{name}={text if len(text) <= 40 else text[:39] + '…'}" for name, text in texts.items())


def as_text(value: Any) -> str:
    return " ".join(value.split()) or '""' if isinstance(value, str) else json.dumps(value)


def read_workflow(file: Path) -> Workflow:
    try:
        workflow = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SweepError(f"cannot read {file}: {error}") from error
    nodes = workflow.values() if isinstance(workflow, dict) else [None]
    if not all(isinstance(node, dict) and "class_type" in node and "inputs" in node for node in nodes):
        raise SweepError(f"{file} is not in API format; in the editor, use File > Export (API)")
    return workflow


def parse_axis(argument: str, workflow: Workflow, left_out: Callable[[str, str], Any]) -> Axis:
    """Return the axis that NODE.INPUT=VALUES asks for.

    `left_out` is asked, with class and input, for a value of an input that the workflow leaves out; None is no input.
    """
    target, _, text = argument.partition("=")
    node_name, _, name = target.rpartition(".")
    if not (node_name and name and text):
        raise SweepError(f"--set wants NODE.INPUT=VALUES, got {argument!r}")
    node = find_node(node_name, workflow)
    class_type, inputs = workflow[node]["class_type"], workflow[node]["inputs"]
    free = ", ".join(key for key, value in inputs.items() if not is_link(value)) or "none"
    try:
        current = inputs[name] if name in inputs else left_out(class_type, name)
    except ServerUnusable as error:
        raise SweepError(f"{target} is not in the workflow, which has {free}, and the server {error}") from error
    if current is None or is_link(current):
        problem = f"is connected to node {current[0]}" if current else f"is not an input of {class_type}"
        raise SweepError(f"{target} {problem}; inputs of this node with a value: {free}")
    title = title_of(workflow[node])
    unique = [title_of(other) for other in workflow.values()].count(title) == 1
    values = tuple(parse_values(text, current, target))
    return Axis(node, name, f"{title if unique else node}.{name}", values)


def find_node(name: str, workflow: Workflow) -> str:
    """Return the id of the node with this id, title or class: an id wins over a title, and that over a class."""

    def plain(text: str) -> str:
        return "".join(text.split()).casefold()

    titled = [key for key, node in workflow.items() if plain(title_of(node)) == plain(name)]
    of_class = [key for key, node in workflow.items() if plain(node["class_type"]) == plain(name)]
    found = [name] if name in workflow else titled or of_class
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} nodes are called {name!r}, use an id" if found else f"no node is called {name!r}"
    nodes = [f"\n  {key}: {title_of(workflow[key])} ({workflow[key]['class_type']})" for key in found or workflow]
    raise SweepError(f"{problem}:{''.join(nodes)}")


def title_of(node: dict[str, Any]) -> str:
    return node.get("_meta", {}).get("title") or node["class_type"]


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def parse_values(text: str, current: Any, target: str) -> Iterator[Any]:
    """Yield the values that the text lists; they are of the type of the workflow's own value."""
    try:
        values = json.loads(text) if text.startswith("[") else [item.strip() for item in text.split(",")]
        if not text.startswith("[") and not isinstance(current, str):
            values = [v for item in values for v in (number_range(item) if ":" in item else [json.loads(item)])]
    except (ValueError, ArithmeticError):
        raise SweepError(f"{target}: cannot read the values {text!r}") from None
    kinds = {str: "a text", bool: "true or false"}
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (isinstance(value, type(current)) if type(current) in kinds else number):
            kind = kinds.get(type(current), "a number")
            raise SweepError(f"{target} must be {kind} (such as {json.dumps(current)}), got {value!r}")
        yield value


def number_range(text: str) -> Iterator[int | float]:
    """Yield the numbers of FIRST:LAST or FIRST:LAST:STEP; counted in decimals, so that 0:1:0.1 holds 0.3."""
    first, last, *rest = (Decimal(part.strip()) for part in text.split(":"))
    step = rest[0] if rest else Decimal(1 if last >= first else -1)
    if len(rest) > 1 or (last - first) / step < 0:
        raise ValueError(text)
    whole = "." not in text and "e" not in text.lower()
    for index in range(min(int((last - first) / step), MAX_RUNS) + 1):
        yield int(first + index * step) if whole else float(first + index * step)


def make_runs(workflow: Workflow, axes: Sequence[Axis]) -> list[Run]:
    if len({(axis.node, axis.input) for axis in axes}) < len(axes):
        raise SweepError(f"{axes[0].name} is set twice")
    if (count := math.prod(len(axis.values) for axis in axes)) > MAX_RUNS:
        raise SweepError(f"these are {count} runs; at most {MAX_RUNS} are allowed")
    runs = []
    for number, values in enumerate(itertools.product(*(axis.values for axis in axes)), start=1):
        changed = json.loads(json.dumps(workflow))
        for axis, value in zip(axes, values, strict=True):
            changed[axis.node]["inputs"][axis.input] = value
        runs.append(Run(number, {axis.name: value for axis, value in zip(axes, values, strict=True)}, changed))
    return runs


class Folder:
    """The output folder. Whenever the sweep is stopped, each file in it is whole."""

    def __init__(self, path: Path, workflow: Workflow, axes: Sequence[Axis]) -> None:
        self.path, self.lock = path, threading.Lock()
        self.results: dict[int, dict[str, Any]] = {}
        inputs = [{"node": axis.node, "input": axis.input, "values": list(axis.values)} for axis in axes]
        sweep, file, results = {"inputs": inputs, "workflow": workflow}, path / "sweep.json", path / "results.jsonl"
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            if different := " and ".join(key for key in sweep if before.get(key) != sweep[key]):
                raise SweepError(f"{path} holds another sweep (other {different}, see {file}); choose another --output")
        else:
            path.mkdir(parents=True, exist_ok=True)
            write(file, json.dumps(sweep, indent=1).encode())
        if results.exists():
            lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
            self.results = {
                line["run"]: line for line in lines if all((path / name).exists() for name in line["files"])
            }

    def keep(self, run: Run, server: str, pictures: Sequence[tuple[str, bytes]]) -> None:
        """Write a run's pictures, and only then its line in the results."""
        label = "_".join(f"{name.rpartition('.')[2]}={as_text(value)}" for name, value in run.values.items())
        stem, files = f"{run.number:04d}_" + re.sub(r"[^\w.=-]+", "-", label)[:60], []
        for index, (suffix, content) in enumerate(pictures, start=1):
            files.append(f"{stem}{f'_{index}' if len(pictures) > 1 else ''}{suffix}")
            write(self.path / files[-1], content)
        with self.lock:
            self.results[run.number] = {"run": run.number, "values": run.values, "files": files, "server": server}
            lines = [json.dumps(self.results[number]) + "\n" for number in sorted(self.results)]
            write(self.path / "results.jsonl", "".join(lines).encode())


def write(file: Path, content: bytes) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(content)
    os.replace(part, file)


class Server:
    """One server over HTTP: queue a run, wait for it by polling, take it back."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        self.address, self.stop = address, stop
        self.url = (address if "://" in address else f"http://{address}").rstrip("/")
        # A proxy in the environment is not for the machines that one's ComfyUI runs on.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, path: str, content: Any = None) -> tuple[int, bytes]:
        """Return status and body of the answer; with content, POST it as JSON."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        attempt = 0
        while True:
            attempt += 1
            try:
                with self.opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
            except (OSError, http.client.HTTPException) as error:
                if attempt == ATTEMPTS or self.stop.wait(PAUSE_SECONDS):
                    raise ServerUnusable(f"does not answer: {getattr(error, 'reason', error)}") from error

    def ask(self, path: str, content: Any = None) -> dict[str, Any]:
        """Return the answer's JSON object."""
        status, body = self.request(path, content)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        # A workflow that is refused has the status 400, and its problems in the body.
        if status not in (200, 400) or not isinstance(answer, dict):
            raise ServerUnusable(f"does not answer as ComfyUI does (status {status} for {path})")
        return answer

    def value_for(self, class_type: str, name: str) -> Any:
        """Return a value of an input's type, as the server describes the node; None if it has no such input."""
        node = self.ask(f"/object_info/{urllib.parse.quote(class_type)}").get(class_type, {})
        groups = [node.get("input", {}).get(group, {}) for group in ("required", "optional")]
        kinds = {key: spec[0] for group in groups for key, spec in group.items()}
        # A list is the older way to say COMBO.
        kind = "COMBO" if isinstance(kinds.get(name), list) else kinds.get(name)
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": "", "COMBO": ""}.get(kind)

    def do(self, run: Run, swept: set[str]) -> list[tuple[str, bytes]]:
        """Return suffix and content of each picture that the run saves, or of its previews where it saves none."""
        entry = self.wait(self.queue(run, swept))
        if entry["status"]["status_str"] != "success":
            raise RunFailed(failure_in(entry["status"]["messages"]))
        images = [image for output in entry["outputs"].values() for image in output.get("images", [])]
        images = [image for image in images if image["type"] == "output"] or images
        if not images:
            raise RunFailed("the workflow made no picture")
        pictures = []
        for image in images:
            status, content = self.request("/view?" + urllib.parse.urlencode(image))
            if status != 200:
                raise RunFailed(f"the server does not have its picture {image['filename']} any more")
            pictures.append((PurePosixPath(image["filename"]).suffix, content))
        return pictures

    def queue(self, run: Run, swept: set[str]) -> str:
        """Return the id under which the run is queued."""
        answer = self.ask("/prompt", {"prompt": run.workflow})
        errors = answer.get("node_errors") or {}
        if "prompt_id" in answer and not errors:
            return answer["prompt_id"]
        if "prompt_id" in answer:
            # The server would run the valid outputs without the others.
            self.take_back(answer["prompt_id"])
        problems = "; ".join(
            f"{node['class_type']} (node {key}): {error['message']}: {error['details']}"
            for key, node in errors.items()
            for error in node["errors"]
        )
        if swept & errors.keys():
            raise RunFailed(problems)
        problems = problems or answer.get("error", {}).get("message", "it does not say why")
        raise ServerUnusable(f"cannot run this workflow: {problems}")

    def wait(self, prompt_id: str) -> dict[str, Any]:
        """Return what the history says of a run, once it is there."""
        poll = 0
        while True:
            poll += 1
            if self.stop.wait(POLL_SECONDS):
                self.take_back(prompt_id)
                raise Stopped
            # In this order, since a run goes from the queue to the history.
            gone = poll % 10 == 0 and prompt_id not in json.dumps(self.ask("/queue"))
            if entry := self.ask(f"/history/{prompt_id}").get(prompt_id):
                return entry
            if gone:
                raise RunFailed("it was deleted from the queue, or the server was restarted")

    def take_back(self, prompt_id: str) -> None:
        self.request("/queue", {"delete": [prompt_id]})
        self.request("/interrupt", {"prompt_id": prompt_id})


def failure_in(messages: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Return what a run's history says about its end."""
    for kind, data in messages:
        if kind == "execution_error":
            return f"{data['node_type']} (node {data['node_id']}): {data['exception_message'].strip()}"
        if kind == "execution_interrupted":
            return f"interrupted on the server at {data['node_type']} (node {data['node_id']})"
    return "the server does not say why"


def work(server: Server, waiting: deque[Run], unfinished: set[int], folder: Folder, swept: set[str]) -> None:
    """Do one waiting run after the other on one server, until none is unfinished (neither done nor failed) anywhere."""
    while unfinished and not server.stop.is_set():
        try:
            run = waiting.popleft()
        except IndexError:
            # Another server may yet give its run back.
            server.stop.wait(POLL_SECONDS)
            continue
        try:
            folder.keep(run, server.address, server.do(run, swept))
            log.info("%d done: %s on %s", len(folder.results), run, server.address)
        except RunFailed as error:
            log.error("failed: %s on %s: %s", run, server.address, error)
        except ServerUnusable as error:
            log.error("%s %s; given back: %s", server.address, error, run)
            waiting.appendleft(run)
            return
        except Stopped:
            return
        except BaseException:
            server.stop.set()
            raise
        unfinished.discard(run.number)


def sweep(runs: Sequence[Run], addresses: Sequence[str], folder: Folder, swept: set[str]) -> bool:
    """Do the runs that the folder does not have; return whether Ctrl-C came."""
    stop = threading.Event()
    waiting = deque(run for run in runs if run.number not in folder.results)
    unfinished = {run.number for run in waiting}
    with concurrent.futures.ThreadPoolExecutor(len(addresses)) as pool:
        workers = [pool.submit(work, Server(a, stop), waiting, unfinished, folder, swept) for a in addresses]
        try:
            # In short waits, which Ctrl-C ends on every system.
            while concurrent.futures.wait(workers, timeout=POLL_SECONDS).not_done:
                pass
        except KeyboardInterrupt:
            log.error("stopping: what is queued is taken back")
            stop.set()
    for worker in workers:
        worker.result()
    if unfinished and not stop.is_set():
        log.error("no server is left")
    return stop.is_set()


def contact_sheet(axes: Sequence[Axis], folder: Folder) -> Image.Image:
    """Return each run's first picture: one input in lines of labelled pictures, two as rows and columns."""
    two = len(axes) == 2
    columns = len(axes[1].values) if two else min(COLUMNS, len(axes[0].values))
    runs = math.prod(len(axis.values) for axis in axes)
    rows = math.ceil(runs / columns)
    limit = max(1, min(MAX_CELL, MAX_SHEET // max(columns, rows)))
    pictures = {number: thumbnail(folder.path / line["files"][0], limit) for number, line in folder.results.items()}
    sizes = [picture.size for picture in pictures.values() if picture] or [(limit, limit)]
    cell_x, cell_y = max(size[0] for size in sizes), max(size[1] for size in sizes)
    font, gap, margin = ImageFont.load_default(14), 6, 20
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def wrapped(values: Sequence[Any], width: int) -> tuple[list[str], tuple[float, float]]:
        """Return the labels, in lines no wider than this, and the size of the largest."""
        letters = max(4, int(width / font.getlength("n")))
        texts = [textwrap.wrap(as_text(value), letters, max_lines=3, placeholder=" …") for value in values]
        labels = ["\n".join(lines) for lines in texts]
        boxes = [pen.textbbox((0, 0), label, font) for label in labels]
        return labels, (max(box[2] for box in boxes), max(box[3] for box in boxes))

    above, (_, height) = wrapped(axes[-1].values, cell_x)
    left, (width, _) = wrapped(axes[0].values, 200) if two else ([], (-2 * gap, 0))
    title = f"down: {axes[0].name}\nacross: {axes[1].name}" if two else axes[0].name
    _, _, title_width, title_height = pen.textbbox((0, 0), title, font)
    x0, y0 = int(margin + width + 2 * gap), int(margin + title_height + 3 * gap + height + gap)
    step_x, step_y = cell_x + gap, int(cell_y + gap + (0 if two else height + 2 * gap))
    size = (
        max(x0 + columns * step_x - gap, int(margin + title_width)) + margin,
        y0 + (rows - 1) * step_y + cell_y + margin,
    )
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((margin, margin), title, FAINT, font)
    for index in range(runs):
        row, column = divmod(index, columns)
        x, y = x0 + column * step_x, y0 + row * step_y
        if picture := pictures.get(index + 1):
            sheet.paste(picture, (x + (cell_x - picture.width) // 2, y + (cell_y - picture.height) // 2))
        else:
            pen.rectangle((x, y, x + cell_x - 1, y + cell_y - 1), EMPTY)
        if row == 0 or not two:
            pen.text((x + cell_x / 2, y - gap), above[index], INK, font, anchor="md", align="center")
        if column == 0 and two:
            pen.text((x - 2 * gap, y + cell_y / 2), left[row], INK, font, anchor="rm", align="right")
    return sheet


def thumbnail(file: Path, limit: int) -> Image.Image | None:
    """Return a small copy of a picture, or None where the file is something else, such as a video."""
    try:
        with Image.open(file) as picture:
            small = picture.convert("RGB")
    except UnidentifiedImageError:
        return None
    small.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return small


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path, metavar="WORKFLOW.json", help="in API format")
    parser.add_argument(
        "--set", action="append", required=True, metavar="NODE.INPUT=VALUES", help="what to sweep; once or twice"
    )
    parser.add_argument("--server", action="append", metavar="HOST:PORT", help="default: 127.0.0.1:8188; repeatable")
    parser.add_argument("--output", type=Path, default="sweep", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and do nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if len(options.set) > 2:
            raise SweepError(f"one or two inputs can be swept, not {len(options.set)}")
        workflow = read_workflow(options.workflow)
        addresses = list(dict.fromkeys(options.server or ["127.0.0.1:8188"]))
        first = Server(addresses[0], threading.Event())
        axes = [parse_axis(argument, workflow, first.value_for) for argument in options.set]
        runs = make_runs(workflow, axes)
        if options.dry_run:
            sys.stdout.writelines(f"{run.number}: {run}\n" for run in runs)
            return 0
        folder = Folder(options.output, workflow, axes)
        interrupted = sweep(runs, addresses, folder, {axis.node for axis in axes})
        if folder.results:
            content = io.BytesIO()
            contact_sheet(axes, folder).save(content, "PNG")
            write(options.output / "contact_sheet.png", content.getvalue())
    except (SweepError, OSError) as error:
        log.error("error: %s", error)
        return 2
    missing = len(runs) - len(folder.results)
    again = "; the same call again does the rest" if missing else ""
    log.info("%d of %d runs are done, in %s%s", len(folder.results), len(runs), options.output, again)
    return 130 if interrupted else 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
