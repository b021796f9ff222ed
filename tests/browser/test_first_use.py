"""A first-time user's way: install the packed archive, open the template, type a word, run, open the help."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dev.host.server import DEMO_PACK, Server
from support.faces import judged
from support.renderers import NODES2_FIRST

# What suits the demo model, by the titles of the template's nodes.
OWN_VALUES = {
    "Size and number of images": {"width": 128, "height": 128, "batch_size": 4},
    "Sample with the concepts": {"cfg": 3.5},
    "Prompt": {"value": "a face, smiling, brown hair, light skin, blue background"},
}


@pytest.fixture(scope="module")
def server(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A ComfyUI into which the registry's archive was unpacked, as the Manager does."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder / "custom_nodes" / "semantic-guidance")
    server = Server(
        DEMO_PACK, folder=folder, arguments=["--preview-method", "latent2rgb"], env={"OMP_NUM_THREADS": "1"}
    )
    with server:
        yield server


@pytest.mark.compat("Editor", "from the packed archive to the first edited picture and the help")
@NODES2_FIRST
def test_from_the_packed_archive_to_the_first_edit_and_the_help(
    opened: Callable[..., Any], server: Any, renderer: str
) -> None:
    editor = opened(renderer)
    page = editor.page

    def keep(name: str) -> None:
        editor.screenshot(f"first-use-{name}" + ("" if renderer == "nodes2" else f"-{renderer}"))

    page.get_by_role("button", name="Templates").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("semantic-guidance", exact=True).first.click()
    card = dialog.get_by_test_id("template-workflow-first_edit")
    card.scroll_into_view_if_needed()
    card.locator("img").first.evaluate("async (image) => { await image.decode() }")
    keep("1-templates")
    card.click()
    page.wait_for_function("() => app.graph._nodes.some(({ comfyClass }) => comfyClass === 'SEGASampler')")
    dialog.wait_for(state="hidden")
    # It opens as an app: a form and a picture.
    expect(editor.app_fields).to_be_visible()
    keep("2-opened")
    editor.use_own_model(OWN_VALUES)
    editor.leave_app()

    concept, sampler, save = (editor.node(kind) for kind in ("SEGAConcept", "SEGASampler", "SaveImage"))
    editor.show()
    keep("3-graph")
    before = editor.api_workflow()[str(concept)]["inputs"]
    editor.type_text(concept, "hat")
    expect(editor.view(concept).get_by_text("blue background, hat")).to_be_visible()
    expect(editor.view(sampler).get_by_text("hat")).to_be_visible()
    assert editor.api_workflow()[str(concept)]["inputs"] == {**before, "text": "hat"}

    editor.show(concept, sampler, save)
    page.get_by_test_id("queue-button").click()
    expect(editor.view(sampler).get_by_text("1 of 1 act")).to_be_visible(timeout=60_000)
    keep("4-running")
    page.wait_for_function("(id) => app.nodeOutputs[id]?.images?.length === 4", arg=save, timeout=60_000)
    if renderer == "nodes2":
        picture = editor.drawn(save).locator("img").first
        assert picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") == 128
    else:
        page.wait_for_function("(id) => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth === 128", arg=save)
    keep("5-picture")
    edited = judged(editor.pictures(save))
    # The template's own advice: compare with the picture without the edit.
    editor.set_mode(concept, 4)
    assert editor.run() == "success"
    plain = judged(editor.pictures(save))
    assert edited["hat"].count("yes") >= 3 > plain["hat"].count("yes")
    assert edited["background"] == plain["background"]
    editor.set_mode(concept, 0)

    editor.open_help(concept)
    page.get_by_role("heading", name="How to use it").wait_for()
    shown = page.locator(".node-help-content img").first
    assert shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") > 100
    keep("6-help")
