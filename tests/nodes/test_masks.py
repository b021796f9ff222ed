"""A concept's mask on the host: nothing is edited outside of it, whatever its size and whatever samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from support import guiders
from support.core import noise
from support.families import Sampled, sampled
from support.host import Host
from support.models import demo_clip
from support.tensors import distance

pytestmark = pytest.mark.compat("Features", "masks per concept")
SPACE_ROW = "threshold over space (LEDITS++)"


def left(height: int = 64, width: int = 64, count: int = 1) -> Tensor:
    """Return a MASK whose left half is white."""
    mask = torch.zeros(count, height, width)
    mask[..., : width // 2] = 1
    return mask


def right(height: int = 64, width: int = 64) -> Tensor:
    return 1 - left(height, width)


def edit(host: Host, *concepts: Any, **changes: Any) -> Tensor:
    return host.sega(*concepts, **{"steps": 3, **changes})


def guided(log: list[Tensor], host: Host, *concepts: Any, **changes: Any) -> list[Tensor]:
    """Sample and return the guidance of each evaluation."""
    log.clear()
    edit(host, *concepts, **changes)
    assert log
    return list(log)


def assert_left(guidance: list[Tensor]) -> None:
    """Check that each step is edited on the left alone."""
    for step in guidance:
        half = step.shape[-1] // 2
        assert step[..., :half].any()
        assert not step[..., half:].any()


# The size of the mask.


@pytest.mark.parametrize(
    ("mode", "over"), [("reference", "channel"), ("independent", "energy"), ("independent", "space")]
)
def test_nothing_is_added_outside_of_the_mask(host: Host, guidance_log: list[Tensor], mode: str, over: str) -> None:
    """Also through the momentum."""
    concept = host.concept(mask=left(), threshold=0.3, threshold_over=over, start_percent=0.2)
    guidance = guided(guidance_log, host, concept, mode=mode, momentum_scale=0.7, latent=host.latent(2), steps=5)
    assert_left(guidance[1:])


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (1000, 3), (17, 33)], ids=str)
def test_a_white_mask_is_no_mask_to_the_bit_and_a_black_one_no_concept(
    host: Host, guidance_log: list[Tensor], size: tuple[int, int]
) -> None:
    white, none, black, plain = (
        edit(host, *concepts, latent=host.latent(2))
        for concepts in (
            [host.concept(mask=torch.ones(1, *size))],
            [host.concept()],
            [host.concept(mask=torch.zeros(1, *size))],
            [],
        )
    )
    assert torch.equal(white, none)
    assert distance(none, plain) > 1e-3
    assert not any(step.count_nonzero() for step in guidance_log[6:])
    # A processor may round a larger batch differently.
    assert distance(black, plain) < 1e-5


def test_a_grey_mask_scales_the_guidance(host: Host, guidance_log: list[Tensor]) -> None:
    for mask in (None, torch.full((1, 30, 30), 0.25)):
        edit(host, host.concept(threshold=0.6, mask=mask), steps=1)
    whole, scaled = guidance_log
    assert whole.any()
    assert torch.equal(scaled, 0.25 * whole)


@pytest.mark.parametrize("latent", [(8, 8), (7, 9), (1, 8)], ids=str)
@pytest.mark.parametrize("size", [(64, 64), (2, 2), (3, 1000)], ids=str)
def test_a_mask_of_another_size_is_stretched_over_the_picture(
    host: Host, guidance_log: list[Tensor], size: tuple[int, int], latent: tuple[int, int]
) -> None:
    for mask in (None, left(*size)):
        samples = {"samples": torch.zeros(2, 4, *latent)}
        edit(host, host.concept(threshold=0.0, mask=mask), latent=samples, steps=1)
    whole, masked = guidance_log
    share = masked / whole
    torch.testing.assert_close(share[..., 0], torch.ones_like(share[..., 0]), rtol=1e-6, atol=0)
    assert not share[..., -1].any()
    assert (share.diff(dim=-1) <= 1e-6).all()
    torch.testing.assert_close(share, share[:, :1, :1].expand_as(share))


# How many masks.


@pytest.mark.parametrize(
    ("white", "edited"), [([1], [1, 1, 1]), ([0, 1], [0, 1, 0]), ([0, 1, 0, 1, 1], [0, 1, 0])], ids=str
)
def test_several_masks_go_to_the_images_in_turn(host: Host, white: list[int], edited: list[int]) -> None:
    mask = torch.tensor(white, dtype=torch.float32).view(-1, 1, 1).expand(-1, 20, 20)
    plain, masked = (edit(host, *concepts, latent=host.latent(3)) for concepts in ([], [host.concept(mask=mask)]))
    assert [int(not torch.equal(*pair)) for pair in zip(plain, masked, strict=True)] == edited


def test_an_image_is_edited_by_its_own_mask_as_alone(host: Host, guidance_log: list[Tensor]) -> None:
    masks = torch.cat([left(), right(), torch.ones(1, 64, 64)])
    (together,) = guided(guidance_log, host, host.concept(mask=masks), latent=host.latent(3), steps=1)
    for i in range(3):
        concept = host.concept(mask=masks[i : i + 1])
        (alone,) = guided(guidance_log, host, concept, latent=host.latent(3), steps=1)
        assert torch.equal(alone[i], together[i])


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_each_concept_acts_in_its_own_mask(host: Host, guidance_log: list[Tensor], mode: str) -> None:
    """And what lies between them is left, also through the momentum."""
    top, bottom = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    top[:, :16], bottom[:, 48:] = 1, 1
    concepts = [host.concept(10, mask=top), host.concept(11, mask=bottom, start_percent=0.5)]
    guidance = guided(guidance_log, host, *concepts, mode=mode, momentum_scale=0.5, steps=4)
    for step in guidance:
        assert not step[:, :, 2:6].any()
    assert guidance[-1][:, :, :2].any()
    assert guidance[-1][:, :, 6:].any()
    assert not guidance[0][:, :, 6:].any()


# Other latents.


def seen_by(model: Sampled, log: list[Tensor], latent: Any = None, **changes: Any) -> list[Tensor]:
    """Return the guidance of a family's concept in one step, of each part of the latents."""
    log.clear()
    model.sega(model.concept(**{"threshold": 0.0, **changes}), latent=latent or model.latent())
    return list(log)


