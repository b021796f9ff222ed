"""A concept's mask on the host: nothing is edited outside of it, whatever its size and whatever samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from support.host import Host
from support.models import LTXAV, STABLE_AUDIO, WAN, chroma_radiance, family_model
from support.pipeline import fill_with_noise

pytestmark = pytest.mark.compat("Features", "masks per concept")
SPACE_ROW = "threshold over space (LEDITS++)"
CPU = torch.device("cpu")


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


# The size of the mask.


@pytest.mark.parametrize("over", ["energy", "channel", "space"])
@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_nothing_is_added_outside_of_the_mask(host: Host, guidance_log: list[Tensor], mode: str, over: str) -> None:
    """Also through the momentum."""
    concept = host.concept(mask=left(), threshold=0.3, threshold_over=over, start_percent=0.2)
    guidance = guided(guidance_log, host, concept, mode=mode, momentum_scale=0.7, latent=host.latent(2), steps=5)
    for step in guidance[1:]:
        assert step[..., :4].any()
        assert not step[..., 4:].any()


SIZES = [(64, 64), (8, 8), (1, 1), (1000, 3), (3, 1000), (17, 33), (2, 2)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_white_mask_is_no_mask_to_the_bit(host: Host, size: tuple[int, int]) -> None:
    concepts = [host.concept(threshold=0.6, mask=mask) for mask in (torch.ones(1, *size), None)]
    white, none = (edit(host, concept, latent=host.latent(2)) for concept in concepts)
    assert torch.equal(white, none)
    assert not torch.equal(none, edit(host, latent=host.latent(2)))


@pytest.mark.parametrize("latent", [(7, 9), (33, 17)], ids=str)
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (5, 1000)], ids=str)
def test_a_white_mask_is_no_mask_on_odd_latents(
    host: Host, guidance_log: list[Tensor], latent: tuple[int, int], size: tuple[int, int]
) -> None:
    """Up to how the host rounds when it resizes."""
    settings = {"latent": {"samples": torch.zeros(1, 4, *latent)}, "steps": 1}
    concepts = [host.concept(threshold=0.0, mask=mask) for mask in (torch.ones(1, *size), None)]
    (white,), (none,) = (guided(guidance_log, host, concept, **settings) for concept in concepts)
    torch.testing.assert_close(white, none, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_black_mask_gives_the_plain_picture(host: Host, guidance_log: list[Tensor], size: tuple[int, int]) -> None:
    concept = host.concept(mask=torch.zeros(1, *size))
    guidance = guided(guidance_log, host, concept, latent=host.latent(2))
    assert not any(step.count_nonzero() for step in guidance)
    masked, plain = edit(host, concept, latent=host.latent(2)), edit(host, latent=host.latent(2))
    # A processor may round a larger batch differently.
    assert torch.linalg.vector_norm(masked - plain) < 1e-5 * torch.linalg.vector_norm(plain)


@pytest.mark.parametrize("grey", [0.25, 0.5])
def test_a_grey_mask_scales_the_guidance(host: Host, guidance_log: list[Tensor], grey: float) -> None:
    concepts = [host.concept(threshold=0.6, mask=mask) for mask in (None, torch.full((1, 30, 30), grey))]
    (whole,), (scaled,) = (guided(guidance_log, host, concept, steps=1) for concept in concepts)
    assert whole.any()
    assert torch.equal(scaled, grey * whole)


@pytest.mark.parametrize("size", [(64, 64), (2, 2), (3, 1000), (1000, 4), (65, 63)], ids=str)
def test_a_mask_of_another_size_is_stretched_over_the_picture(
    host: Host, guidance_log: list[Tensor], size: tuple[int, int]
) -> None:
    concepts = [host.concept(threshold=0.0, mask=mask) for mask in (None, left(*size))]
    (whole,), (masked,) = (guided(guidance_log, host, concept, steps=1) for concept in concepts)
    share = masked / whole
    assert torch.equal(share[..., 0], torch.ones_like(share[..., 0]))
    assert not share[..., -1].any()
    assert (share.diff(dim=-1) <= 1e-6).all()
    torch.testing.assert_close(share, share[:, :1, :1].expand_as(share))


@pytest.mark.parametrize("latent", [(7, 9), (33, 17), (1, 8), (6, 2)], ids=str)
def test_latents_of_any_size(host: Host, guidance_log: list[Tensor], latent: tuple[int, int]) -> None:
    samples = {"samples": torch.zeros(2, 4, *latent)}
    (guidance,) = guided(guidance_log, host, host.concept(threshold=0.0, mask=left()), latent=samples, steps=1)
    assert guidance.isfinite().all()
    assert guidance[..., 0].all()
    assert not guidance[..., -1].any()


def test_a_mask_without_a_batch_is_one_mask(host: Host) -> None:
    masked, flat = (edit(host, host.concept(mask=mask)) for mask in (left(), left()[0]))
    assert torch.equal(masked, flat)
    assert not torch.equal(masked, edit(host, host.concept()))


# How many masks.


@pytest.mark.parametrize(
    ("white", "edited"),
    [([1], [1, 1, 1]), ([0, 1], [0, 1, 0]), ([0, 0, 1], [0, 0, 1]), ([0, 1, 0, 1, 1], [0, 1, 0])],
    ids=str,
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


def test_each_concept_acts_in_its_own_mask(host: Host, guidance_log: list[Tensor]) -> None:
    concepts = [host.concept(10, mask=left()), host.concept(11, mask=right(), direction="remove"), host.concept(12)]
    settings = {"mode": "independent", "momentum_scale": 0.0, "steps": 1}
    (together,) = guided(guidance_log, host, *concepts, **settings)
    alone = [guided(guidance_log, host, concept, **settings)[0] for concept in concepts]
    assert torch.equal(alone[0][..., 4:], torch.zeros_like(alone[0][..., 4:]))
    assert torch.equal(alone[1][..., :4], torch.zeros_like(alone[1][..., :4]))
    torch.testing.assert_close(together, sum(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_two_masks_leave_what_lies_between_them(host: Host, guidance_log: list[Tensor], mode: str) -> None:
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


def family(name: str, unet: dict[str, Any], weights: dict[str, Tensor] | None = None) -> Any:
    """Return a tiny MODEL of one of the host's families."""
    model = family_model(name, unet, weights=weights)
    for buffer in model.model.diffusion_model.buffers():
        if buffer.is_floating_point():
            # What only a checkpoint sets is whatever lay in the memory.
            buffer.nan_to_num_(0.0, 0.0, 0.0).clamp_(-10.0, 10.0)
    return model


