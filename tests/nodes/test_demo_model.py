"""The demo model does what its prompts say, and semantic guidance edits its faces."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from support.host import Host

FACES = 24
CFG = 3.5


class Studio:
    """The demo model, its judge, and a way to draw with both."""

    def __init__(self, host: Host) -> None:
        from dev.demo import classifier, model, run

        self.host = host
        self.run = run
        self.model, self.clip, self.vae = model.load()
        self.judge = classifier.load()

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def judged(self, prompt: str, *concepts: Any, faces: int = FACES) -> dict[str, Tensor]:
        """Draw faces of the prompt, edited by the concepts, and return their attributes."""
        samples = self.host.sega(
            *concepts,
            model=self.model,
            latent={"samples": torch.zeros(faces, 4, 16, 16), "downscale_ratio_spacial": 8},
            steps=20,
            cfg=CFG,
            positive=self.encode(prompt),
            negative=self.encode(""),
            mode="independent",
        )
        return self.judge.judge(self.vae.decode(samples).movedim(-1, 1))

    def judged_looks(
        self, prompt: str, edit: Any = None, is_connected: bool = True, **changes: Any
    ) -> dict[str, Tensor]:
        """Return the attributes of a few faces of every look, edited where there is an edit."""
        node, looks = self.host.pack.nodes.SEGAConcept, []
        for look in self.run.LOOKS:
            whole, concepts = f"{prompt}, {look}", []
            if edit:
                shown = whole if is_connected else None
                concepts = [node.execute(self.clip, edit.text, shown, direction=edit.direction, **changes)[0]]
            looks.append(self.judged(whole, *concepts, faces=6))
        return {name: torch.cat([judged[name] for judged in looks]) for name in looks[0]}


@pytest.fixture(scope="module")
def studio(host: Host) -> Studio:
    with torch.inference_mode():
        return Studio(host)


def test_the_judge_knows_fresh_drawings(studio: Studio) -> None:
    from torchvision.transforms.functional import pil_to_tensor

    from dev.demo import faces

    rng = random.Random(10**9)
    drawn = [(face, faces.draw(face, rng)) for face in (faces.random_face(rng) for _ in range(100))]
    judged = studio.judge.judge(torch.stack([pil_to_tensor(image) for _, image in drawn]).float() / 255)
    for name in faces.ATTRIBUTES:
        right = [int(judged[name][i]) == getattr(face, name) for i, (face, _) in enumerate(drawn)]
        assert sum(right) >= 98, name


def test_the_codec_keeps_every_attribute_of_a_drawing(studio: Studio) -> None:
    from torchvision.transforms.functional import pil_to_tensor

    from dev.demo import faces

    rng = random.Random(10**9)
    drawn = [faces.draw(faces.random_face(rng), rng) for _ in range(50)]
    images = torch.stack([pil_to_tensor(image) for image in drawn]).float() / 255
    again = studio.vae.decode(studio.vae.encode(images.movedim(1, -1))).movedim(-1, 1)
    before, after = studio.judge.judge(images), studio.judge.judge(again)
    for name in faces.ATTRIBUTES:
        assert (before[name] == after[name]).float().mean() > 0.95, name


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a face, glasses", {"glasses": 1}),
        ("smiling, hat, dark skin", {"mouth": 1, "hat": 1, "skin": 2}),
        ("a face, beard, ginger hair, purple background", {"beard": 1, "hair": 3, "background": 3}),
    ],
)
def test_a_prompt_is_followed(studio: Studio, prompt: str, wanted: dict[str, int]) -> None:
    judged = studio.judged(prompt)
    for name, value in wanted.items():
        assert (judged[name] == value).float().mean() >= 0.9, name


def test_a_number_steers_a_word_of_the_prompt(studio: Studio) -> None:
    assert (studio.encode("(glasses:0.5)")[0][0] - studio.encode("glasses")[0][0]).abs().max() > 0.1


def test_words_that_the_model_does_not_know_do_no_harm(studio: Studio) -> None:
    judged = studio.judged("a photograph of a face wearing glasses")
    assert (judged["glasses"] == 1).float().mean() >= 0.9


@pytest.fixture(scope="module")
def plain(studio: Studio) -> dict[str, Tensor]:
    """The attributes of faces without an edit."""
    with torch.inference_mode():
        return studio.judged_looks("a face")


def assert_succeeds(studio: Studio, plain: dict[str, Tensor], edit: Any, **changes: Any) -> None:
    from dev.demo import measure

    prompt = "a face" if edit.direction == "add" else f"a face, {edit.text}"
    before = plain if edit.direction == "add" else studio.judged_looks(prompt)
    figures = measure.measure(edit, before, studio.judged_looks(prompt, edit, **changes))
    assert figures.success >= 0.85, (edit, figures)
    assert figures.kept_on_average >= 0.9, (edit, figures)


@pytest.mark.parametrize("number", range(8))
def test_an_edit_succeeds_and_the_rest_stays_by_default(studio: Studio, plain: dict[str, Tensor], number: int) -> None:
    assert len(studio.run.measure.EDITS) == 8
    assert_succeeds(studio, plain, studio.run.measure.EDITS[number])


@pytest.mark.parametrize(("text", "direction"), [("hat", "add"), ("beard", "remove")])
def test_a_bare_word_edits_too(studio: Studio, plain: dict[str, Tensor], text: str, direction: str) -> None:
    (edit,) = (edit for edit in studio.run.measure.EDITS if (edit.text, edit.direction) == (text, direction))
    assert_succeeds(studio, plain, edit, is_connected=False, strength=2.0)


def test_figures_count_the_faces_that_could_show_the_edit(studio: Studio) -> None:
    from dev.demo import faces, measure

    before = {name: torch.zeros(4, dtype=torch.long) for name in faces.ATTRIBUTES}
    before["hat"] = torch.tensor([0, 0, 0, 1])
    after = {**before, "hat": torch.tensor([1, 1, 0, 0]), "hair": torch.tensor([0, 2, 0, 0])}
    added = measure.measure(measure.Edit("hat", "add", "hat", "yes"), before, after)
    assert (added.faces, added.success) == (3, pytest.approx(2 / 3))
    assert added.kept["hair"] == pytest.approx(2 / 3)
    assert added.kept["beard"] == 1
    removed = measure.measure(measure.Edit("hat", "remove", "hat", "yes"), before, after)
    assert (removed.faces, removed.success) == (1, 1)
    with pytest.raises(ValueError, match=r"no face has 'yes' \(hat\)"):
        measure.measure(measure.Edit("hat", "remove", "hat", "yes"), dict(before, hat=before["hair"]), after)
