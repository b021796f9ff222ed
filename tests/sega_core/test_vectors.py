"""Guidance vectors: what a run's recorder keeps, the file they survive in, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sega_core import Concept, GuidanceRun, GuidanceVectors, Recorder, Settings, recorded, tensor_file, vectors
from support.core import compared, noise, random_run

STEPS = 5
SHAPES = [(2, 4, 6, 5), (2, 3, 7)]
SIGMAS = (14.614643, 6.1, 1 / 3, 0.1 + 0.2, 0.0291675, 0.0)
CONCEPTS = (
    Concept("remove", 7.25, 0.95, 2, 4, 0.1 + 0.2, "space", 0.8),
    Concept(cooldown_steps=None),
    Concept(guidance_scale=0, threshold=0, warmup_steps=0),
)
TEXTS = ("glasses", "größer \u2603\n\u0000\ud800 'quoted'", "")


def make(shapes: list[tuple[int, ...]] = SHAPES, count: int = 3, **changes: Any) -> GuidanceVectors:
    """Return vectors of random numbers."""
    values = {
        "guidance": tuple(noise(STEPS, *shape, seed=i) for i, shape in enumerate(shapes)),
        "activity": tuple(noise(count, shape[0], *shape[2:], seed=9 + i).abs() for i, shape in enumerate(shapes)),
        "magnitudes": noise(STEPS, count, seed=5).abs(),
        "sigmas": SIGMAS,
        "space": "noise",
        "concepts": CONCEPTS[:count],
        "texts": TEXTS[:count],
        "settings": Settings(0.1 + 0.2, 0.7, "independent"),
    }
    return GuidanceVectors(**{**values, **changes})


def assert_equal(got: GuidanceVectors, want: GuidanceVectors) -> None:
    for field in dataclasses.fields(GuidanceVectors):
        first, second = getattr(got, field.name), getattr(want, field.name)
        if field.name in ("guidance", "activity", "magnitudes"):
            pairs = [(first, second)] if field.name == "magnitudes" else list(zip(first, second, strict=True))
            assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in pairs), field.name
        else:
            assert first == second, field.name
            assert type(first) is type(second), field.name


@pytest.mark.parametrize(
    "want",
    [
        make(),
        make(SHAPES[:1], 1, space="velocity"),
        make([(1, 16, 3, 4, 4)], 2),
        make(SHAPES[:1], 0),
        make(settings=Settings(), sigmas=tuple(sorted(SIGMAS))),
    ],
    ids=["two parts", "velocity", "video", "no concepts", "rising"],
)
def test_a_file_keeps_every_bit_and_every_word(tmp_path: Path, want: GuidanceVectors) -> None:
    vectors.save(want, tmp_path / "x.safetensors")
    assert_equal(vectors.load(tmp_path / "x.safetensors"), want)


def test_guidance_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    broken = make()
    broken.guidance[1][3, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"guidance.1 must be finite"):
        vectors.save(broken, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sigmas": (1.0,)}, "sigmas must be two or more numbers"),
        ({"sigmas": (*SIGMAS[:-1], float("nan"))}, "sigmas must be two or more numbers"),
        ({"sigmas": (*SIGMAS[:-1], -0.1)}, "sigmas must be two or more numbers"),
        ({"sigmas": (*SIGMAS, 0.0)}, r"guidance must be \(6, B, C, \*spatial\), got \(5, 2, 4, 6, 5\)"),
        ({"space": "pixels"}, "space must be one of noise, velocity, got 'pixels'"),
        ({"texts": TEXTS[:2]}, r"texts must have one entry per concept \(3\), got 2"),
        ({"concepts": CONCEPTS[:2], "texts": TEXTS[:2]}, r"activity must be \(2, 2, 6, 5\), got \(3, 2, 6, 5\)"),
        ({"guidance": (), "activity": ()}, "guidance"),
        ({"activity": (noise(3, 2, 6, 5),)}, r"activity must have one tensor per guidance tensor \(2\), got 1"),
        ({"guidance": (noise(STEPS, 2, 4), noise(STEPS, 2, 4))}, "guidance must be"),
        ({"guidance": (noise(STEPS, 2, 0, 6, 5), noise(STEPS, 2, 3, 7))}, r"guidance must be .* got \(5, 2, 0, 6, 5\)"),
        ({"magnitudes": noise(3, STEPS)}, r"magnitudes must be \(5, 3\), got \(3, 5\)"),
    ],
)
def test_what_does_not_fit_together_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make(**changes)


def forge(path: Path, tensors: dict[str, Any] | None = None, **metadata: str | None) -> Path:
    """Write the file of `make` with other tensors or metadata; None leaves one out."""
    vectors.save(make(), path)
    kept, words = tensor_file.read(path, vectors.KIND)
    kept, words = {**kept, **(tensors or {})}, {**words, **metadata}
    tensor_file.write(
        path,
        words.pop("kind"),
        {name: tensor for name, tensor in kept.items() if tensor is not None},
        {name: text for name, text in words.items() if text is not None},
    )
    return path


def concept_with(**changes: Any) -> str:
    concepts = [{"text": text, **dataclasses.asdict(c)} for text, c in zip(TEXTS, CONCEPTS, strict=True)]
    concepts[1] = {name: value for name, value in {**concepts[1], **changes}.items() if value != "absent"}
    return json.dumps(concepts)


FORGERIES = {
    "a conditioning": ({}, {"kind": "sega-conditioning"}, "must be a file of kind 'sega-guidance'"),
    "of the future": ({}, {"version": "2"}, "version must be 1, got '2'"),
    "no magnitudes": ({"magnitudes": None}, {}, "magnitudes is missing"),
    "a part is missing": ({"guidance.0": None}, {}, "guidance.0 is missing"),
    "a part too many": ({"guidance.7": noise(STEPS, 2, 4, 6, 5)}, {}, "guidance.2 is missing"),
    "another number of steps": ({"guidance.0": noise(4, 2, 4, 6, 5)}, {}, r"got \(4, 2, 4, 6, 5\)"),
    "another size": ({"activity.0": noise(3, 2, 6, 6)}, {}, r"activity must be \(3, 2, 6, 5\), got \(3, 2, 6, 6\)"),
    "an axis of nothing": ({"guidance.0": torch.zeros(STEPS, 0, 10**12, 6, 5)}, {}, "guidance must be"),
    "endless JSON": ({}, {"sigmas": "[" * 200_000}, "x: "),
    "sigmas of text": ({}, {"sigmas": '["a", "b"]'}, "could not convert string to float"),
    "sigmas without bounds": ({}, {"sigmas": f"[{'9' * 400}, 1, 1, 1, 1, 0]"}, "x: "),
    "sigmas longer than Python reads": ({}, {"sigmas": f"[{'9' * 5000}]"}, "x: "),
    "another space": ({}, {"space": "pixels"}, "space must be one of noise, velocity"),
    "a concept without text": ({}, {"concepts": concept_with(text="absent")}, "text is missing"),
    "a threshold out of range": ({}, {"concepts": concept_with(threshold=1.5)}, r"threshold must be in \[0, 1\)"),
    "a scale of text": ({}, {"concepts": concept_with(guidance_scale="5")}, "guidance_scale must be in"),
    "a setting from elsewhere": ({}, {"concepts": concept_with(hidden=1)}, "hidden"),
    "settings in a list": ({}, {"settings": "[1]"}, "x: "),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_file_that_does_not_make_sense_is_refused_by_name(tmp_path: Path, case: str) -> None:
    tensors, metadata, reason = FORGERIES[case]
    with pytest.raises(ValueError, match=r"^x"):
        vectors.load(forge(tmp_path / "x", tensors, **metadata))
    with pytest.raises(ValueError, match=reason):
        vectors.load(tmp_path / "x")


def test_numbers_of_another_size_are_read_as_fp32(tmp_path: Path) -> None:
    guidance = make().guidance[0].half()
    loaded = vectors.load(forge(tmp_path / "x", {"guidance.0": guidance}))
    assert loaded.guidance[0].dtype == torch.float32
    assert torch.equal(loaded.guidance[0], guidance.float())


def record(concepts: Any, settings: Settings, differences: Any, sigmas: tuple[float, ...]) -> Any:
    """Run all steps at their own noise level; return each step's guidance and what was recorded."""
    recorder = Recorder(differences[0][0].shape, sigmas, len(concepts))
    run = GuidanceRun(concepts, settings, len(differences), recorder)
    out = [
        run.guidance(step, {c: compared(estimates[c]) for c in run.needed(step)}, sigma=sigmas[step])
        for step, estimates in enumerate(differences)
    ]
    texts = [str(c) for c in range(len(concepts))]
    return out, recorded([recorder], "noise", concepts, texts, settings)


