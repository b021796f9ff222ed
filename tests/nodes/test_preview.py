"""SEGAPreview: heat where a concept acted, and its strength over the steps."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from support.core import noise
from support.host import Host

pytestmark = pytest.mark.compat("Features", "previews: heat maps and strength over the steps")

STEPS = 8
CELLS = 8


class Preview:
    """The node and what it draws with, and short ways to use them."""

    def __init__(self, host: Host) -> None:
        from semantic_guidance.nodes import preview
        from semantic_guidance.nodes.drawing import heatmaps, lettering, plot

        self.core = host.pack.sega_core
        self.node = preview.SEGAPreview
        self.heatmaps: ModuleType = heatmaps
        self.lettering: ModuleType = lettering
        self.plots: ModuleType = plot

    def concept(self, direction: str = "add", warmup_steps: int = 0, cooldown_steps: int | None = None) -> Any:
        return self.core.Concept(direction=direction, warmup_steps=warmup_steps, cooldown_steps=cooldown_steps)

    def vectors(self, activity: Tensor, concepts: Any = None, strength: Tensor | None = None, texts: Any = None) -> Any:
        """Return the guidance vectors of a run with this activity."""
        from semantic_guidance.sega_core.vectors import GuidanceVectors

        count, batch = activity.shape[:2]
        strength = torch.ones(STEPS, count) if strength is None else strength
        return GuidanceVectors(
            guidance=(torch.zeros(1).expand(len(strength), batch, 4, *activity.shape[2:]),),
            activity=(activity,),
            magnitudes=strength,
            sigmas=tuple(float(sigma) for sigma in range(len(strength), -1, -1)),
            space="noise",
            concepts=tuple(concepts or [self.concept()] * count),
            texts=tuple(texts or [f"concept number {c}" for c in range(count)]),
            settings=self.core.Settings(),
        )

    def heat(self, activity: Tensor, images: Tensor, **changes: Any) -> Tensor:
        """Return the heat maps, (concepts, images, H, W, 3)."""
        out = self.node.execute(self.vectors(activity, **changes), images)
        return out[0].unflatten(0, (activity.shape[0], len(images)))

    def plot(self, strength: Tensor, *concepts: Any) -> Tensor:
        """Return the plot, (H, W, 3)."""
        activity = torch.ones(strength.shape[1], 1, CELLS, CELLS)
        return self.node.execute(self.vectors(activity, concepts, strength), pictures())[1][0]

    def filled(self, plot: Tensor, direction: str = "add") -> Tensor:
        """Return where the plot shows strength, (H, W)."""
        colour, paper = (torch.tensor(c) / 255 for c in (self.lettering.COLOURS[direction], self.lettering.PAPER))
        return alike(plot, 0.3 * colour + 0.7 * paper)


def alike(picture: Tensor, colour: Any) -> Tensor:
    return (picture - torch.as_tensor(colour)).abs().amax(-1) < 0.01


def pictures(count: int = 1, height: int = 64, width: int = 64) -> Tensor:
    """Return random pictures with soft shapes."""
    coarse = torch.rand((count, 3, 6, 6), generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).movedim(1, -1)


def spot(row: int, column: int, height: int = CELLS, width: int = CELLS) -> Tensor:
    """Return a map that is active around one cell."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (-((rows - row) ** 2 + (columns - column) ** 2) / 2.0).exp()


def part_with_picture(heat: Tensor, images: Tensor) -> Tensor:
    """Return the heat map without the caption under it."""
    return heat[..., : round(heat.shape[-2] * images.shape[1] / images.shape[2]), :, :]


def hottest(picture: Tensor, height: int = CELLS, width: int = CELLS) -> tuple[int, int]:
    """Return the cell of a grid over the picture that is brightest."""
    cells = torch.nn.functional.adaptive_avg_pool2d(picture.sum(-1)[None], (height, width))[0]
    return divmod(int(cells.argmax()), width)


def is_grey(picture: Tensor) -> bool:
    return bool((picture.amax(-1) - picture.amin(-1)).max() < 1e-6)