VIDEO = {"samples": torch.zeros(2, 16, 5, 8, 8)}


@pytest.mark.parametrize(("white", "edited"), [([1], [1] * 5), ([1, 1, 0, 0, 1], [1, 1, 0, 0, 1])], ids=str)
def test_masks_of_a_video_go_to_its_frames(
    host: Host, guidance_log: list[Tensor], white: list[int], edited: list[int]
) -> None:
    mask = left(count=len(white)) * torch.tensor(white).view(-1, 1, 1)
    (guidance,) = seen_by(sampled(host, "WAN21_T2V"), guidance_log, VIDEO, mask=mask)
    assert guidance.any((0, 1, 3, 4)).int().tolist() == edited
    assert not guidance[..., 4:].any()


def test_masks_of_the_pictures_of_a_video_fade_over_its_latent_frames(host: Host, guidance_log: list[Tensor]) -> None:
    """17 pictures are 5 latent frames; the second of these lies at the pictures 5 and 6."""
    mask, model = torch.zeros(17, 64, 64), sampled(host, "WAN21_T2V")
    mask[5:] = 1
    (whole,), (masked,) = (seen_by(model, guidance_log, VIDEO, mask=chosen) for chosen in (None, mask))
    share = (masked / whole).mean((0, 1, 3, 4))
    assert share[0] == 0
    assert 0.5 < share[1] < 0.7
    assert share[2:].tolist() == [1, 1, 1]


def test_of_packed_latents_the_picture_is_masked_and_the_sound_is_not(host: Host, guidance_log: list[Tensor]) -> None:
    model = sampled(host, "LTXAV")
    whole, masked = (seen_by(model, guidance_log, mask=mask) for mask in (None, left()))
    assert torch.equal(masked[0], whole[0] * torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert torch.equal(masked[1], whole[1])
    assert all(part.any() for part in whole)


def test_a_model_of_pixels_is_masked_in_pixels(host: Host, guidance_log: list[Tensor]) -> None:
    (guidance,) = seen_by(sampled(host, "ChromaRadiance"), guidance_log, mask=left(16, 16))
    assert guidance.shape == (2, 3, 16, 16)
    assert_left([guidance])


def test_sound_takes_no_mask(host: Host) -> None:
    model = sampled(host, "StableAudio")
    message = r"SEGASampler: concepts: concept 1 \('conditioning'\): mask must not be connected"
    with pytest.raises(ValueError, match=message):
        model.sega(model.concept(mask=left()))


# What masks compose with.


@pytest.mark.parametrize(
    "make",
    [guiders.cfg(4.0), guiders.basic(), guiders.dual("regular"), guiders.perp_neg(4.0, 1.0)],
    ids=["CFGGuider", "BasicGuider", "DualCFGGuider", "PerpNegGuider"],
)
def test_every_guider(host: Host, guidance_log: list[Tensor], make: guiders.Maker) -> None:
    assert host.guide(make(host, host.patched(host.concept(mask=left())))).isfinite().all()
    assert guidance_log
    assert_left(guidance_log)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "heun", "dpmpp_2m_sde"])
