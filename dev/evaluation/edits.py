"""What is done to the faces, by group, and the words for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sega_core import ComparedTexts, compared_texts

from ..demo.faces import CAPTION_START, NAMED
from ..demo.measure import ADDS, REMOVES, Edit
from ..demo.workflows import words_for


@dataclass(frozen=True)
class Task:
    """One edit, or several at once.

    Args:
        group: what the report sums it up with.
        edits: what is done.
        replaced: the phrase that the prompt names and the edit replaces, if any.
    """

    group: str
    edits: tuple[Edit, ...]
    replaced: str = ""

    @property
    def name(self) -> str:
        if self.replaced:
            return f"{self.edits[0].text} instead of {self.replaced}"
        return " ".join(edit.name for edit in self.edits)


def _add(text: str) -> Edit:
    """Return the edit that adds what a phrase says."""
    return Edit(text, "add", *NAMED[text])


def _remove(text: str) -> Edit:
    return replace(_add(text), direction="remove")


ADDED, REMOVED, REPLACED = "details added", "details removed", "replaced"
STYLED, UNSTYLED, SCENES, SEVERAL = "styles added", "styles removed", "scenes", "several at once"

TASKS = (
    *(Task(ADDED, (edit,)) for edit in (*ADDS, _add("old"))),
    *(Task(REMOVED, (edit,)) for edit in REMOVES),
    Task(REPLACED, (_add("ginger hair"),), "black hair"),
    Task(REPLACED, (_add("long hair"),), "short hair"),
    Task(REPLACED, (_add("frowning"),), "smiling"),
    Task(REPLACED, (_add("purple background"),), "blue background"),
    *(Task(STYLED, (_add(style),)) for style in ("pencil sketch", "pixel art")),
    *(Task(UNSTYLED, (_remove(style),)) for style in ("pencil sketch", "pixel art")),
    *(Task(SCENES, (_add(scene),)) for scene in ("beach", "forest", "city at night")),
    Task(SEVERAL, (_add("beard"), _remove("glasses"))),
    Task(SEVERAL, (_add("glasses"), _add("hat"), _add("smiling"))),
    Task(SEVERAL, (_add("glasses"), _add("hat"), _add("beard"), _add("old"))),
)


def tasks_named(*names: str) -> list[Task]:
    """Return some of the tasks, in the order of the names."""
    by_name = {task.name: task for task in TASKS}
    return [by_name[name] for name in names]


def rival(prompt: str, text: str) -> str:
    """Return what a prompt says of the same attribute as a text; nothing if it says nothing else of it."""
    said = words_for(NAMED[text][0], prompt)
    return said if said != text else ""


def texts_of(edit: Edit, prompt: str) -> ComparedTexts:
    """Return the prompt with what an edit is about and without it, as SEGAConcept compares them."""
    return compared_texts(edit.text, prompt, rival(prompt, edit.text) if edit.direction == "add" else "")


def changed(prompt: str, edits: Iterable[Edit]) -> str:
    """Return the prompt that says the edits: what is added is written in, what is removed is left out."""
    for edit in edits:
        texts = texts_of(edit, prompt)
        prompt = texts.text if edit.direction == "add" else texts.instead_of or ""
    return prompt


def prompt_of(task: Task, look: str) -> str:
    """Return the prompt before an edit, for a look or, if that is empty, an open one.

    It names what is to be removed or replaced, and leaves open what is to be added.
    """
    named = [edit.text for edit in task.edits if edit.direction == "remove"]
    named += [task.replaced] if task.replaced else []
    prompt = changed(", ".join(filter(None, (CAPTION_START, look))), map(_add, named))
    added = {edit.text for edit in task.edits if edit.direction == "add"}
    return ", ".join(phrase for phrase in prompt.split(", ") if phrase not in added)
