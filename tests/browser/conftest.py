"""The real editor in headless Chromium, on a real server."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    TimeoutError,
    expect,
    sync_playwright,
)

from dev.host.client import Client
from dev.host.packages import COMFYUI, REPO
from dev.host.server import DEMO_PACK, PACK, Server

# Makes an error of each deprecated thing of the editor that a script of ours uses.
COMPLAIN_OF_DEPRECATED = """() => {
  Error.stackTraceLimit = 50
  LiteGraph.alwaysRepeatWarnings = true
  LiteGraph.onDeprecationWarning.push((message) => {
    if (new Error().stack.includes("/extensions/semantic-guidance/")) console.error(message)
  })
}"""
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "99.0.0",
    "Comfy.Release.ShowUpdates": False,
    "Comfy.Workflow.Persist": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.RightSidePanel.ShowErrorsTab": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    # Chromium draws on the CPU here.
    "LiteGraph.Canvas.MaximumFps": 20,
    # The tours for first-time users.
    "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
}
# What the editor itself says on a new server that cannot reach the internet.
NOISE = (
    "/user.css",
    "/api/userdata",
    "Content Security Policy",
    "Error fetching file size",
    "ComfyApp graph accessed before initialization",
    # The search box of older editors, which is gone once a node is chosen.
    "onOptionSelect",
    # It looks for help in its language first; the English pages are the ones without a language.
    "/en.md",
)
# What a workflow may leave out at a concept.
CONCEPT_FIELDS = {"instead_of", "direction", "strength", "start_percent", "end_percent", "attention_threshold"}
SIZE = {"width": 1600, "height": 1000}
PATIENCE = 20_000  # Milliseconds, for a busy machine.

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Server(
        {**PACK, **DEMO_PACK},
        folder=tmp_path_factory.mktemp("server"),
        arguments=["--preview-method", "latent2rgb"],
        env={"OMP_NUM_THREADS": "1"},
    ) as running:
        # The picture that every ComfyUI has.
        shutil.copy(COMFYUI / "input" / "example.png", running.folder / "input")
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = os.environ.get("SEGA_BROWSER") or shutil.which("chromium")
    if program is None:
        pytest.fail("SEGA_BROWSER must name the program of Chromium or Chrome; `nox -s tests` does", pytrace=False)
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*quiet, "--no-first-run"])
        yield browser
        browser.close()


class Editor:
    """A page with the editor, and what a user does there."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        # What the editor asks of other hosts is no matter of ours, and cannot be reached.
        where = message.location.get("url", "")
        text = f"{message.text} ({where})"
        ours = (not where or where.startswith(self.url)) and not any(noise in text for noise in NOISE)
        if message.type == "error" and ours:
            self.errors.append(text)

    def open(self, renderer: str = "canvas", locale: str = "en", extension: bool = True, **settings: Any) -> None:
        """Load the editor with an empty graph, if need be with an extension of ours that fails to load."""
        if not extension:
            self.page.route("**/extensions/semantic-guidance/**", lambda route: route.abort())
        self.renderer = renderer
        self.settings = {**SETTINGS, "Comfy.VueNodes.Enabled": renderer == "nodes2", "Comfy.Locale": locale, **settings}
        self._store_settings()
        self.page.goto(self.url)
        self.wait_until_ready(extension)
        self.evaluate(COMPLAIN_OF_DEPRECATED)
        self.evaluate("() => app.graph.clear()")

    def wait_until_ready(self, extension: bool = True) -> None:
        """Wait until the editor knows our nodes and runs our extension."""
        self.page.wait_for_function(
            """(extension) => window.app?.graph && window.LiteGraph?.registered_node_types?.SEGASampler
              && (!extension || app.extensions.some(({ name }) => name.startsWith("SemanticGuidance.")))""",
            arg=extension,
            timeout=60_000,
        )
        self.page.wait_for_function("() => !document.querySelector('.p-progressspinner, #splash-loader')")

    def _store_settings(self) -> None:
        """Give the server, which has one set for all pages, those that a page reads while it loads."""
        Client(self.url)._post("/settings", self.settings)

    def reload(self) -> None:
        """Load the page anew."""
        self._store_settings()
        self.page.reload()
        self.wait_until_ready()

    def overlapping(self) -> list[str]:
        """Return the titles of nodes that are drawn one over the other, pair by pair."""
        return self.evaluate(
            """() => {
              const boxOf = ({ id, boundingRect: [left, top, width, height] }) =>
                document.querySelector(`[data-node-id="${id}"]`)?.getBoundingClientRect() ??
                { left, top, right: left + width, bottom: top + height }
              const apart = (one, other) =>
                one.right <= other.left || other.right <= one.left || one.bottom <= other.top || other.bottom <= one.top
              const boxes = app.graph._nodes.map((node) => ({ title: node.title, box: boxOf(node) }))
              return boxes.flatMap((one, i) => {
                const over = boxes.slice(i + 1).filter(({ box }) => !apart(one.box, box))
                return over.map(({ title }) => `${one.title} / ${title}`)
              })
            }"""
        )

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow, in the editor's or in API format, as a graph."""
        if "nodes" in workflow:
            self.load_as_saved({**workflow, "extra": {**workflow.get("extra", {}), "linearMode": False}})
        else:
            # Saved and opened again, since older editors leave all nodes of Nodes 2.0 in one place.
            self.evaluate(
                """async (workflow) => {
                  await app.loadApiJson(workflow, "workflow")
                  const saved = app.graph.serialize()
                  saved.nodes.forEach((node, place) => {
                    node.pos = [100 + 480 * (place % 4), 100 + 700 * Math.floor(place / 4)]
                  })
                  await app.loadGraphData(saved)
                }""",
                workflow,
            )

    def load_as_saved(self, workflow: dict[str, Any]) -> None:
        """Open a workflow in the editor's format as a graph or an app, whichever it says."""
        self.evaluate("async (workflow) => { await app.loadGraphData(workflow) }", workflow)

    def leave_app(self) -> None:
        """Go from an app to its graph."""
        self.evaluate("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
        self.app_fields.wait_for(state="hidden")

    @property
    def app_fields(self) -> Locator:
        """The form of an app."""
        return self.page.get_by_test_id("linear-widgets")

    def api_workflow(self) -> dict[str, Any]:
        """Return what the editor would post now."""
        return self.evaluate("async () => (await app.graphToPrompt()).output")

    def use_own_model(self, values: dict[str, dict[str, Any]]) -> None:
        """Put the demo model in the place of a template's checkpoint, and values into nodes by their titles."""
        self.evaluate(
            """(values) => {
              const loader = app.graph._nodes.find(({ comfyClass }) => comfyClass === "CheckpointLoaderSimple")
              const model = LiteGraph.createNode("SEGADemoModel")
              app.graph.add(model)
              model.pos = [...loader.pos]
              loader.outputs.forEach(({ links }, slot) => {
                for (const id of [...(links ?? [])]) {
                  const { target_id, target_slot } = app.graph.getLink(id)
                  model.connect(slot, app.graph.getNodeById(target_id), target_slot)
                }
              })
              app.graph.remove(loader)
              for (const node of app.graph._nodes) {
                for (const [name, value] of Object.entries(values[node.title] ?? {})) {
                  node.widgets.find((widget) => widget.name === name).value = value
                }
              }
            }""",
            values,
        )

    def drop(self, node_id: int, name: str, content: bytes) -> None:
        """Drop a file on a node, as from a file manager."""
        x, y = self.place(node_id)
        transfer = self.page.evaluate_handle(
            """([name, content]) => {
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))
              const transfer = new DataTransfer()
              transfer.items.add(new File([bytes], name, { type: "image/png" }))
              return transfer
            }""",
            [name, base64.b64encode(content).decode()],
        )
        target = self.drawn(node_id) if self.renderer == "nodes2" else self.page.locator("#graph-canvas")
        for event in ("dragenter", "dragover", "drop"):
            target.dispatch_event(event, {"dataTransfer": transfer, "clientX": x, "clientY": y + 60})

    def open_search(self) -> Locator:
        """Double-click on the empty graph; return the field of the node search."""
        field = self.page.locator("input:focus")
        # The editor takes no double click while it is still at work on the graph before.
        for _ in range(3):
            self.page.wait_for_timeout(400)
            self.page.mouse.dblclick(800, 600)
            with contextlib.suppress(TimeoutError):
                field.wait_for(timeout=5000)
                break
        return field

    def show(self, *node_ids: int) -> None:
        """Bring nodes, or the whole graph, into the middle of the page."""
        self.evaluate(
            """(ids) => {
              const nodes = ids.length ? ids.map((id) => app.canvas.graph.getNodeById(id)) : app.canvas.graph._nodes
              const bounds = nodes.map(({ pos: [x, y], size: [w, h] }) => [x, y - 30, x + w, y + h])
              const [left, top] = [0, 1].map((side) => Math.min(...bounds.map((bound) => bound[side])))
              const [right, bottom] = [2, 3].map((side) => Math.max(...bounds.map((bound) => bound[side])))
              const { clientWidth: width, clientHeight: height } = app.canvas.canvas
              const ds = app.canvas.ds
              ds.scale = Math.min((width - 160) / (right - left), (height - 160) / (bottom - top), 1)
              ds.offset[0] = (width + 60) / ds.scale / 2 - (left + right) / 2
              ds.offset[1] = (height + 30) / ds.scale / 2 - (top + bottom) / 2
              app.canvas.setDirty(true, true)
            }""",
            node_ids,
        )
        self.page.wait_for_timeout(400)

    def set_values(self, node_id: int, **values: Any) -> None:
        """Write into a node's fields."""
        self.evaluate(
            """([id, values]) => {
              for (const widget of app.canvas.graph.getNodeById(id).widgets) {
                if (Object.hasOwn(values, widget.name)) widget.value = values[widget.name]
              }
            }""",
            [node_id, values],
        )

    def run(self) -> str:
        """Queue the workflow and wait until it is over; return how it ended: success, error or interrupted."""
        return self.evaluate(
            """async () => {
              const over = new Promise((resolve) => {
                for (const end of ["success", "error", "interrupted"]) {
                  app.api.addEventListener(`execution_${end}`, () => resolve(end), { once: true })
                }
              })
              await app.queuePrompt(0)
              const end = await over
              await new Promise((resolve) => setTimeout(resolve, 500))
              return end
            }"""
        )

    def interrupt(self) -> None:
        """Stop the running workflow."""
        self.evaluate(
            """async () => {
              const over = new Promise((resolve) => app.api.addEventListener("execution_interrupted", resolve))
              await app.api.interrupt()
              await over
            }"""
        )

    def place(self, node_id: int, widget: str | None = None) -> tuple[float, float]:
        """Return where a node's title lies on the page, or on the canvas the middle of a field."""
        return self.evaluate(
            """([id, name]) => {
              const { left, top } = app.canvas.canvas.getBoundingClientRect()
              const { scale, offset } = app.canvas.ds
              const { pos, size, widgets } = app.canvas.graph.getNodeById(id)
              const y = name ? widgets.find((widget) => widget.name === name).y + 10 : -15
              return [left + (pos[0] + size[0] / 2 + offset[0]) * scale, top + (pos[1] + y + offset[1]) * scale]
            }""",
            [node_id, widget],
        )

    def open_menu(self, node_id: int) -> None:
        """Right-click on a node's title."""
        self.page.mouse.click(*self.place(node_id), button="right")

    def open_help(self, node_id: int) -> None:
        """Select a node and press the button for its help."""
        self.show(node_id)
        self.page.mouse.click(*self.place(node_id))
        self.page.get_by_test_id("info-button").click()

    def drawn(self, node_id: int) -> Locator:
        """Return a node of Nodes 2.0."""
        return self.page.locator(f'[data-node-id="{node_id}"]')

    def row(self, node_id: int, widget: str) -> Locator:
        """Return a field of Nodes 2.0."""
        return self.drawn(node_id).locator(".lg-node-widget").filter(has_text=widget).first

    def pick(self, node_id: int, widget: str, value: str) -> None:
        """Choose from a field's list."""
        if self.renderer == "nodes2":
            self.row(node_id, widget).locator("[role=combobox]:visible, .p-select").first.click()
            self.page.get_by_role("option", name=value, exact=True).click()
        else:
            self.page.mouse.click(*self.place(node_id, widget))
            self.page.locator(".litecontextmenu .litemenu-entry").get_by_text(value, exact=True).click()

    def type_text(self, node_id: int, text: str) -> None:
        """Write into a node's first field of text."""
        if self.renderer == "nodes2":
            self.drawn(node_id).get_by_role("textbox").first.fill(text)
        else:
            self._element(node_id, "customtext").fill(text)

    def type_number(self, node_id: int, widget: str, value: float) -> None:
        """Write into a number's field."""
        if self.renderer == "nodes2":
            field = self.row(node_id, widget).locator("input").last
            # What lies over the field takes drags, and gives clicks on.
            field.click(force=True)
        else:
            self.page.mouse.dblclick(*self.place(node_id, widget))
            field = self.page.locator(".graphdialog input")
        field.fill(str(value))
        field.press("Enter")

    def set_mode(self, node_id: int, mode: int) -> None:
        """Let a node run (0), mute it (2) or bypass it (4)."""
        self.evaluate(
            "([id, mode]) => { app.canvas.graph.getNodeById(id).mode = mode; app.graph.change() }", [node_id, mode]
        )

    def undo(self) -> None:
        self._press_on_canvas("Control+z")

    def redo(self) -> None:
        self._press_on_canvas("Control+y")

    def _press_on_canvas(self, keys: str) -> None:
        """Press keys that put other nodes into the graph, and wait for these."""
        self.evaluate("() => { for (const node of app.graph._nodes) node.wasThere = true }")
        # A menu that closes may still take the focus, and the keys with it.
        for _ in range(3):
            self.page.wait_for_timeout(500)
            self.page.locator("#graph-canvas").focus()
            self.page.keyboard.press(keys)
            with contextlib.suppress(TimeoutError):
                self.page.wait_for_function("() => !app.graph._nodes.some((node) => node.wasThere)", timeout=5000)
                return
        raise AssertionError(f"{keys} put no other nodes into the graph")

    def node(self, class_type: str, place: int = 0) -> int:
        """Return the id of a node of a class."""
        return self.evaluate(
            "([type, place]) => app.canvas.graph._nodes.filter((node) => node.comfyClass === type)[place].id",
            [class_type, place],
        )

    def value(self, node_id: int, widget: str) -> Any:
        return self.evaluate(
            "([id, name]) => app.canvas.graph.getNodeById(id).widgets.find((widget) => widget.name === name).value",
            [node_id, widget],
        )

    def outputs(self, node_id: int) -> dict[str, Any]:
        """Return what a node of the last run showed."""
        return self.evaluate("(id) => app.nodeOutputs[id]", str(node_id))

    def pictures(self, node_id: int) -> list[Image.Image]:
        """Return the pictures that a node of the last run saved."""
        client = Client(self.url)
        return [Image.open(BytesIO(client.image(image))).convert("RGB") for image in self.outputs(node_id)["images"]]

    def view(self, node_id: int) -> Locator:
        """Return what the extension shows in a node."""
        return self._element(node_id, "sega_")

    def _element(self, node_id: int, kind: str) -> Locator:
        """Return the HTML of a node's first widget of a kind, drawn on the canvas or not."""
        self.evaluate(
            """([id, kind]) => {
              const { widgets } = app.canvas.graph.getNodeById(id)
              const { element } = widgets.find(({ type }) => String(type).startsWith(kind))
              element.dataset.node = `${kind}${id}`
            }""",
            [node_id, kind],
        )
        return self.page.locator(f'[data-node="{kind}{node_id}"]')

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page for a look."""
        self.page.screenshot(path=REPO / ".host" / "screenshots" / COMFYUI.name / f"{name}.png")


@pytest.fixture(scope="session")
def kept() -> dict[Any, Editor]:
    """The pages in English that stay open, by server and renderer: loading the editor takes longer than most tests."""
    return {}


@pytest.fixture
def opened(browser: Browser, server: Any, kept: dict[Any, Editor]) -> Iterator[Callable[..., Editor]]:
    """Open the editor with a renderer, a language and settings; when the test ends it must not have complained."""
    used: list[Editor] = []

    def load_editor(renderer: str, locale: str, settings: dict[str, Any]) -> Editor:
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        context.route(lambda url: not url.startswith((server.url, "data:", "blob:")), lambda route: route.abort())
        editor = Editor(context, server.url)
        used.append(editor)
        editor.open(renderer, locale, **settings)
        return editor

    def open_editor(renderer: str = "canvas", locale: str = "en", own: bool = False, **settings: Any) -> Editor:
        if own or locale != "en" or settings:
            return load_editor(renderer, locale, settings)
        key = (server.url, renderer)
        if key not in kept:
            kept[key] = load_editor(renderer, locale, settings)
        elif kept[key] not in used:
            used.append(kept[key])
            kept[key].evaluate("() => app.canvas.startRendering()")
        return kept[key]

    yield open_editor
    complaints = []
    for editor in used:
        complaints += editor.errors
        editor.errors.clear()
        if editor in kept.values():
            # Otherwise it draws all the time.
            editor.evaluate("() => app.canvas.stopRendering()")
        else:
            editor.page.context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def demo_workflow() -> Callable[..., dict[str, Any]]:
    """Return a shipped workflow for the demo model, with few steps and images, and with other values at its nodes.

    Each has a seed of its own, unless it is given: what the server has made before it does not make again.
    """
    from dev.demo import workflows

    seeds = itertools.count()

    def load(name: str = "first_edit", steps: int = 6, batch: int = 1, **inputs: Any) -> dict[str, Any]:
        workflow = workflows.load(name)
        for node in workflow.values():
            given = {"steps": steps, "batch_size": batch, "seed": next(seeds), **inputs}
            taken = node["inputs"].keys() | (CONCEPT_FIELDS if node["class_type"] == "SEGAConcept" else set())
            node["inputs"].update({key: given[key] for key in taken & given.keys()})
        return workflow

    return load


@pytest.fixture
def shown(opened: Callable[..., Editor], demo_workflow: Callable[..., dict[str, Any]]) -> Callable[..., Editor]:
    """Show a shipped workflow for the demo model in the editor, with other values at its nodes."""

    def show(renderer: str = "canvas", name: str = "first_edit", **inputs: Any) -> Editor:
        editor = opened(renderer)
        editor.load(demo_workflow(name, **inputs))
        return editor

    return show