def texts(host: Host, width: int = 32, **values: Any) -> dict[str, Any]:
    values = {"pooled_output": None, **values}
    return {name: host.conditioning(seed, width, **values) for name, seed in (("positive", 1), ("negative", 2))}


def of_width(host: Host, width: int, **changes: Any) -> Any:
    concept = host.concept(**{"threshold": 0.0, **changes})
    return replace(concept, conditioning=host.conditioning(10, width))


@pytest.fixture(scope="module")
def wan(host: Host) -> Any:
    return family("WAN21_T2V", WAN)


@pytest.mark.parametrize(
    ("white", "edited"), [([1], [1] * 5), ([0], [0] * 5), ([1, 1, 0, 0, 1], [1, 1, 0, 0, 1])], ids=str
)
def test_masks_of_a_video_go_to_its_frames(
    host: Host, wan: Any, guidance_log: list[Tensor], white: list[int], edited: list[int]
) -> None:
    mask = left(count=len(white)) * torch.tensor(white).view(-1, 1, 1)
    video = {"samples": torch.zeros(2, 16, 5, 8, 8)}
    (guidance,) = guided(
        guidance_log, host, of_width(host, 32, mask=mask), model=wan, latent=video, steps=1, **texts(host)
    )
    assert guidance.any((0, 1, 3, 4)).int().tolist() == edited
    assert not guidance[..., 4:].any()


def test_masks_of_the_pictures_of_a_video_fade_over_its_latent_frames(
    host: Host, wan: Any, guidance_log: list[Tensor]
) -> None:
    """17 pictures are 5 latent frames; the second of these lies at the pictures 5 and 6."""
    mask = torch.zeros(17, 64, 64)
    mask[5:] = 1
    video = {"samples": torch.zeros(1, 16, 5, 8, 8)}
    settings = {"model": wan, "latent": video, "steps": 1, **texts(host)}
    (whole,), (masked,) = (
        guided(guidance_log, host, of_width(host, 32, mask=chosen), **settings) for chosen in (None, mask)
    )
    share = (masked / whole).mean((0, 1, 3, 4))
    assert share[0] == 0
    assert 0.5 < share[1] < 0.7
    assert share[2:].tolist() == [1, 1, 1]


