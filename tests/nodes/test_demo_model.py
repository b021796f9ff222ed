"""The demo model does what its prompts say, and semantic guidance edits its faces."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

FACES = 24
CFG = 3.5


class Studio:
    """The demo model, its judge, and a way to draw with both."""

    def __init__(self, host: Any, demo: ModuleType) -> None:
        from comfyui_sega_demo import classifier, model, run

        self.host = host
        self.run = run
        self.model, self.clip, self.vae = model.load()
        self.judge = classifier.load()

    def encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def draw(self, prompt: str, *edits: Any, faces: int = FACES) -> Tensor:
        """Return images (B, 3, H, W) of the prompt, edited at the demo's settings."""
        concepts = [
            self.host.pack.nodes.SEGAConcept.execute(
                self.clip, **{"cooldown_steps": 0, "weight": 1.0, **self.run.concept(edit)}
            )[0]
            for edit in edits
        ]
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
        return self.vae.decode(samples).movedim(-1, 1)

    def judged(self, prompt: str, *edits: Any, faces: int = FACES) -> dict[str, Tensor]:
        return self.judge.judge(self.draw(prompt, *edits, faces=faces))


@pytest.fixture(scope="module")
def studio(host: Any, repo: Path, package_loader: Callable) -> Studio:
    with torch.inference_mode():
        return Studio(host, package_loader("comfyui_sega_demo", repo / "demo"))


@pytest.fixture(scope="module")
def unedited(studio: Studio) -> dict[str, dict[str, Tensor]]:
    with torch.inference_mode():
        return {
            "add": studio.judged(studio.run.PLAIN_PROMPT),
            "remove": studio.judged(studio.run.FULL_PROMPT),
        }


def test_the_judge_knows_fresh_drawings(studio: Studio) -> None:
    from comfyui_sega_demo import faces
    from torchvision.transforms.functional import pil_to_tensor

    rng = random.Random(10**9)
    drawn = [(face, faces.draw(face, rng)) for face in (faces.random_face(rng) for _ in range(100))]
    judged = studio.judge.judge(torch.stack([pil_to_tensor(image) for _, image in drawn]).float() / 255)
    for name in faces.ATTRIBUTES:
        right = [int(judged[name][i]) == getattr(face, name) for i, (face, _) in enumerate(drawn)]
        assert sum(right) >= 98, name


def test_the_codec_keeps_every_attribute_of_a_drawing(studio: Studio) -> None:
    from comfyui_sega_demo import faces
    from torchvision.transforms.functional import pil_to_tensor

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


def test_an_edit_succeeds_and_the_rest_stays(studio: Studio, unedited: dict[str, dict[str, Tensor]]) -> None:
    from comfyui_sega_demo import measure

    for edit in studio.run.EDITS:
        prompt = studio.run.PLAIN_PROMPT if edit.direction == "add" else studio.run.FULL_PROMPT
        figures = measure.measure(edit, unedited[edit.direction], studio.judged(prompt, edit))
        assert figures.success >= 0.8, (edit, figures)
        assert figures.kept_on_average >= 0.85, (edit, figures)


def test_figures_count_the_faces_that_could_show_the_edit(studio: Studio) -> None:
    from comfyui_sega_demo import faces, measure

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