@pytest.fixture
def preview(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preview:
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return Preview(host)


def test_heat_lies_where_each_concept_acted_in_each_image(preview: Preview) -> None:
    places = [[(1, 1), (1, 6), (4, 4)], [(6, 1), (6, 6), (2, 3)]]
    activity = torch.stack([torch.stack([spot(*place) for place in concept]) for concept in places])
    images = pictures(3)
    heat = part_with_picture(preview.heat(activity, images), images)
    assert [[hottest(picture) for picture in concept] for concept in heat] == places


@pytest.mark.parametrize(("height", "width"), [(64, 64), (160, 64), (512, 1024), (72, 40)])
def test_pictures_of_every_shape_are_readable_and_heated_in_place(preview: Preview, height: int, width: int) -> None:
    images = pictures(1, height, width)
    cells = (height // 8, width // 8)
    row, column = cells[0] // 4, cells[1] * 3 // 4
    heat = preview.heat(spot(row, column, *cells)[None, None], images)[0, 0]
    picture = part_with_picture(heat, images)
    assert min(picture.shape[:2]) == max(256, min(height, width))
    assert picture.shape[1] / picture.shape[0] == pytest.approx(width / height, rel=0.01)
    assert 0.03 * picture.shape[0] < heat.shape[0] - picture.shape[0] < 0.2 * max(picture.shape[:2])
    assert hottest(picture, *cells) == (row, column)


def test_there_is_a_picture_for_each_concept_and_image(preview: Preview) -> None:
    images, activity = pictures(3), noise(10, 3, CELLS, CELLS).abs()
    before = images.clone(), activity.clone()
    out = preview.node.execute(preview.vectors(activity), images)
    assert torch.equal(images, before[0]) and torch.equal(activity, before[1])
    assert len(out[0]) == 30
    assert out[1].shape[0] == 1
    assert all(part.dtype == torch.float32 and part.min() >= 0 and part.max() <= 1 for part in out.args)
    heat = out[0].flatten(1)
    assert torch.cdist(heat, heat).fill_diagonal_(99).min() > 1


def test_where_nothing_acted_the_picture_has_no_colour(preview: Preview) -> None:
    images = pictures()
    activity = torch.stack([torch.zeros(CELLS, CELLS), spot(0, 0)]).unsqueeze(1)
    nothing, corner = part_with_picture(preview.heat(activity, images), images)[:, 0]
    assert is_grey(nothing)
    assert is_grey(corner[128:, 128:])
    assert not is_grey(corner[:64, :64])
    assert torch.equal(nothing[128:, 128:], corner[128:, 128:])


def test_each_concept_has_its_own_scale_and_its_images_share_it(preview: Preview) -> None:
    images = pictures(1).expand(2, -1, -1, -1)
    strong = torch.stack([spot(4, 4), 0.3 * spot(4, 4)])
    heat = preview.heat(torch.stack([strong, 0.01 * strong]), images, texts=["a", "a"])
    assert torch.allclose(part_with_picture(heat[0], images), part_with_picture(heat[1], images), atol=0.02)
    assert heat[0, 0, 144, 144].sum() > heat[0, 1, 144, 144].sum() + 0.5


def test_one_wild_cell_does_not_hide_the_rest(preview: Preview) -> None:
    images = pictures(1, 256, 256)
    calm = torch.zeros(1, 1, 16, 16)
    calm[..., :8] = 1
    wild = calm.clone()
    wild[..., 3, 3] = 1000
    before, after = (part_with_picture(preview.heat(activity, images), images)[0, 0] for activity in (calm, wild))
    assert torch.allclose(before, after, atol=0.02)


def test_a_video_is_followed_frame_by_frame(preview: Preview) -> None:
    first = torch.stack([spot(1, 1), spot(4, 4), spot(6, 6)])
    activity = torch.stack([first, first.flip(0)])[None]
    images = torch.zeros(2 * 9, 64, 64, 3)
    heat = part_with_picture(preview.heat(activity, images)[0], images)
    places = [hottest(picture) for picture in heat]
    assert [places[frame] for frame in (0, 4, 8)] == [(1, 1), (4, 4), (6, 6)]
    assert [places[frame] for frame in (9, 13, 17)] == [(6, 6), (4, 4), (1, 1)]
    # Between two frames of the latent both of its places are warm.
    between = torch.nn.functional.adaptive_avg_pool2d(heat[2].sum(-1)[None], CELLS)[0]
    assert min(between[1, 1], between[4, 4]) > between[1, 6] + 0.2


def test_odd_images_are_shown_each_with_the_heat_of_its_latent(preview: Preview) -> None:
    """One latent for four images that have an alpha channel and values out of range."""
    images = torch.cat([pictures(4) * 1.4 - 0.2, torch.ones(4, 64, 64, 1)], dim=-1)
    heat = preview.heat(spot(2, 5)[None, None], images)[0]
    assert heat.shape[-1] == 3
    assert heat.min() >= 0 and heat.max() <= 1
    assert [hottest(picture) for picture in part_with_picture(heat, images)] == [(2, 5)] * 4


def caption(preview: Preview, text: str, direction: str = "add", number: int = 1) -> Tensor:
    return preview.heatmaps.caption(preview.concept(direction), text, number, 256, 1.0, (0, 1))


def test_captions_say_text_and_direction(preview: Preview) -> None:
    shown = [caption(preview, text, way) for text in ("hat", "glasses") for way in ("add", "remove")]
    assert all(not torch.equal(a, b) for i, a in enumerate(shown) for b in shown[:i])
    add, remove = (caption(preview, "hat", way).mean(-1) for way in ("add", "remove"))
    badge = (slice(24, 40), slice(10, 26))
    # Without its colour too: a round plus here, a square minus there.
    assert (add[badge] - remove[badge]).abs().max() > 0.3
    assert torch.equal(add[:, 27:], remove[:, 27:])


def test_long_texts_end_in_an_ellipsis_inside_the_picture(preview: Preview) -> None:
    assert caption(preview, "a very long text " * 30).shape == caption(preview, "hat").shape
    name, font = preview.lettering.lettered("a very long text", 1, 20, 90)
    assert name.endswith("…") and name.startswith("a ve")
    assert font.getlength(name) <= 90


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("smiling,\n  (glasses:1.2)", "smiling, (glasses:1.2)"),
        ("Größe, été", "Grosse, ete"),
        ("hat 🎩", "hat …"),
        ("笑顔", "concept 3"),
        ("\ud800", "concept 3"),
        ("", "concept 3"),
    ],
)
def test_texts_without_a_font_are_spelled_or_numbered(
    preview: Preview, monkeypatch: pytest.MonkeyPatch, text: str, written: str
) -> None:
    monkeypatch.setattr(preview.lettering, "SYSTEM_FONTS", ("no-such-font.ttf",))
    assert preview.lettering.lettered(text, 3, 20, 500)[0] == written
    assert torch.equal(caption(preview, text, number=3), caption(preview, written, number=3))