@pytest.mark.parametrize("mode", ["reference", "independent"])
@pytest.mark.parametrize("seed", range(6))
def test_a_recorder_keeps_what_each_step_was_given(seed: int, mode: str) -> None:
    concepts, settings, differences = random_run(seed, mode)
    sigmas = tuple(float(8 - i) for i in range(9))
    given, kept = record(concepts, settings, differences, sigmas)
    for step, guidance in enumerate(given):
        want = torch.zeros(differences[0][0].shape) if guidance is None else guidance
        assert torch.equal(kept.guidance[0][step], want)
    assert kept.sigmas == sigmas
    assert kept.concepts == tuple(concepts)
    assert kept.settings == settings
    assert kept.shapes == [tuple(differences[0][0].shape)]


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_strength_and_activity_are_the_mean_magnitude_of_a_concepts_own_share(mode: str) -> None:
    shape, steps = (2, 3, 4, 5), 6
    concepts = [
        Concept(guidance_scale=2.0, threshold=0.0, warmup_steps=1, cooldown_steps=4, weight=0.5),
        Concept("remove", guidance_scale=3.0, threshold=0.0, warmup_steps=3, weight=2.0),
    ]
    differences = [[noise(*shape, seed=10 * step + c) for c in range(2)] for step in range(steps)]
    _, kept = record(concepts, Settings(0.5, 0.4, mode), differences, tuple(float(6 - i) for i in range(7)))
    # While the second concept warms up, the reference gives the first one the whole weight.
    first = {1: 1.0, 2: 1.0, 3: 0.5} if mode == "reference" else {1: 0.5, 2: 0.5, 3: 0.5}
    weights = [first, {3: 2.0, 4: 2.0, 5: 2.0}]
    for c, concept in enumerate(concepts):
        zero = torch.zeros(shape)
        shares = [
            weights[c][step] * concept.guidance_scale * differences[step][c].abs() if step in weights[c] else zero
            for step in range(steps)
        ]
        assert torch.allclose(kept.magnitudes[:, c], torch.stack([share.mean() for share in shares]), rtol=1e-5)
        assert torch.allclose(kept.activity[0][c], torch.stack(shares).mean((0, 2)), rtol=1e-5)