def test_of_packed_latents_the_picture_is_masked_and_the_sound_is_not(host: Host, guidance_log: list[Tensor]) -> None:
    import comfy.nested_tensor

    model = family("LTXAV", LTXAV)
    parts = [torch.zeros(1, 128, 3, 6, 6), torch.zeros(1, 8, 10, 16)]
    settings = {"model": model, "latent": {"samples": comfy.nested_tensor.NestedTensor(parts)}, "steps": 1}
    settings |= texts(host, 64, frame_rate=12)
    whole, masked = (guided(guidance_log, host, of_width(host, 64, mask=mask), **settings) for mask in (None, left()))
    assert [step.shape for step in masked] == [part.shape for part in parts]
    assert torch.equal(masked[0], whole[0] * torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert torch.equal(masked[1], whole[1])
    assert whole[0].any()
    assert whole[1].any()


def test_a_model_of_pixels_is_masked_in_pixels(host: Host, guidance_log: list[Tensor]) -> None:
    model = family("ChromaRadiance", chroma_radiance())
    picture = {"samples": torch.zeros(1, 3, 32, 32)}
    concept = of_width(host, 32, mask=left(32, 32))
    (guidance,) = guided(guidance_log, host, concept, model=model, latent=picture, steps=1, **texts(host))
    assert guidance.shape == (1, 3, 32, 32)
    assert guidance[..., :16].any()
    assert not guidance[..., 16:].any()


def test_sound_takes_no_mask(host: Host) -> None:
    from comfy.ldm.audio.embedders import NumberConditioner

    numbers = NumberConditioner(768, min_val=0, max_val=512)
    fill_with_noise(numbers, 7)
    weights = {
        f"conditioner.conditioners.{name}.{key}": value
        for name in ("seconds_start", "seconds_total")
        for key, value in numbers.state_dict().items()
    }
    model = family("StableAudio", STABLE_AUDIO, weights)
    settings = {"model": model, "latent": {"samples": torch.zeros(1, 64, 40)}, **texts(host, 768)}
    assert edit(host, of_width(host, 768), **settings).isfinite().all()
    message = r"SEGASampler: concepts: concept 1 \('conditioning'\): mask must not be connected"
    with pytest.raises(ValueError, match=message):
        edit(host, of_width(host, 768, mask=left()), **settings)


# What masks compose with.


@pytest.mark.parametrize("name", ["KSampler", "CFGGuider", "BasicGuider", "DualCFGGuider", "PerpNegGuider"])
def test_every_guider(host: Host, guidance_log: list[Tensor], name: str) -> None:
    from comfy_extras import nodes_perpneg

    first, second, third = (host.conditioning(seed) for seed in (1, 2, 4))
    model = host.patched(host.concept(mask=left()))
    guiders: dict[str, Callable] = {
        "KSampler": lambda: host.sample(model),
        "CFGGuider": lambda: host.guide(host.custom.CFGGuider.execute(model, first, second, 4.0)[0]),
        "BasicGuider": lambda: host.guide(host.custom.BasicGuider.execute(model, first)[0]),
        "DualCFGGuider": lambda: host.guide(
            host.custom.DualCFGGuider.execute(model, first, third, second, 4.0, 3.0, "regular")[0]
        ),
        "PerpNegGuider": lambda: host.guide(
            nodes_perpneg.PerpNegGuider.execute(model, first, second, third, 4.0, 1.0)[0]
        ),
    }
    assert guiders[name]().isfinite().all()
    for guidance in guidance_log:
        assert guidance[..., :4].any()
        assert not guidance[..., 4:].any()


@pytest.mark.parametrize("sampler", ["euler_ancestral", "heun", "dpmpp_2m_sde", "uni_pc", "lcm"])
def test_every_kind_of_sampler(host: Host, guidance_log: list[Tensor], sampler: str) -> None:
    for guidance in guided(guidance_log, host, host.concept(mask=left()), sampler_name=sampler, steps=4):
        assert not guidance[..., 4:].any()
        assert guidance[..., :4].any()


def test_inpainting_keeps_what_it_does_not_paint(host: Host) -> None:
    """The host's noise mask says what is sampled at all, the concept's mask where of it the edit acts."""
    start = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(6))
    latent = {"samples": start, "noise_mask": left()}
    plain = edit(host, latent=latent)
    inside, outside = (edit(host, host.concept(mask=mask), latent=latent) for mask in (left(), right()))
    for out in (plain, inside, outside):
        torch.testing.assert_close(out[..., 4:], start[..., 4:], rtol=1e-4, atol=1e-4)
    assert (inside - plain).norm() > 0.1 * plain.norm()
    # What is edited there is painted over again, and yet the network has seen it.
    assert (outside - plain).norm() < 0.1 * (inside - plain).norm()