def test_texts_of_every_language_are_drawn_with_what_the_system_has(preview: Preview) -> None:
    images = pictures(1)
    texts = ["微笑", "笑顔 🎩", "Ünïcode", "Привет", "שלום", "\u202e", "\x00", "e\u0301", " "]
    heat = preview.heat(torch.ones(len(texts), 1, CELLS, CELLS), images, texts=texts)
    assert len(heat) == len(texts)
    for number, text in enumerate(texts, 1):
        name, font = preview.lettering.lettered(text, number, 20, 100)
        assert font.getmask(name).getbbox(), text


def test_the_plot_is_higher_where_a_concept_is_stronger(preview: Preview) -> None:
    strength = torch.arange(1.0, STEPS + 1)[:, None] * torch.tensor([1.0, 0.5])
    plot = preview.plot(strength, preview.concept("add"), preview.concept("remove"))
    filled = preview.filled(plot)
    columns = filled.any(0).nonzero().flatten()
    left, right = int(columns.min()), int(columns.max())
    middles = [round(left + (right - left) * (step + 0.5) / STEPS) for step in range(STEPS)]
    heights = filled[:, middles].sum(0).float()
    assert torch.allclose(heights / heights[-1], strength[:, 0] / STEPS, atol=0.03)
    # Both rows share one scale.
    assert preview.filled(plot, "remove").sum() / filled.sum() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("warmup", "cooldown"), [(2, 6), (3, None), (20, 30), (0, None)])
