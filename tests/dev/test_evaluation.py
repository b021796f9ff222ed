"""What the evaluation makes of prompts, pictures and verdicts: places, intervals, comparisons, targets, tables."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dev import report as pages
from dev.demo import drawing, faces
from dev.demo.composition import NAMES, USUAL, random_composition
from dev.evaluation import comparison, edits, places, report, statistics, targets, ways
from dev.evaluation.comparison import Trial
from dev.evaluation.edits import ADDED, REMOVED, TASKS, Task
from dev.evaluation.studio import Faces
from dev.evaluation.verdict import ATTRIBUTES, COMPOSITION, PIXELS, Verdict, verdict
from dev.host.packages import REPO

LOOK = "black hair, short hair, light skin, blue background"
HAT = edits.tasks_named("+ hat")[0]


def as_faces(images: np.ndarray, moved: dict[str, float] | None = None, **values: list[str]) -> Faces:
    """Return judged faces of values per attribute, the first value of the others, that lie as usual but for a move."""
    judged = {
        name: np.array([choices.index(value) for value in values.get(name, [choices[0]] * len(images))])
        for name, choices in faces.ATTRIBUTES.items()
    }
    lying = [USUAL[name][0] + (moved or {}).get(name, 0) for name in NAMES]
    return Faces(images, judged, np.tile(np.array(lying, np.float32), (len(images), 1)))


def black(count: int) -> np.ndarray:
    return np.zeros((count, 128, 128, 3), np.uint8)


def verdicts(eligible: list[int], done: list[int], attributes: list[float]) -> Verdict:
    nothing = np.full(len(done), np.nan)
    kept = {ATTRIBUTES: np.array(attributes), COMPOSITION: np.array(attributes), PIXELS: nothing}
    return Verdict(np.array(eligible, bool), np.array(done, bool), kept, np.zeros(len(done)))


@pytest.mark.parametrize(
    ("name", "look", "prompt", "changed"),
    [
        ("+ hat", "", "a face", "a face, hat"),
        ("+ hat", LOOK, f"a face, {LOOK}", f"a face, {LOOK}, hat"),
        ("- hat", LOOK, f"a face, {LOOK}, hat", f"a face, {LOOK}"),
        ("+ beach", LOOK, f"a face, {LOOK}", "a face, black hair, short hair, light skin, beach"),
        ("+ beach", "tan skin, beach", "a face, tan skin", "a face, tan skin, beach"),
        ("frowning instead of smiling", "", "a face, smiling", "a face, frowning"),
        (
            "long hair instead of short hair",
            "long hair, beach",
            "a face, short hair, beach",
            "a face, long hair, beach",
        ),
        ("+ beard - glasses", "", "a face, glasses", "a face, beard"),
    ],
)
def test_prompts_name_what_is_removed_or_replaced_and_say_the_edit_once_changed(
    name: str, look: str, prompt: str, changed: str
) -> None:
    wish = ways.wish_of(edits.tasks_named(name)[0], look)
    assert (wish.prompt, wish.changed) == (prompt, changed)


def test_the_prompt_before_an_edit_never_says_what_is_added() -> None:
    for task in TASKS:
        for look in (LOOK, "ginger hair, long hair, light skin, forest", ""):
            said = edits.prompt_of(task, look).split(", ")
            assert not {edit.text for edit in task.edits if edit.direction == "add"} & set(said)
            assert {edit.text for edit in task.edits if edit.direction == "remove"} <= set(said)


def test_each_way_draws_something_else_and_only_what_it_says() -> None:
    for task in TASKS:
        wish = ways.wish_of(task, LOOK)
        recipes = [ways.plain(wish), *(ways.WAYS[name](wish) for name in ways.ways_of(task.group))]
        assert len({recipe.key for recipe in recipes}) == len(recipes), task.name
    hat, no_hat = (ways.wish_of(task, "") for task in edits.tasks_named("+ hat", "- hat"))
    # The changed prompt of a removal is drawn once, as the plain picture of adding.
    assert ways.changed_prompt(no_hat).key == ways.plain(hat).key
    assert ways.weights(hat).prompt == "a face, (hat:1.5)"
    assert ways.weights(no_hat).prompt == "a face, (hat:0.2)"
    assert (ways.negative(no_hat).prompt, ways.negative(no_hat).negative) == ("a face", "hat")


def test_our_concepts_have_nothing_but_words_and_know_what_they_replace() -> None:
    (concept,) = ways.ours(ways.wish_of(edits.tasks_named("+ forest")[0], LOOK)).concepts
    expected = {"text": "forest", "direction": "add", "prompt": f"a face, {LOOK}", "instead_of": "blue background"}
    assert concept == expected


@pytest.mark.parametrize(
    ("attribute", "value"), [("glasses", "yes"), ("hat", "yes"), ("beard", "yes"), ("mouth", "smiling")]
)
def test_a_place_holds_all_that_its_attribute_draws(attribute: str, value: str) -> None:
    for seed in range(40):
        rng = random.Random(seed)
        face = replace(faces.random_face(rng), style="plain", **{attribute: faces.ATTRIBUTES[attribute][0]})
        lies = random_composition(face, rng)
        pictures = [
            np.asarray(drawing.draw_composed(each, lies, random.Random(seed)), int)
            for each in (face, replace(face, **{attribute: value}))
        ]
        changed = (pictures[0] != pictures[1]).any(-1)
        (inside,) = places.places([attribute], [lies.row()])
        assert changed.any()
        assert not (changed & ~inside).any(), seed
        # It is a place, not the picture.
        assert inside.mean() < 0.6


def test_an_edit_without_a_place_of_its_own_has_none() -> None:
    lies = [[mean for mean, _ in USUAL.values()]]
    assert places.places(["hat", "style"], lies) is None
    both, hat = (places.places(attributes, lies) for attributes in (["hat", "beard"], ["hat"]))
    assert (both & hat).sum() == hat.sum() < both.sum()


def test_only_faces_that_could_show_an_edit_are_judged() -> None:
    before = as_faces(black(4), hat=["yes", "no", "no", "no"])
    after = as_faces(black(4), hat=["yes", "yes", "yes", "no"], hair=["black", "black", "brown", "black"])
    found = verdict(HAT.edits, before, after)
    assert found.eligible.tolist() == [False, True, True, True]
    assert found.succeeded.tolist() == [False, True, True, False]
    others = len(faces.ATTRIBUTES) - 1
    assert found.kept[ATTRIBUTES][1:].tolist() == [1, pytest.approx((others - 1) / others), 1]
    with pytest.raises(ValueError, match=r"no face has 'yes' \(hat\)"):
        verdict(edits.tasks_named("- hat")[0].edits, as_faces(black(2)), as_faces(black(2)))


def test_several_edits_succeed_where_all_do() -> None:
    task = Task("several", (*edits.tasks_named("+ hat")[0].edits, *edits.tasks_named("- glasses")[0].edits))
    before = as_faces(black(3), hat=["no", "yes", "yes"], glasses=["yes", "yes", "no"])
    after = as_faces(black(3), hat=["yes", "no", "yes"], glasses=["no", "no", "no"])
    found = verdict(task.edits, before, after)
    assert found.eligible.tolist() == [True, True, False]
    assert found.succeeded.tolist() == [True, False, False]


def test_a_face_that_moves_does_not_keep_its_composition() -> None:
    before = as_faces(black(1))
    slightly = verdict(HAT.edits, before, as_faces(black(1), {"x": 0.5 * USUAL["x"][1]}, hat=["yes"]))
    far = verdict(HAT.edits, before, as_faces(black(1), {"x": 6, "y": 8}, hat=["yes"]))
    assert slightly.kept[COMPOSITION].tolist() == [1]
    assert far.kept[COMPOSITION].tolist() == [pytest.approx(4 / 6)]
    assert far.moved.tolist() == [pytest.approx(10, abs=1e-4)]


def test_pixels_count_outside_the_place_of_the_edit_alone() -> None:
    inside, outside, faint = black(1), black(1), black(1)
    inside[:, 30:34] = 255
    outside[:, -16:] = 255
    faint[:] = 10
    before = as_faces(black(1))
    kept = [
        verdict(HAT.edits, before, as_faces(each, hat=["yes"])).kept[PIXELS][0] for each in (inside, outside, faint)
    ]
    place = places.places(["hat"], before.compositions)
    assert kept[1] == pytest.approx(1 - 16 * 128 / (~place).sum())
    assert kept[0] > kept[1]
    assert kept[2] == 1


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Of 10 in 10, Wilson's lower end is n / (n + z^2).
    full = statistics.share([True] * 10)
    assert full["low"] == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)
    assert full["high"] == pytest.approx(1)
    most = statistics.share([True] * 9 + [False])
    assert (most["low"], most["high"]) == pytest.approx((0.596, 0.982), abs=1e-3)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    estimates = [statistics.mean(rng.normal(3.0, 1.0, 60)) for _ in range(200)]
    covered = sum(estimate["low"] <= 3.0 <= estimate["high"] for estimate in estimates if estimate)
    assert 0.9 <= covered / 200 <= 0.99


def test_edits_of_the_same_faces_do_not_make_an_interval_narrower() -> None:
    figures = np.random.default_rng(2).normal(size=50)
    for estimate, each in ((statistics.mean, figures), (statistics.share, figures > 0)):
        once, often = estimate(each), estimate(np.tile(each, (4, 1)))
        assert once and often
        assert often == pytest.approx(once)


def test_missing_figures_are_left_out_of_a_mean() -> None:
    estimate = statistics.mean([[1.0, np.nan, np.nan], [2.0, np.nan, 3.0]])
    assert estimate and (estimate["value"], estimate["faces"]) == (2.0, 2)
    assert statistics.mean([np.nan, np.nan]) is None


def test_ways_are_compared_on_the_faces_where_both_succeeded() -> None:
    ours = verdicts([1, 1, 1, 0], [1, 1, 0, 1], [1.0, 0.5, 1.0, 0.0])
    other = verdicts([1, 1, 1, 0], [1, 0, 0, 1], [0.5, 0.9, 0.9, 0.9])
    assert np.array_equal(comparison.gain("success", ours, other), [0, 1, 0, np.nan], equal_nan=True)
    assert np.array_equal(comparison.gain(ATTRIBUTES, ours, other), [0.5, np.nan, np.nan, np.nan], equal_nan=True)


def test_a_clear_difference_is_a_win_or_a_loss_and_noise_is_a_draw() -> None:
    rng = np.random.default_rng(3)
    kept = rng.uniform(0.4, 0.6, 60)
    every = [1] * 60
    trials = [
        Trial(HAT, way, verdicts(every, every, (kept + gain + rng.normal(0, 0.05, 60)).tolist()))
        for way, gain in (("ours", 0.0), ("worse", -0.2), ("same", 0.0), ("better", 0.2))
    ]
    rows = comparison.comparisons(trials, [("ours", way) for way in ("worse", "same", "better")])
    found = {(row["way"], row["measure"]): comparison.outcome(row) for row in rows}
    assert [found[way, ATTRIBUTES] for way in ("worse", "same", "better")] == ["win", "draw", "loss"]
    assert {found[way, "success"] for way in ("worse", "same", "better")} == {"draw"}
    assert all(measure != PIXELS for _, measure in found)


def test_a_few_faces_decide_nothing() -> None:
    trials = [
        Trial(HAT, way, verdicts([1] * 30, [1] * done + [0] * (30 - done), [1.0] * 30))
        for way, done in (("ours", 30), ("other", 19), ("enough", 20), ("none", 0))
    ]
    rows = comparison.comparisons(trials, [("ours", way) for way in ("other", "enough", "none")])
    compared = {way: {row["measure"] for row in rows if row["way"] == way} for way in ("other", "enough", "none")}
    assert compared["other"] == compared["none"] == {"success"}
    assert compared["enough"] == {"success", ATTRIBUTES, COMPOSITION}


def test_a_way_that_never_succeeds_keeps_nothing_that_could_be_summed_up() -> None:
    (found,) = comparison.figures([Trial(HAT, "never", verdicts([1] * 30, [0] * 30, [1.0] * 30))])
    assert found["success"]["value"] == 0
    assert [found[name] for name in (ATTRIBUTES, COMPOSITION, PIXELS, "head")] == [None] * 4
    part = {"faces": 30, "edits": [], "groups": [found], "comparisons": [], "prompts": []}
    assert "| details added | never | 0.0% (0.0-11.4) |  |  |  |  |" in report.tables({"ways": part})["groups"]


def row(**values: Any) -> dict[str, Any]:
    return {"group": ADDED, "ours": "ours", "way": "other", "measure": ATTRIBUTES, "low": 0.1, "high": 0.3, **values}


def test_targets_are_missed_where_the_figures_miss_them() -> None:
    edits_done = [
        {"edit": "+ hat", "way": "ours", "success": {"value": 0.96}},
        {"edit": "+ beard", "way": "ours", "success": {"value": 0.94}},
        {"edit": "+ beard", "way": "other", "success": {"value": 0.1}},
    ]
    undecided, lost = row(group=REMOVED, low=-0.1), row(group="scenes", measure=COMPOSITION, low=-0.3, high=-0.1)
    success, kept, never_worse = targets.targets(edits_done, [row(), undecided, lost])
    assert [each["edit"] for each in success.missed] == ["+ beard"]
    assert (success.checked, kept.checked, never_worse.checked) == (2, 2, 3)
    assert kept.missed == (undecided,)
    assert never_worse.missed == (lost,)
    assert {target.outcome for target in (success, kept, never_worse)} == {"missed"}


def test_a_target_is_reached_only_where_figures_say_so() -> None:
    success, kept, never_worse = targets.targets([], [row(group="scenes")])
    assert [target.outcome for target in (success, kept, never_worse)] == ["undecided", "undecided", "reached"]


def test_the_report_has_a_place_for_every_table() -> None:
    page = (REPO / "docs" / "quality.md").read_text(encoding="utf-8")
    names = ["targets", *(name for makers in report.MAKERS.values() for name in makers)]
    assert [name for name in names if page.count(f"<!-- {name} -->\n") != 1] == []


def test_tables_say_who_is_better_and_by_how_much() -> None:
    estimate = {"value": 0.984, "low": 0.9, "high": 1.0, "faces": 60}
    figures = {"success": estimate, ATTRIBUTES: estimate, COMPOSITION: estimate, PIXELS: None, "head": {"value": 2.04}}
    done = [{"edit": "+ hat", "group": ADDED, "way": way, **figures} for way in ("ours", "other")]
    part = {
        "faces": 64,
        "edits": done,
        "groups": done,
        "prompts": [],
        "reconstruction": [],
        "comparisons": [row(value=0.2, faces=55)],
    }
    made = report.tables(
        {"ways": part, "photos": {**part, "comparisons": [row(value=-0.2, low=-0.3, high=-0.1, faces=9)]}}
    )
    assert "| details added | other | 55 |  | **win** +20.0 (+10.0 to +30.0) |  |  |" in made["wins"]
    assert "| other | 0 / 0 / 0 | 1 / 0 / 0 |" in made["score"]
    assert made["edits"].count("| + hat | 60 | 98.4% (90.0-100.0) |") == 1
    assert "| Nothing is worse than with another way | missed | 1 of 2 miss it |" in made["targets"]


def test_tables_replace_what_stands_between_their_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- edits -->\nold\n<!-- /edits -->\nafter\n")
    table = pages.table(("edit", "success"), [("+ hat", "98%")])
    pages.fill(page, {"edits": table})
    pages.fill(page, {"edits": table})
    text = page.read_text()
    assert "old" not in text
    assert text.count("| + hat | 98% |") == 1
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    with pytest.raises(ValueError, match=r"page.md has no markers for 'edit'"):
        pages.fill(page, {"edit": ""})