def test_every_kind_of_sampler(host: Host, guidance_log: list[Tensor], sampler: str) -> None:
    assert_left(guided(guidance_log, host, host.concept(mask=left()), sampler_name=sampler, steps=4))


def test_inpainting_keeps_what_it_does_not_paint(host: Host) -> None:
    """The host's noise mask says what is sampled at all, the concept's mask where of it the edit acts."""
    start = noise(1, 4, 8, 8)
    latent = {"samples": start, "noise_mask": left()}
    plain = edit(host, latent=latent)
    inside, outside = (edit(host, host.concept(mask=mask), latent=latent) for mask in (left(), right()))
    for out in (plain, inside, outside):
        torch.testing.assert_close(out[..., 4:], start[..., 4:], rtol=1e-4, atol=1e-4)
    assert distance(inside, plain) > 0.1
    # What is edited there is painted over again, and yet the network has seen it.
    assert (outside - plain).norm() < 0.1 * (inside - plain).norm()


@pytest.mark.parametrize(
    "prompts",
    [{"positive": {"area": (4, 8, 0, 0), "strength": 1.0}}, {"negative": {"mask": left() / 2, "mask_strength": 0.5}}],
    ids=["area", "mask"],
)
def test_prompts_for_an_area_or_with_a_mask(host: Host, guidance_log: list[Tensor], prompts: dict[str, Any]) -> None:
    given = {name: host.conditioning(5, **values) for name, values in prompts.items()}
    assert_left(guided(guidance_log, host, host.concept(mask=left(), threshold=0.2), **given))


def test_a_mask_holds_together_with_an_attention_mask(host: Host, guidance_log: list[Tensor]) -> None:
    settings = {"threshold": 0.4, "threshold_over": "space"}
    concepts = [
        host.concept(**settings, mask=left()),
        host.concept(**settings, mask=left(), attention_threshold=0.6),
    ]
    (masked,), (both,) = (guided(guidance_log, host, concept, steps=1) for concept in concepts)
    assert not both[..., 4:].any()
    assert torch.equal(both, torch.where(both != 0, masked, 0))
    assert 0 < both.count_nonzero() < masked.count_nonzero()


def test_the_recorded_guidance_shows_no_activity_outside_of_the_mask(host: Host) -> None:
    model, runs = host.recording(host.concept(10, mask=left()), host.concept(11, mask=right()), mode="independent")
    host.sample(model)
    first, second = runs[0].activity[0]
    assert_left([first, second.flip(-1)])


def test_a_concept_serves_latents_of_several_sizes_one_after_the_other(host: Host) -> None:
    mask = left()
    concept = host.concept(mask=mask)
    first = edit(host, concept)
    for size in (16, 7):
        assert edit(host, concept, latent=host.latent(2, size)).isfinite().all()
    assert torch.equal(edit(host, concept), first)
    assert torch.equal(mask, left())


def test_a_sampler_that_changes_the_size_of_the_latents_is_masked_at_each_size(
    host: Host, guidance_log: list[Tensor]
) -> None:
    def growing(model: Callable, x: Tensor, sigmas: Tensor, **kwargs: Any) -> Tensor:
        for sigma in sigmas[:2]:
            x = model(x, sigma.expand(len(x)), **kwargs["extra_args"]).repeat(1, 1, 2, 2)
        return x

    guider = guiders.cfg(4.0)(host, host.patched(host.concept(mask=left())))
    start = noise(1, 4, 8, 8)
    sigmas = torch.tensor([10.0, 5.0, 0.0])
    guider.sample(start, torch.zeros_like(start), host.samplers.KSAMPLER(growing), sigmas)
    assert [step.shape[-1] for step in guidance_log] == [8, 16]
    assert_left(guidance_log)