def test_the_steps_before_the_start_and_after_the_end_are_marked(
    preview: Preview, warmup: int, cooldown: int | None
) -> None:
    strength = torch.ones(STEPS, 2)
    strength[:, 0] = 0
    plot = preview.plot(strength, preview.concept("add", warmup, cooldown), preview.concept("remove"))
    columns = preview.filled(plot, "remove").any(0).nonzero().flatten()
    left, right = int(columns.min()), int(columns.max())
    hatched = (plot[:, left : right + 1] * 255 - torch.tensor(preview.plots.ZONE)).abs().amax(-1) < 1
    steps = [round((right - left) * (step + 0.5) / STEPS) for step in range(STEPS)]
    marked = [bool(hatched[:, middle - 5 : middle + 5].any()) for middle in steps]
    assert marked == [step < warmup or (cooldown is not None and step >= cooldown) for step in range(STEPS)]


@pytest.mark.parametrize(("steps", "rows"), [(1, 10), (1000, 1)])
def test_any_number_of_steps_and_concepts_fits(preview: Preview, steps: int, rows: int) -> None:
    plot = preview.plot(torch.ones(steps, rows))
    assert plot.shape[1:] == (1024, 3)
    assert preview.filled(plot).any()


def test_the_node_shows_heat_maps_first_and_then_the_plot(preview: Preview, tmp_path: Path) -> None:
    images = pictures(2, 96, 64)
    out = preview.node.execute(preview.vectors(torch.ones(3, 2, 12, 8)), images)
    shown = out.ui["images"]
    assert len(shown) == 7
    assert len({image["filename"] for image in shown}) == 7
    sizes = [Image.open(tmp_path / image["subfolder"] / image["filename"]).size for image in shown]
    assert sizes[:6] == [(256, out[0].shape[1])] * 6
    assert sizes[6] == (1024, out[1].shape[1])
    # What the editor's tabs are called.
    assert [sorted(tab) for tab in out.ui["sega_tabs"]] == [["count", "direction", "text"]] * 3 + [["count"]]
    assert sum(tab["count"] for tab in out.ui["sega_tabs"]) == len(shown)


def test_without_a_concept_the_workflow_runs_and_nothing_is_masked(preview: Preview) -> None:
    images = pictures(2, 96, 64)
    out = preview.node.execute(preview.vectors(torch.ones(0, 2, 12, 8)), images)
    assert torch.equal(out[0], images)
    assert out[2].shape == (2, 96, 64)
    assert not out[2].any()
    assert len(out.ui["images"]) == 1 == out.ui["sega_tabs"][0]["count"]


def test_the_mask_is_where_any_concept_acted_with_soft_edges(preview: Preview) -> None:
    activity = torch.zeros(2, 1, 16, 16)
    activity[0, 0, 2:6, 2:6] = 1.0
    # Another concept acts less, and has a scale of its own.
    activity[1, 0, 9:14, 9:14] = 0.01
    mask = preview.node.execute(preview.vectors(activity), pictures(1, 128, 128))[2]
    assert mask.shape == (1, 128, 128)
    assert mask[0, 24:40, 24:40].min() == 1.0
    assert mask[0, 80:104, 80:104].min() == 1.0
    assert mask[0, :4].max() == 0.0
    assert mask[0, 64:, :48].max() == 0.0
    assert ((mask > 0) & (mask < 1)).any()


def test_what_cannot_be_shown_is_refused_by_name(preview: Preview) -> None:
    def refused(activity: Tensor, images: Tensor, **changes: Any) -> str:
        with pytest.raises(ValueError, match="SEGAPreview: ") as error:
            preview.node.execute(preview.vectors(activity, **changes), images)
        return str(error.value)

    image = pictures()
    assert "multiple of guidance's 2 latents, got 3 images" in refused(torch.ones(1, 2, 8, 8), pictures(3))
    assert "multiple of guidance's 2 latents, got 1 images" in refused(torch.ones(1, 2, 3, 8, 8), image)
    assert "got 0 images" in refused(torch.ones(1, 1, 8, 8), image[:0])
    assert "two or three spatial axes, got 1" in refused(torch.ones(1, 1, 64), image)
    assert "NaN" in refused(torch.full((1, 1, 8, 8), float("nan")), image)
    assert "NaN" in refused(torch.ones(1, 1, 8, 8), image, strength=torch.full((STEPS, 1), float("inf")))
