"""What the evaluation makes of pictures and verdicts: intervals, curves, regions, outcomes, tables."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def evaluation() -> SimpleNamespace:
    """The evaluation's modules that need no host, and the demo's."""
    names = ("alternatives", "outcome", "recipe", "regions", "report", "statistics", "studio")
    modules = {name: importlib.import_module(f"dev.evaluation.{name}") for name in names}
    modules |= {name: importlib.import_module(f"dev.demo.{name}") for name in ("faces", "measure")}
    return SimpleNamespace(**modules)


@pytest.fixture(scope="module")
def as_faces(evaluation: SimpleNamespace) -> Callable:
    """Make drawn and judged faces of values per attribute; every face has the first value of the others."""

    def make(images: np.ndarray, **values: list[str]) -> Any:
        chances = {}
        for name, choices in evaluation.faces.ATTRIBUTES.items():
            judged = [choices.index(value) for value in values.get(name, [choices[0]] * len(images))]
            chances[name] = np.eye(len(choices), dtype=np.float32)[judged]
        return evaluation.studio.Faces(images, chances, passes=2.0)

    return make


def black(count: int) -> np.ndarray:
    return np.zeros((count, 128, 128, 3), np.uint8)


def test_a_share_lies_in_its_interval_which_shrinks_with_more_faces(evaluation: SimpleNamespace) -> None:
    few, many = evaluation.statistics.share(9, 10), evaluation.statistics.share(900, 1000)
    assert few.low < 0.9 < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_the_interval_of_a_share_is_wilsons(evaluation: SimpleNamespace) -> None:
    # Of 10 in 10, Wilson's lower end is n / (n + z^2).
    full = evaluation.statistics.share(10, 10)
    assert full.low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)
    assert full.high == 1


def test_a_share_of_no_faces_is_refused(evaluation: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="trials 1 or more, got 0 of 0"):
        evaluation.statistics.share(0, 0)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says(evaluation: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    estimates = [evaluation.statistics.mean(rng.normal(3.0, 1.0, 60)) for _ in range(200)]
    covered = sum(estimate.low <= 3.0 <= estimate.high for estimate in estimates)
    assert 0.9 <= covered / 200 <= 0.99


def test_a_curve_is_linear_between_its_points_and_unknown_beyond_them(evaluation: SimpleNamespace) -> None:
    at = evaluation.statistics.at_equal
    assert at(0.25, [1.0, 0.0, 0.5], [0.6, 1.0, 0.8]) == pytest.approx(0.9)
    assert np.isnan(at(1.5, [0.0, 1.0], [1.0, 0.5]))


def test_of_equal_successes_the_better_isolation_counts(evaluation: SimpleNamespace) -> None:
    assert evaluation.statistics.at_equal(1.0, [0.0, 1.0, 1.0], [1.0, 0.7, 0.9]) == 0.9


@pytest.mark.parametrize(("values", "expected"), [([1, 2, 5], 1), ([5, 2, 1], -1), ([3, 3, 3], 0)])
def test_the_rank_correlation_knows_rising_from_falling(
    values: list[float], expected: float, evaluation: SimpleNamespace
) -> None:
    assert evaluation.statistics.rank_correlation([0, 1, 2], values) == pytest.approx(expected)


@pytest.mark.parametrize(("attribute", "value"), [("glasses", 1), ("hat", 1), ("beard", 1), ("mouth", 1), ("mouth", 2)])
def test_a_region_holds_all_that_its_attribute_draws(attribute: str, value: int, evaluation: SimpleNamespace) -> None:
    outside = evaluation.regions.background([attribute])
    for seed in range(60):
        face = replace(evaluation.faces.random_face(random.Random(seed)), **{attribute: 0})
        pictures = [
            np.asarray(evaluation.faces.draw(each, random.Random(seed)), int)
            for each in (face, replace(face, **{attribute: value}))
        ]
        changed = (pictures[0] != pictures[1]).any(-1)
        assert changed.any()
        assert not (changed & outside).any()


def test_only_faces_that_could_show_an_edit_count(evaluation: SimpleNamespace, as_faces: Callable) -> None:
    edit = evaluation.measure.Edit("hat", "add", "hat", "yes")
    before = as_faces(black(4), hat=["yes", "no", "no", "no"])
    after = as_faces(black(4), hat=["yes", "yes", "yes", "no"], hair=["black", "black", "brown", "black"])
    outcome = evaluation.outcome.compare([edit], before, after)
    assert outcome.done.tolist() == [True, True, False]
    assert outcome.kept["hair"].tolist() == [True, False, True]
    assert "hat" not in outcome.kept
    assert outcome.figures()["worst"] == "hair"


def test_the_background_of_an_edit_is_all_but_its_region(evaluation: SimpleNamespace, as_faces: Callable) -> None:
    edit = evaluation.measure.Edit("hat", "add", "hat", "yes")
    left, top, right, bottom = evaluation.regions.REGIONS["hat"]
    inside, outside = black(1), black(1)
    inside[:, top:bottom, left:right] = 255
    outside[:, bottom:] = 255
    before = as_faces(black(1))
    changed = [evaluation.outcome.compare([edit], before, as_faces(image, hat=["yes"])) for image in (inside, outside)]
    assert changed[0].change == 0
    assert changed[0].unchanged == 1
    assert changed[1].change > 100
    assert changed[1].unchanged < 0.5


def test_several_edits_succeed_only_together(evaluation: SimpleNamespace, as_faces: Callable) -> None:
    edits = [evaluation.measure.Edit(name, "add", name, "yes") for name in ("hat", "glasses")]
    after = as_faces(black(2), hat=["yes", "yes"], glasses=["yes", "no"])
    outcome = evaluation.outcome.compare(edits, as_faces(black(2)), after)
    assert outcome.done.tolist() == [True, False]
    assert outcome.each.mean(1).tolist() == [1.0, 0.5]


def test_an_edit_that_no_face_can_show_is_an_error(evaluation: SimpleNamespace, as_faces: Callable) -> None:
    edit = evaluation.measure.Edit("hat", "remove", "hat", "yes")
    with pytest.raises(ValueError, match="no face could show remove hat"):
        evaluation.outcome.compare([edit], as_faces(black(2)), as_faces(black(2)))


def test_ours_is_better_where_the_same_success_keeps_more(evaluation: SimpleNamespace, as_faces: Callable) -> None:
    edit = evaluation.measure.Edit("hat", "add", "hat", "yes")
    before = as_faces(black(20))
    has = ["yes"] * 20
    ours = evaluation.outcome.compare([edit], before, as_faces(black(20), hat=has))
    other = evaluation.outcome.compare([edit], before, as_faces(black(20), hat=has, beard=has))
    gain = evaluation.alternatives.gain([ours], other)
    assert gain.value == pytest.approx(1 / 6)
    assert gain.low > 0


def test_every_recipe_has_a_key_of_its_own(evaluation: SimpleNamespace) -> None:
    edits = evaluation.recipe.ADDS + evaluation.recipe.REMOVES
    recipes = [way[2] for edit in edits for way in evaluation.alternatives.ways(edit)]
    keys = {recipe.key: recipe for recipe in recipes}
    assert len(keys) > 50
    assert all(keys[recipe.key] == recipe for recipe in recipes)


def test_a_prompt_is_worded_for_each_look(evaluation: SimpleNamespace) -> None:
    assert evaluation.studio.worded("a face, {hair}, {background}", 0) == "a face, black hair, blue background"
    assert evaluation.studio.worded("{other}", 0) == evaluation.studio.worded("{look}", 1)


def test_tables_replace_what_stands_between_their_markers(evaluation: SimpleNamespace, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- edits -->\nold\n<!-- /edits -->\nafter\n")
    table = evaluation.report.table(("edit", "success"), [("+ hat", "98%")])
    evaluation.report.fill(page, {"edits": table})
    evaluation.report.fill(page, {"edits": table})
    text = page.read_text()
    assert "old" not in text
    assert text.count("| + hat | 98% |") == 1
    assert text.startswith("before\n") and text.endswith("\nafter\n")


def test_a_page_without_the_markers_is_an_error(evaluation: SimpleNamespace, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers\n")
    with pytest.raises(ValueError, match=r"page.md has no markers for 'edits'"):
        evaluation.report.fill(page, {"edits": ""})
