"""The demo model does what its prompts say, and semantic guidance edits its faces."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from dev.demo import faces, measure
from dev.demo.workflows import LOOKS
from support.demo import JudgedModel, drawings
from support.host import Host

STEPS, CFG = 8, 3.5
# Faces of each look.
EACH = 4


def drawn(host: Host, demo: JudgedModel, prompts: list[str], *concepts: Any) -> dict[str, Tensor]:
    """Draw a face of each prompt, edited by the concepts, and return their attributes."""
    prompt = {"positive": demo.encoded(*prompts), "negative": demo.encoded("")}
    latent = {"samples": torch.zeros(len(prompts), 4, 16, 16), "downscale_ratio_spacial": 8}
    sampling = {"steps": STEPS, "cfg": CFG, "mode": "independent"}
    return demo.attributes(host.sega(*concepts, model=demo.model, latent=latent, **prompt, **sampling))


def drawn_looks(
    host: Host, demo: JudgedModel, prompt: str, edit: Any = None, is_connected: bool = True, **changes: Any
) -> dict[str, Tensor]:
    """Return the attributes of a few faces of every look, edited where there is an edit."""
    looks = []
    for look in LOOKS:
        whole, concepts = f"{prompt}, {look}", []
        if edit:
            node, connected = host.pack.nodes.SEGAConcept, whole if is_connected else None
            concepts = [node.execute(demo.clip, edit.text, connected, direction=edit.direction, **changes)[0]]
        looks.append(drawn(host, demo, [whole] * EACH, *concepts))
    return {name: torch.cat([judged[name] for judged in looks]) for name in looks[0]}


def test_the_judge_and_the_codec_know_fresh_drawings(demo: JudgedModel) -> None:
    rng = random.Random(10**9)
    fresh, images = zip(*((face, drawings([face], rng)) for face in map(faces.random_face, [rng] * 100)), strict=True)
    judged = demo.judge.judge(torch.cat(images).movedim(-1, 1))
    again = demo.attributes(demo.vae.encode(torch.cat(images[:50])))
    for name in faces.ATTRIBUTES:
        assert sum(int(judged[name][i]) == getattr(face, name) for i, face in enumerate(fresh)) >= 98, name
        assert (judged[name][:50] == again[name]).float().mean() > 0.95, name


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("smiling, hat, dark skin", {"mouth": 1, "hat": 1, "skin": 2}),
        ("a face, beard, ginger hair, purple background", {"beard": 1, "hair": 3, "background": 3}),
        # The model does not know all of these words.
        ("a photograph of a face wearing glasses", {"glasses": 1}),
    ],
)
def test_a_prompt_is_followed(host: Host, demo: JudgedModel, prompt: str, wanted: dict[str, int]) -> None:
    judged = drawn(host, demo, [prompt] * 16)
    for name, value in wanted.items():
        assert (judged[name] == value).float().mean() >= 0.9, name


def test_a_number_steers_a_word_of_the_prompt(demo: JudgedModel) -> None:
    weak, plain = (demo.encoded(text)[0][0] for text in ("(glasses:0.5)", "glasses"))
    assert (weak - plain).abs().max() > 0.1


@pytest.fixture(scope="module")
def plain(host: Host, demo: JudgedModel) -> dict[str, Tensor]:
    """The attributes of faces without an edit."""
    with torch.inference_mode():
        return drawn_looks(host, demo, "a face")


@pytest.mark.parametrize(
    ("edit", "how"),
    [
        *((edit, {}) for edit in measure.EDITS),
        # A bare word.
        (measure.ADDS[1], {"is_connected": False, "strength": 2.0}),
    ],
    ids=lambda value: value.name if isinstance(value, measure.Edit) else "",
)
def test_an_edit_succeeds_and_the_rest_stays(
    host: Host, demo: JudgedModel, plain: dict[str, Tensor], edit: Any, how: dict[str, Any]
) -> None:
    prompt = "a face" if edit.direction == "add" else f"a face, {edit.text}"
    before = plain if edit.direction == "add" else drawn_looks(host, demo, prompt)
    figures = measure.measure(edit, before, drawn_looks(host, demo, prompt, edit, **how))
    assert figures.success >= 0.85, figures.success
    assert figures.kept_on_average >= 0.9, figures.kept_on_average


def test_figures_count_the_faces_that_could_show_the_edit() -> None:
    before = {name: torch.zeros(4, dtype=torch.long) for name in faces.ATTRIBUTES}
    before["hat"] = torch.tensor([0, 0, 0, 1])
    after = {**before, "hat": torch.tensor([1, 1, 0, 0]), "hair": torch.tensor([0, 2, 0, 0])}
    added = measure.measure(measure.Edit("hat", "add", "hat", "yes"), before, after)
    assert (added.faces, added.success) == (3, pytest.approx(2 / 3))
    assert (added.kept["hair"], added.kept["beard"]) == (pytest.approx(2 / 3), 1)
    removed = measure.measure(measure.Edit("hat", "remove", "hat", "yes"), before, after)
    assert (removed.faces, removed.success) == (1, 1)
    with pytest.raises(ValueError, match=r"no face has 'yes' \(hat\)"):
        measure.measure(measure.Edit("hat", "remove", "hat", "yes"), dict(before, hat=before["hair"]), after)
