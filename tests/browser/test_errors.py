"""Errors in the editor: they name the node, the input and the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.renderers import CANVAS_FIRST

pytestmark = pytest.mark.compat("Editor", "errors name the node, the input and the value")


def show_error(editor: Any, message: str) -> None:
    """Wait for the message, behind the editor's button where it has one."""
    button = editor.page.get_by_role("button", name="View details")
    shown = editor.page.get_by_text(message).first
    button.or_(shown).first.wait_for()
    if button.is_visible():
        button.click()
    shown.wait_for()


@CANVAS_FIRST
def test_an_error_of_a_run_reads_well(opened: Callable[..., Any], demo_workflow: Any, renderer: str) -> None:
    editor = opened(renderer, own=True)
    workflow = demo_workflow(text="", attention_threshold=0.5)
    for entry in workflow.values():
        entry["inputs"].pop("prompt", None)
    editor.load(workflow)
    node = editor.node("SEGAConcept")
    editor.show(node)
    assert editor.run() == "error"
    show_error(editor, "SEGAConcept: attention_threshold needs words in text, got ''; set it to 0 (off)")
    editor.screenshot(f"error-run-{renderer}")


def test_an_error_before_a_run_reads_well(opened: Callable[..., Any], demo_workflow: Any) -> None:
    editor = opened("nodes2", **{"Comfy.RightSidePanel.ShowErrorsTab": False})
    editor.load(demo_workflow(start_percent=0.5, end_percent=0.4))
    editor.show(editor.node("SEGAConcept"))
    editor.page.get_by_test_id("queue-button").click()
    show_error(editor, "end_percent must be after start_percent (0.5), got 0.4")
    editor.screenshot("error-before-run")
    assert all("/api/prompt" in error or "Prompt execution failed" in error for error in editor.errors)
    editor.errors.clear()