@pytest.mark.parametrize("which", ["positive", "negative"])
@pytest.mark.parametrize(
    "values",
    [{"area": (4, 8, 0, 0), "strength": 1.0}, {"mask": torch.ones(1, 64, 64), "mask_strength": 0.5}],
    ids=["area", "mask"],
)
def test_prompts_for_an_area_or_with_a_mask(
    host: Host, guidance_log: list[Tensor], which: str, values: dict[str, Any]
) -> None:
    prompts = {which: host.conditioning(5, **values)}
    guidance = guided(guidance_log, host, host.concept(mask=left(), threshold=0.2), **prompts)
    assert guidance[0][..., :4].any()
    for step in guidance:
        assert not step[..., 4:].any()


def test_a_mask_holds_together_with_an_attention_mask(host: Host, guidance_log: list[Tensor]) -> None:
    settings = {"threshold": 0.4, "threshold_over": "space"}
    concepts = [
        host.concept(**settings, mask=left()),
        replace(host.concept(**settings, mask=left(), attention_threshold=0.6), token_positions=(1, 2)),
    ]
    (masked,), (both,) = (guided(guidance_log, host, concept, steps=1) for concept in concepts)
    assert not both[..., 4:].any()
    assert torch.equal(both, torch.where(both != 0, masked, 0))
    assert 0 < both.count_nonzero() < masked.count_nonzero()


def test_the_recorded_guidance_shows_no_activity_outside_of_the_mask(host: Host) -> None:
    arguments = {
        "seed": 3, "steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal",
        "positive": host.conditioning(1), "negative": host.conditioning(2), "latent_image": host.latent(2),
        "denoise": 1.0, "momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "independent",
    }  # fmt: skip
    stack = host.stack(host.concept(10, mask=left()), host.concept(11, mask=right()))
    recorded = host.pack.nodes.SEGASampler.execute(host.eps, concepts=stack, **arguments)[1]
    first, second = recorded.activity[0]
    assert first[..., :4].any()
    assert not first[..., 4:].any()
    assert second[..., 4:].any()
    assert not second[..., :4].any()


def test_a_concept_serves_latents_of_several_sizes_one_after_the_other(host: Host) -> None:
    concept = host.concept(mask=left())
    first = edit(host, concept)
    for size in (16, 7):
        assert edit(host, concept, latent=host.latent(2, size)).isfinite().all()
    assert torch.equal(edit(host, concept), first)


def test_a_sampler_that_changes_the_size_of_the_latents_is_masked_at_each_size(
    host: Host, guidance_log: list[Tensor]
) -> None:
    def growing(model: Callable, x: Tensor, sigmas: Tensor, **kwargs: Any) -> Tensor:
        for sigma in sigmas[:2]:
            x = model(x, sigma.expand(len(x)), **kwargs["extra_args"]).repeat(1, 1, 2, 2)
        return x

    guider = host.custom.CFGGuider.execute(host.patched(host.concept(mask=left())), *texts(host).values(), 4.0)[0]
    sigmas = torch.tensor([10.0, 5.0, 0.0])
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    guider.sample(noise, torch.zeros_like(noise), host.samplers.KSAMPLER(growing), sigmas)
    assert [step.shape[-1] for step in guidance_log] == [8, 16]
    for step in guidance_log:
        half = step.shape[-1] // 2
        assert step[..., :half].any()
        assert not step[..., half:].any()


