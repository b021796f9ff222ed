"""The editor in each of the pack's languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dev.host.packages import REPO

pytestmark = pytest.mark.compat("Editor", "English, Chinese and Japanese: nodes, fields, timeline, menus")

SHOWN = {
    "en": ("steps 4 to 20 of 20 (15% to 100%)", "+ Concept", "Add SEGA concept"),
    "zh": ("20 步中的第 4 至 20 步 (15% 至 100%)", "+ 概念", "添加 SEGA 概念"),
    "ja": ("全 20 ステップ中 4～20 (15% ～ 100%)", "+ コンセプト", "SEGA コンセプトを追加"),
}


LANGUAGES = [("en", "nodes2"), ("zh", "canvas"), pytest.param("ja", "nodes2", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("locale", "renderer"), LANGUAGES)
def test_nodes_and_help_speak_the_editors_language(
    opened: Callable[..., Any], demo_workflow: Any, locale: str, renderer: str
) -> None:
    span, button, menu = SHOWN[locale]
    editor = opened(renderer, locale)
    editor.load(demo_workflow(start_percent=0.15, steps=20))
    concept, sampler = editor.node("SEGAConcept"), editor.node("SEGASampler")
    editor.view(concept).get_by_text(span).wait_for(state="attached")
    editor.view(sampler).get_by_text(button).wait_for(state="attached")
    names = editor.evaluate(
        "(id) => { const n = app.graph.getNodeById(id);"
        " return [n.constructor.title, ...n.widgets.map((w) => w.label ?? w.name)] }",
        concept,
    )
    if locale != "en":
        words = json.loads((REPO / "locales" / locale / "nodeDefs.json").read_text(encoding="utf-8"))["SEGAConcept"]
        assert {words["display_name"], *(words["inputs"][key]["name"] for key in ("direction", "strength"))} <= {*names}
    editor.show(sampler)
    editor.open_menu(sampler)
    editor.page.get_by_text(menu).first.wait_for()
    editor.page.keyboard.press("Escape")
    editor.show()
    editor.screenshot(f"language-{locale}-{renderer}")
    if renderer == "nodes2":
        check_help(editor, locale)


def check_help(editor: Any, locale: str) -> None:
    """Open the help page and wait for it, in the editor's language, and its pictures."""
    editor.open_help(editor.node("SEGAConcept"))
    place = "SEGAConcept.md" if locale == "en" else f"SEGAConcept/{locale}.md"
    page = (REPO / "web" / "docs" / place).read_text(encoding="utf-8")
    heading = page.split("\n## ")[1].splitlines()[0]
    editor.page.get_by_role("heading", name=heading).wait_for()
    pictures = editor.page.locator(".node-help-content img")
    assert pictures.count() >= 5
    for picture in pictures.all():
        assert picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") > 100
    editor.screenshot(f"help-{locale}")