def test_of_several_evaluations_the_last_one_nearest_to_the_steps_own_noise_level_is_kept() -> None:
    recorder = Recorder((1, 1, 2), (4.0, 2.0, 0.0), 1)
    evaluations = [(0, 4.0, 1.0), (0, 3.0, 2.0), (1, 2.0, 3.0), (0, 3.9, 4.0), (1, 2.0, 5.0), (1, 1.0, 6.0)]
    for step, sigma, value in evaluations:
        tensor = torch.full((1, 1, 2), value)
        recorder.keep(step, sigma, tensor, {0: tensor[:, 0]})
    assert recorder.guidance().flatten(1).tolist() == [[1.0, 1.0], [5.0, 5.0]]
    assert recorder.magnitudes().tolist() == [[1.0], [5.0]]
    assert recorder.activity().tolist() == [[[3.0, 3.0]]]


def test_parts_share_their_strength_and_keep_their_own_activity() -> None:
    recorders = [Recorder(shape, (2.0, 1.0), 1) for shape in SHAPES]
    for value, recorder in zip((1.0, 3.0), recorders, strict=True):
        tensor = torch.full(recorder.shape, value)
        recorder.keep(0, 2.0, tensor, {0: tensor[:, 0]})
    kept = recorded(recorders, "velocity", [Concept()], ["hat"], Settings())
    assert kept.magnitudes.tolist() == [[2.0]]
    assert [activity.unique().tolist() for activity in kept.activity] == [[1.0], [3.0]]
    assert kept.shapes == SHAPES


def test_latents_that_change_size_cannot_be_recorded() -> None:
    recorder = Recorder((1, 4, 8, 8), (2.0, 1.0, 0.0), 1)
    recorder.keep(0, 2.0, noise(1, 4, 8, 8), {})
    with pytest.raises(ValueError, match=r"changed size from \(1, 4, 8, 8\) to \(1, 4, 16, 16\)"):
        recorder.keep(1, 1.0, noise(1, 4, 16, 16), {})


@pytest.mark.parametrize("sigmas", [(10.0, 6.0, 3.0, 1.0, 0.5, 0.0), (0.0, 0.5, 1.0, 3.0, 6.0, 10.0)])
def test_a_noise_level_finds_the_step_that_covers_it(sigmas: tuple[float, ...]) -> None:
    kept = make(sigmas=sigmas)
    for step in range(STEPS):
        first, after = sigmas[step], sigmas[step + 1]
        for share in (0.0, 0.01, 0.5, 0.99):
            assert kept.step_at(first + share * (after - first)) == step
