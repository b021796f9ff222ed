"""SEGASampler is the host's KSampler in everything but the edit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.host import Host


def random_latent(batch: int = 2) -> torch.Tensor:
    return torch.randn((batch, 4, 8, 8), generator=torch.Generator().manual_seed(8))


def half_mask(batch: int = 1) -> torch.Tensor:
    mask = torch.zeros(batch, 64, 64)
    mask[:, :, 32:] = 1
    return mask


LATENTS = {
    "empty": {"samples": torch.zeros(2, 4, 8, 8)},
    "image": {"samples": random_latent()},
    "mask": {"samples": random_latent(), "noise_mask": half_mask()},
    "batch index": {"samples": random_latent(), "batch_index": [5, 1]},
    "other channels": {"samples": torch.zeros(1, 16, 8, 8)},
}


@pytest.mark.parametrize(("name", "denoise"), [*((name, 1.0) for name in LATENTS), ("image", 0.5), ("mask", 0.5)])
def test_without_concepts_it_is_the_ksampler(host: Host, name: str, denoise: float) -> None:
    arguments = {
        "seed": 7,
        "steps": 4,
        "cfg": 4.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "positive": host.conditioning(1),
        "negative": host.conditioning(2),
        "latent_image": dict(LATENTS[name]),
        "denoise": denoise,
    }
    (want,) = host.nodes.KSampler().sample(host.eps, **arguments)
    got = host.pack.nodes.SEGASampler.execute(host.eps, **arguments)[0]
    assert got.keys() == want.keys()
    for key, value in want.items():
        assert torch.equal(got[key], value) if isinstance(value, torch.Tensor) else got[key] == value


@pytest.mark.parametrize(("denoise", "before"), [(1.0, 0.0), (0.5, 0.5)])
def test_a_start_is_progress_of_the_whole_sampling_whatever_part_of_it_is_sampled(
    host: Host, denoise: float, before: float
) -> None:
    """A sampling with denoise 0.5 begins at half of the progress, as for Apply ControlNet."""
    sampling = {"latent": {"samples": random_latent()}, "denoise": denoise, "scheduler": "simple"}
    plain = host.sample(**sampling)
    # The last of the 4 steps begins when a quarter of what is sampled is left.
    last = 1 - denoise / 4
    early, late, later = (
        host.sega(host.concept(start_percent=start), momentum_scale=0.0, **sampling)
        for start in (before, last - 0.01, last + 0.01)
    )
    whole = host.sega(host.concept(), momentum_scale=0.0, **sampling)
    assert torch.equal(early, whole)
    assert not torch.equal(late, plain)
    assert not torch.equal(late, early)
    assert torch.equal(later, plain)


def test_an_edit_stays_inside_the_noise_mask(host: Host) -> None:
    latent = {"samples": random_latent(), "noise_mask": half_mask()}
    edited = host.sega(host.concept(), latent=latent)
    torch.testing.assert_close(edited[..., :4], latent["samples"][..., :4], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(edited[..., 4:], host.sample(latent=latent)[..., 4:])


def test_the_latents_other_entries_pass_through(host: Host) -> None:
    latent = {**host.latent(2), "batch_index": [3, 1], "noise_mask": half_mask()}
    prompts = host.conditioning(1), host.conditioning(2)
    node = host.pack.nodes.SEGASampler
    out = node.execute(host.eps, 1, 2, 4.0, "euler", "normal", *prompts, latent, 1.0, concepts=host.concept())[0]
    assert out["batch_index"] == [3, 1]
    assert torch.equal(out["noise_mask"], latent["noise_mask"])


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_progress_and_previews_arrive_as_the_ksamplers(
    host: Host, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils
    import latent_preview

    events: list[tuple] = []

    def hook(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        events.append((value, total, preview is not None))

    method = latent_preview.LatentPreviewMethod.Latent2RGB
    monkeypatch.setattr(latent_preview.args, "preview_method", method)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    host.sample(sampler_name=sampler)
    expected = list(events)
    events.clear()
    host.sega(host.concept(), host.concept(11), sampler_name=sampler)
    assert events == expected
    assert [(value, total) for value, total, _ in events] == [(i, 4) for i in (1, 2, 3, 4)]
    assert all(preview for _, _, preview in events)