def test_a_mask_is_not_changed(host: Host) -> None:
    mask = left(30, 30)
    before = mask.clone()
    edit(host, host.concept(mask=mask))
    assert torch.equal(mask, before)


@pytest.mark.compat("Features", SPACE_ROW)
@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_over_space_a_place_is_edited_in_all_channels_or_in_none(
    host: Host, guidance_log: list[Tensor], mode: str
) -> None:
    concept = host.concept(threshold=0.75, threshold_over="space")
    guidance = guided(guidance_log, host, concept, mode=mode, momentum_scale=0.0, latent=host.latent(2))
    # Where there is hardly any noise left, estimates are the same to the bit here and there.
    for step in guidance[:2]:
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
def test_a_video_has_one_share_of_the_energy_over_all_its_frames(
    host: Host, wan: Any, guidance_log: list[Tensor]
) -> None:
    """A mask of the first frames leaves the others alone."""
    video = {"samples": torch.zeros(1, 16, 5, 8, 8)}
    mask = torch.zeros(17, 64, 64)
    mask[:5] = 1
    concept = of_width(host, 32, threshold=0.2, threshold_over="energy", mask=mask)
    (guidance,) = guided(guidance_log, host, concept, model=wan, latent=video, steps=1, **texts(host))
    places = (guidance != 0).any(1)[0]
    assert torch.equal(places, (guidance != 0).all(1)[0])
    assert places[:2].any()
    assert not places[2:].any()


@pytest.mark.compat("Features", SPACE_ROW)
@pytest.mark.parametrize("over", ["channel", "space"])
def test_a_video_is_thresholded_over_all_its_frames(
    host: Host, wan: Any, guidance_log: list[Tensor], over: str
) -> None:
    video = {"samples": torch.zeros(1, 16, 5, 8, 8)}
    concept = of_width(host, 32, threshold=0.75, threshold_over=over)
    (guidance,) = guided(guidance_log, host, concept, model=wan, latent=video, steps=1, **texts(host))
    counts = (guidance != 0).sum((0, 2, 3, 4))
    assert set(counts.tolist()) == {80}
    assert (guidance != 0).any(1).sum() == 80 or over == "channel"


# What is no mask.


@pytest.mark.parametrize("node", ["SEGAConcept", "SEGAConceptFromConditioning"])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((1, 8, 8), float("nan")), r"must be in \[0, 1\], got values from nan to nan"),
        (torch.full((1, 8, 8), float("inf")), r"must be in \[0, 1\], got values from inf to inf"),
        (torch.full((1, 8, 8), 1.5), r"must be in \[0, 1\], got values from 1\.5 to 1\.5"),
        (torch.full((1, 8, 8), -0.1), r"must be in \[0, 1\], got values from -0\.1 to -0\.1"),
        (torch.zeros(0, 8, 8), r"must be \(N, height, width\), got shape \(0, 8, 8\)"),
        (torch.zeros(1, 0, 8), r"must be \(N, height, width\), got shape \(1, 0, 8\)"),
        (torch.zeros(1, 8, 8, 3), r"must be \(N, height, width\), got shape \(1, 8, 8, 3\)"),
        (torch.zeros(8), r"must be \(N, height, width\), got shape \(8,\)"),
    ],
    ids=["NaN", "infinite", "above 1", "below 0", "no masks", "no rows", "an image", "a row"],
)
def test_what_is_no_mask_is_refused(host: Host, node: str, mask: Tensor, message: str) -> None:
    cls = getattr(host.pack.nodes, node)
    if node == "SEGAConcept":

        class Clip:
            def tokenize(self, text: str) -> str:
                return text

            def encode_from_tokens_scheduled(self, tokens: str) -> list[Any]:
                return host.conditioning(10)

        first: dict[str, Any] = {"clip": Clip(), "text": "glasses"}
    else:
        first = {"conditioning": host.conditioning(10)}
    with pytest.raises(ValueError, match=rf"{node}: mask {message}"):
        cls.execute(**first, mask=mask)
    assert cls.execute(**first, mask=left())[0].mask is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.int64])
def test_masks_of_any_type(host: Host, dtype: torch.dtype) -> None:
    expected = edit(host, host.concept(mask=left()))
    assert torch.equal(edit(host, host.concept(mask=left().to(dtype))), expected)
