"""The demo model does what its prompts say, and semantic guidance edits its faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from dev.demo import composition, faces, measure
from dev.demo.codec import LATENT_CHANNELS
from dev.demo.training import drawings
from dev.demo.workflows import LOOKS
from support.demo import JudgedModel
from support.faces import as_images
from support.host import Host

STEPS, CFG = 8, 3.5
# Faces of each look.
EACH = 8
# How far the judge may be off on average.
ERRORS = {"x": 1.0, "y": 1.0, "size": 1.0, "tilt": 1.5, "turn": 3.0, "light": 0.2}


@dataclass
class Drawings:
    """Drawings that nothing was trained on, what they show, and how the judge saw them."""

    images: Tensor
    attributes: dict[str, Tensor]
    compositions: Tensor


@pytest.fixture(scope="module")
def fresh() -> Drawings:
    seeds = range(drawings.COUNT, drawings.COUNT + 400)
    attributes, compositions, pictures = zip(*map(drawings.draw_one, seeds), strict=True)
    values = dict(zip(faces.ATTRIBUTES, torch.tensor(attributes).T, strict=True))
    return Drawings(as_images(pictures), values, torch.tensor(compositions))


def drawn(host: Host, demo: JudgedModel, prompts: list[str], *concepts: Any) -> dict[str, Tensor]:
    """Draw a face of each prompt, edited by the concepts, and return their attributes."""
    prompt = {"positive": demo.encoded(*prompts), "negative": demo.encoded("")}
    latent = {"samples": torch.zeros(len(prompts), LATENT_CHANNELS, 16, 16)}
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


def test_the_judge_knows_what_fresh_drawings_show(demo: JudgedModel, fresh: Drawings) -> None:
    judged = demo.judge.judge(fresh.images.movedim(-1, 1))
    for name, values in fresh.attributes.items():
        assert (judged[name] == values).float().mean() >= 0.99, name


def test_the_judge_knows_how_fresh_drawings_lie_in_their_pictures(demo: JudgedModel, fresh: Drawings) -> None:
    errors = (demo.judge(fresh.images.movedim(-1, 1))[1] - fresh.compositions).abs().mean(0)
    for name, error in zip(composition.NAMES, errors, strict=True):
        assert error <= ERRORS[name], name


def test_the_codec_keeps_what_fresh_drawings_show(demo: JudgedModel, fresh: Drawings) -> None:
    images = fresh.images[:100]
    again = demo.vae.decode(demo.vae.encode(images))
    assert -10 * (again - images).square().mean().log10() > 28
    judged = demo.judge.judge(again.movedim(-1, 1))
    for name, values in fresh.attributes.items():
        assert (judged[name] == values[:100]).float().mean() >= 0.95, name


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("smiling, hat, dark skin", {"mouth": "smiling", "hat": "yes", "skin": "dark"}),
        ("a face, old, ginger hair, beach", {"age": "old", "hair": "ginger", "background": "beach"}),
        ("beard, purple background, pencil sketch", {"beard": "yes", "background": "purple", "style": "pencil"}),
        ("a face, pixel art, long hair, city at night", {"style": "pixel", "length": "long", "background": "city"}),
        # The model does not know all of these words.
        ("a photograph of a face wearing glasses", {"glasses": "yes"}),
    ],
)
def test_a_prompt_is_followed(host: Host, demo: JudgedModel, prompt: str, wanted: dict[str, str]) -> None:
    judged = drawn(host, demo, [prompt] * 16)
    for name, value in wanted.items():
        assert (judged[name] == faces.ATTRIBUTES[name].index(value)).float().mean() >= 0.9, name


def test_the_longest_description_is_read_whole(host: Host) -> None:
    from dev.demo import model

    tokenizer = model.FaceTokenizer()
    face = faces.Face(glasses="yes", hat="yes", beard="yes", background="city", style="pencil")
    text = faces.description(face)
    (chunk,) = tokenizer.tokenize_with_weights(text)
    read = [tokenizer.inv_vocab[token].removesuffix("</w>") for token, _ in chunk[1 : chunk.index((1, 1.0))]]
    assert read == text.replace(",", " ,").split()


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
        *((edit, {}) for edit in (*measure.ADDS, *measure.REMOVES)),
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
    figures = measure.measure([edit], before, drawn_looks(host, demo, prompt, edit, **how))
    assert figures.success >= 0.85, figures.success
    assert figures.kept_on_average >= 0.9, figures.kept_on_average
