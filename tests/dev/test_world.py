"""The demo model's world: what comes together, how words move the composition, and that drawings show all of it."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from math import degrees

import numpy as np
import pytest

from dev.demo import faces
from dev.demo.composition import LEANS, LIMITS, NAMES, Composition, random_composition
from dev.demo.drawing import SIZE, described_drawings, draw, draw_composed
from dev.demo.faces import ATTRIBUTES, CAPTION_START, NAMED, TOGETHER, Face

FRONT = Composition(x=64, y=67, size=35, tilt=0, turn=0, light=0.5)
# Its pupils are all that is nearly black.
FAIR = Face(hair="blond", background="yellow")


@pytest.fixture(scope="module")
def people() -> list[Face]:
    rng = random.Random(1)
    return [faces.random_face(rng) for _ in range(5000)]


def pixels(face: Face, composed: Composition, seed: int = 0) -> np.ndarray:
    """Return a drawing as (H, W, 3) integers."""
    return np.asarray(draw_composed(face, composed, random.Random(seed)), int)


def changed(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many pixels differ visibly."""
    return int((np.abs(one - other).max(-1) > 24).sum())


def pupils(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pupils' pixels are: across, down."""
    down, across = np.nonzero(picture.max(-1) < 60)
    return across, down


@pytest.mark.parametrize(("first", "second", "share"), TOGETHER, ids=[f"{a[1]} {a[0]}" for a, _, _ in TOGETHER])
def test_what_comes_together_is_clearly_more_frequent_together(
    people: list[Face], first: tuple[str, str], second: tuple[str, str], share: float
) -> None:
    (name, value), (other, companion) = first, second
    having, lacking = (
        np.mean([getattr(face, other) == companion for face in people if (getattr(face, name) == value) is wanted])
        for wanted in (True, False)
    )
    assert having > lacking + 0.25
    # Later rows take no more than a third of it away.
    assert having > share * 2 / 3


def test_every_value_is_drawn_often_enough_to_be_learnt(people: list[Face]) -> None:
    for name, values in ATTRIBUTES.items():
        for value in values:
            assert np.mean([getattr(face, name) == value for face in people]) > 0.05, (name, value)


@pytest.mark.parametrize(("cause", "moved"), LEANS.items(), ids=[f"{value} {name}" for name, value in LEANS])
def test_a_word_moves_the_composition(people: list[Face], cause: tuple[str, str], moved: dict[str, float]) -> None:
    """The limits leave most of it, and the rest of the composition alone."""
    name, value = cause
    neutral = next(other for other in ATTRIBUTES[name] if (name, other) not in LEANS)
    shifts = [
        np.subtract(
            *(random_composition(replace(face, **{name: each}), random.Random(i)).row() for each in (value, neutral))
        )
        for i, face in enumerate(people[:500])
    ]
    for number, shift in zip(NAMES, np.mean(shifts, axis=0), strict=True):
        expected = moved.get(number, 0)
        assert 0.7 * abs(expected) <= abs(shift) <= abs(expected) + 1e-9, number
        assert shift * expected >= 0, number


def test_a_composition_keeps_to_its_limits(people: list[Face]) -> None:
    for i, face in enumerate(people[:2000]):
        for name, number in zip(NAMES, random_composition(face, random.Random(i)).row(), strict=True):
            assert LIMITS[name][0] <= number <= LIMITS[name][1]


def test_a_caption_names_only_what_the_face_has_and_never_its_composition(people: list[Face]) -> None:
    rng, named = random.Random(2), set()
    for face in people[:2000]:
        caption = faces.caption(face, rng)
        said = caption.split(", ") if caption else []
        assert len(set(said)) == len(said)
        assert set(said) <= {CAPTION_START, *faces.phrases(face)}
        assert set(faces.description(face).split(", ")) == {CAPTION_START, *faces.phrases(face)}
        named |= set(said)
    assert named == {CAPTION_START, *NAMED}


def test_indices_stand_for_a_face(people: list[Face]) -> None:
    for face in people[:200]:
        assert Face.from_indices(face.indices()) == face


@pytest.mark.parametrize("style", ATTRIBUTES["style"])
@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name != "style"])
def test_a_drawing_shows_every_value_in_every_style(name: str, style: str) -> None:
    drawn = [pixels(replace(FAIR, style=style, **{name: value}), FRONT) for value in ATTRIBUTES[name]]
    assert min(changed(*pair) for pair in combinations(drawn, 2)) > 40


def test_a_drawing_shows_its_style() -> None:
    drawn = {style: pixels(replace(FAIR, style=style), FRONT) for style in ATTRIBUTES["style"]}
    assert min(changed(*pair) for pair in combinations(drawn.values(), 2)) > 500
    blocks = drawn["pixel"].reshape(SIZE // 4, 4, SIZE // 4, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_the_same_seed_draws_the_same_face_and_another_one_does_not() -> None:
    first, again, other = (np.asarray(draw(FAIR, random.Random(seed)), int) for seed in (3, 3, 4))
    assert (first == again).all()
    assert changed(first, other) > 500


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_composition_changes_the_drawing(name: str) -> None:
    low, high = LIMITS[name]
    few, many = (pixels(FAIR, replace(FRONT, **{name: number})) for number in (low, high))
    assert changed(few, many) > 300


def test_a_head_further_right_and_down_is_the_same_head_moved() -> None:
    there = pixels(FAIR, replace(FRONT, x=FRONT.x + 14, y=FRONT.y + 9))
    head = np.s_[FRONT.y - 20 : FRONT.y + 20, FRONT.x - 20 : FRONT.x + 20]
    assert (np.roll(there, (-9, -14), (0, 1))[head] == pixels(FAIR, FRONT)[head]).all()


@pytest.mark.parametrize("tilt", [*LIMITS["tilt"], 0])
def test_a_tilted_head_has_its_eyes_on_a_slope(tilt: float) -> None:
    slope = np.polyfit(*pupils(pixels(FAIR, replace(FRONT, tilt=tilt))), 1)[0]
    assert degrees(np.arctan(slope)) == pytest.approx(tilt, abs=1)


def test_a_turned_head_looks_there_and_light_falls_from_there() -> None:
    low, high = LIMITS["turn"]
    left, front, right = (pupils(pixels(FAIR, replace(FRONT, turn=turn)))[0].mean() for turn in (low, 0, high))
    assert left + 5 < front < right - 5
    lit = pixels(FAIR, replace(FRONT, light=1)) - pixels(FAIR, replace(FRONT, light=-1))
    assert lit[:, :64].sum() < 0 < lit[:, 64:].sum()


def test_described_drawings_have_what_is_asked_for() -> None:
    once, again = (list(described_drawings(7, 3, hat="yes", style="pencil")) for _ in range(2))
    assert all({"hat", "pencil sketch"} <= set(caption.split(", ")) for caption, _ in once)
    assert len({caption for caption, _ in once}) == 3
    for (caption, drawing), (same_caption, same_drawing) in zip(once, again, strict=True):
        assert caption == same_caption
        assert drawing.tobytes() == same_drawing.tobytes()