@pytest.mark.compat("Features", SPACE_ROW)
def test_over_space_a_place_is_edited_in_all_channels_or_in_none(host: Host, guidance_log: list[Tensor]) -> None:
    concept = host.concept(threshold=0.75, threshold_over="space")
    # Where there is hardly any noise left, estimates are the same to the bit here and there.
    for step in guided(guidance_log, host, concept, momentum_scale=0.0, latent=host.latent(2))[:2]:
        edited = step != 0
        assert torch.equal(edited.any(1), edited.all(1))
        # The quantile lies at the 48th of 64 places.
        assert edited.any(1).sum((1, 2)).tolist() == [16, 16]


@pytest.mark.compat("Features", SPACE_ROW)
def test_the_three_ways_differ_and_the_energy_is_the_default(host: Host) -> None:
    energy, channel, space = (
        edit(host, host.concept(threshold=0.75, threshold_over=over)) for over in ("energy", "channel", "space")
    )
    node, given = host.pack.nodes.SEGAConceptFromConditioning, {"guidance_scale": 5.0, "strength": 1.0}
    default = edit(host, node.execute(host.conditioning(10), None, threshold=0.75, **given)[0])
    assert torch.equal(default, energy)
    assert not torch.equal(channel, space)
    assert not torch.equal(energy, space)


@pytest.mark.compat("Features", "threshold of the energy")
def test_a_video_has_one_share_of_the_energy_over_all_its_frames(host: Host, guidance_log: list[Tensor]) -> None:
    """A mask of the first frames leaves the others alone."""
    mask, changes = torch.zeros(17, 64, 64), {"threshold": 0.2, "threshold_over": "energy"}
    mask[:5] = 1
    (guidance,) = seen_by(sampled(host, "WAN21_T2V"), guidance_log, VIDEO, mask=mask, **changes)
    places = (guidance != 0).any(1)[0]
    assert torch.equal(places, (guidance != 0).all(1)[0])
    assert places[:2].any()
    assert not places[2:].any()


@pytest.mark.compat("Features", SPACE_ROW)
@pytest.mark.parametrize("over", ["channel", "space"])
def test_a_video_is_thresholded_over_all_its_frames(host: Host, guidance_log: list[Tensor], over: str) -> None:
    model, changes = sampled(host, "WAN21_T2V"), {"threshold": 0.75, "threshold_over": over}
    (guidance,) = seen_by(model, guidance_log, VIDEO, **changes)
    assert set((guidance != 0).sum((0, 2, 3, 4)).tolist()) == {160}
    assert (guidance != 0).any(1).sum() == 160 or over == "channel"


# What is no mask.


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((1, 8, 8), float("nan")), r"must be in \[0, 1\], got values from nan to nan"),
        (torch.full((1, 8, 8), 1.5), r"must be in \[0, 1\], got values from 1\.5 to 1\.5"),
        (torch.full((1, 8, 8), -0.1), r"must be in \[0, 1\], got values from -0\.1 to -0\.1"),
        (torch.zeros(0, 8, 8), r"must be \(N, height, width\), got shape \(0, 8, 8\)"),
        (torch.zeros(1, 8, 8, 3), r"must be \(N, height, width\), got shape \(1, 8, 8, 3\)"),
        (torch.zeros(8), r"must be \(N, height, width\), got shape \(8,\)"),
    ],
    ids=["NaN", "above 1", "below 0", "no masks", "an image", "a row"],
)
def test_what_is_no_mask_is_refused(host: Host, mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=rf"SEGAConceptFromConditioning: mask {message}"):
        host.concept(mask=mask)
    with pytest.raises(ValueError, match=rf"SEGAConcept: mask {message}"):
        host.pack.nodes.SEGAConcept.execute(demo_clip(), "glasses", mask=mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bool])
def test_masks_of_any_type_and_without_a_batch(host: Host, dtype: torch.dtype) -> None:
    expected = edit(host, host.concept(mask=left()))
    assert torch.equal(edit(host, host.concept(mask=left()[0].to(dtype))), expected)
    assert not torch.equal(expected, edit(host, host.concept()))
