"""What the evaluation makes of pictures and verdicts: intervals, curves, regions, outcomes, tables."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dev import report
from dev.demo import faces
from dev.demo.measure import EDITS, Edit
from dev.evaluation import photos, recipe, statistics, studio


def as_faces(images: np.ndarray, **values: list[str]) -> studio.Faces:
    """Return drawn and judged faces of values per attribute; every face has the first value of the others."""
    chances = {}
    for name, choices in faces.ATTRIBUTES.items():
        judged = [choices.index(value) for value in values.get(name, [choices[0]] * len(images))]
        chances[name] = np.eye(len(choices), dtype=np.float32)[judged]
    return studio.Faces(images, chances)


def black(count: int) -> np.ndarray:
    return np.zeros((count, 128, 128, 3), np.uint8)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Of 10 in 10, Wilson's lower end is n / (n + z^2).
    full = statistics.share([True] * 10)
    assert full["low"] == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)
    assert full["high"] == 1
    most = statistics.share([True] * 9 + [False])
    assert most["low"] < 0.9 < most["high"]


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    estimates = [statistics.mean(rng.normal(3.0, 1.0, 60)) for _ in range(200)]
    covered = sum(estimate["low"] <= 3.0 <= estimate["high"] for estimate in estimates)
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("values", "expected"), [([1, 2, 5], 1), ([5, 2, 1], -1), ([3, 3, 3], 0)])
def test_the_rank_correlation_knows_rising_from_falling(values: list[float], expected: float) -> None:
    assert statistics.rank_correlation([0, 1, 2], values) == pytest.approx(expected)


@pytest.mark.parametrize(("attribute", "value"), [("glasses", 1), ("hat", 1), ("beard", 1), ("mouth", 1), ("mouth", 2)])
def test_a_region_holds_all_that_its_attribute_draws(attribute: str, value: int) -> None:
    outside = ~photos.region(attribute)
    for seed in range(30):
        face = replace(faces.random_face(random.Random(seed)), **{attribute: 0})
        pictures = [
            np.asarray(faces.draw(each, random.Random(seed)), int)
            for each in (face, replace(face, **{attribute: value}))
        ]
        changed = (pictures[0] != pictures[1]).any(-1)
        assert changed.any()
        assert not (changed & outside).any()


def test_only_faces_that_could_show_an_edit_count() -> None:
    edit = Edit("hat", "add", "hat", "yes")
    before = as_faces(black(4), hat=["yes", "no", "no", "no"])
    after = as_faces(black(4), hat=["yes", "yes", "yes", "no"], hair=["black", "black", "brown", "black"])
    outcome = studio.compare(edit, before, after)
    assert outcome.done.tolist() == [True, True, False]
    assert outcome.stayed["hair"].tolist() == [True, False, True]
    assert "hat" not in outcome.stayed
    with pytest.raises(ValueError, match=r"no face has 'yes' \(hat\)"):
        studio.compare(Edit("hat", "remove", "hat", "yes"), as_faces(black(2)), as_faces(black(2)))


def test_every_recipe_has_a_key_of_its_own() -> None:
    made = [
        of_edit
        for edit in EDITS
        for of_edit in (recipe.plain(edit), recipe.edited(edit), recipe.edited(edit, 2.0), recipe.edited(edit, steps=8))
    ]
    keys = {each.key: each for each in made}
    # The four edits that add start from the same picture.
    assert len(keys) == len(made) - 3
    assert all(keys[each.key] == each for each in made)


def test_tables_replace_what_stands_between_their_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- edits -->\nold\n<!-- /edits -->\nafter\n")
    table = report.table(("edit", "success"), [("+ hat", "98%")])
    report.fill(page, {"edits": table})
    report.fill(page, {"edits": table})
    text = page.read_text()
    assert "old" not in text
    assert text.count("| + hat | 98% |") == 1
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    with pytest.raises(ValueError, match=r"page.md has no markers for 'edit'"):
        report.fill(page, {"edit": ""})
