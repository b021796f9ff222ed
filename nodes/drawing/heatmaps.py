"""Heat maps of where each concept acted, over the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ...sega_core import Concept
from .lettering import FAINT, INK, PAPER, draw_badge, font_of_size, lettered

# Even steps in CIELAB from indigo to cream, ever lighter, so they stay in order for colour-blind people and in print.
HEAT = (
    *((39, 24, 104), (81, 34, 136), (131, 40, 158), (167, 47, 152), (195, 54, 141), (218, 63, 128), (237, 74, 113)),
    *((251, 96, 101), (255, 124, 98), (255, 153, 106), (255, 183, 122), (255, 214, 146), (255, 246, 171)),
)
LEVELS = 256
SHORT_SIDE = 256
FINEST = 48
# A mask starts at the first share of the highest heat and is full at the second. It is a cell wider than the heat,
# because decoding spreads changes, and no outline of a removed thing may remain.
MASK_FROM, MASK_TO, WIDER = 0.15, 0.3, 1
SUPERSAMPLING = 3


def heat_of(activity: Tensor, count: int) -> list[Tensor]:
    """Return each concept's heat, (count, h, w), in [0, 1]; 1 is where the concept acted most.

    Args:
        activity: where each concept acted, (concepts, B, h, w) or (concepts, B, T, h, w), 0 or more.
        count: number of images; a multiple of B, with each latent's images in a row.
    """
    return [normalised(of_concept) for of_concept in maps_of_images(activity, count)]


def heat_maps(heat: Sequence[Tensor], images: Tensor, concepts: Sequence[Concept], texts: Sequence[str]) -> Tensor:
    """Return a captioned picture for each concept and image, concept by concept.

    Args:
        heat: of each concept, (N, h, w), in [0, 1].
        images: the decoded pictures, (N, H, W, 3), in [0, 1].
        concepts: the concepts.
        texts: the concepts' texts.

    Returns:
        (concepts * N, H', W', 3), fp32, in [0, 1]: at least 256 pixels on the short side, plus a caption below.
    """
    count, height, width = images.shape[:3]
    scale = max(1.0, SHORT_SIDE / min(height, width))
    size = (round(height * scale), round(width * scale))
    unit = (min(size) / SHORT_SIDE) ** 0.75
    out = torch.empty((len(concepts) * count, size[0] + caption_height(unit), size[1], 3))
    for n in range(count):
        dimmed = dim(images[n], size)
        for c, (concept, text) in enumerate(zip(concepts, texts, strict=True)):
            picture = out[c * count + n]
            picture[: size[0]] = overlaid(dimmed, resized(heat[c][n], size))
            picture[size[0] :] = caption(concept, text, c + 1, size[1], unit, (n, count))
    return out


def heat_mask(heat: Sequence[Tensor], count: int, size: tuple[int, int]) -> Tensor:
    """Return where any concept acted, (count, *size), in [0, 1], with soft edges.

    Args:
        heat: of each concept, (count, h, w), in [0, 1].
        count: number of images.
        size: height and width of the images.
    """
    most = torch.zeros((count, *size))
    for of_concept in heat:
        wider = F.max_pool2d(of_concept.unsqueeze(1), 2 * WIDER + 1, 1, WIDER).squeeze(1)
        most = torch.maximum(most, torch.stack([resized(plane, size) for plane in wider]))
    return ((most - MASK_FROM) / (MASK_TO - MASK_FROM)).clamp(0, 1)


def maps_of_images(activity: Tensor, count: int) -> Tensor:
    """Return the map of each of `count` images, (concepts, count, h, w).

    A latent's images are in a row: the frames of its video, with the latent's frames spread evenly from first to last.
    """
    if activity.ndim == 4:
        activity = activity.unsqueeze(2)
    frames = count // activity.shape[1]
    place = torch.linspace(0, activity.shape[2] - 1, frames)
    before = place.floor().long()
    after = (before + 1).clamp(max=activity.shape[2] - 1)
    return torch.lerp(activity[:, :, before], activity[:, :, after], (place - before)[:, None, None]).flatten(1, 2)


def normalised(maps: Tensor) -> Tensor:
    """Return a concept's maps, (N, h, w), in [0, 1] without outliers and speckle; 1 is where it acted most.

    Values are capped at the 99th percentile of the places where it acted. Fine maps, which the threshold speckles, are
    reduced to 48 cells on the short side.
    """
    acted = maps[maps > 0]
    if acted.numel() == 0:
        return maps
    scale = min(1.0, FINEST / min(maps.shape[1:]))
    size = [max(1, round(cells * scale)) for cells in maps.shape[1:]]
    capped = maps.clamp(max=float(np.quantile(acted.numpy(), 0.99)))
    smooth = F.interpolate(capped.unsqueeze(1), size, mode="bicubic", antialias=True).squeeze(1).clamp(min=0)
    return smooth / smooth.max()


def resized(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (h, w) in [0, 1] smoothly resized."""
    return F.interpolate(plane[None, None], size, mode="bicubic", antialias=True)[0, 0].clamp(0, 1)


def dim(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the picture (H, W, 3) as dark greys (H', W', 1), however bright it is, so that heat stands out."""
    grey = resized(image.mean(-1), size)
    dark, light = (float(level) for level in np.quantile(grey.numpy(), (0.01, 0.99)))
    stretched = 0.5 + (grey - (dark + light) / 2) / max(light - dark, 0.12)
    return 0.05 + 0.38 * stretched.clamp(0, 1).unsqueeze(-1)


def overlaid(dimmed: Tensor, heat: Tensor) -> Tensor:
    """Return heat (H, W), in [0, 1], over greys (H, W, 1) as colours (H, W, 3); heat 0 leaves the grey."""
    colours, opacity = _palette()
    level = (heat * (LEVELS - 1)).round().long()
    return dimmed * (1 - opacity[level]) + (colours * opacity)[level]


def _palette() -> tuple[Tensor, Tensor]:
    """Return the colour (LEVELS, 3) and opacity (LEVELS, 1) of each level of heat."""
    level = np.linspace(0, 1, LEVELS)
    anchors = np.array(HEAT) / 255
    colours = np.stack([np.interp(level, np.linspace(0, 1, len(HEAT)), anchors[:, k]) for k in range(3)], axis=1)
    return torch.from_numpy(colours).float(), torch.from_numpy(0.95 * level).float().unsqueeze(1)


def caption_height(unit: float) -> int:
    return round(48 * unit)


def caption(concept: Concept, text: str, number: int, width: int, unit: float, place: tuple[int, int]) -> Tensor:
    """Return the band below a picture, (height, width, 3): the heat scale, the direction and the text.

    Args:
        concept: the concept.
        text: its text.
        number: its number, from 1.
        width: of the band, in pixels.
        unit: scale of everything on it; 1 for a picture of 256 pixels.
        place: the image's index, and the number of images.
    """
    u = unit * SUPERSAMPLING
    band = Image.new("RGB", (width * SUPERSAMPLING, caption_height(unit) * SUPERSAMPLING), PAPER)
    pen = ImageDraw.Draw(band)
    margin, right = 10 * u, band.width - 10 * u
    scale = overlaid(torch.full((1, 1, 1), 0.24), torch.linspace(0, 1, band.width).unsqueeze(0))
    band.paste(_as_image(scale).resize((band.width, round(5 * u))), (0, 0))
    tiny = font_of_size(round(9 * u))
    pen.text((margin, 15 * u), "none", FAINT, tiny, anchor="ls")
    pen.text((right, 15 * u), "most", FAINT, tiny, anchor="rs")
    middle = 32 * u
    if place[1] > 1:
        position = f"{place[0] + 1} / {place[1]}"
        small = font_of_size(round(11 * u))
        pen.text((right, middle), position, FAINT, small, anchor="rm")
        right -= small.getlength(position) + 8 * u
    draw_badge(pen, margin, middle - 8 * u, 16 * u, concept.direction)
    left = margin + 23 * u
    name, font = lettered(text, number, round(15 * u), right - left)
    pen.text((left, middle), name, INK, font, anchor="lm")
    return _as_tensor(band.reduce(SUPERSAMPLING))


def _as_image(colours: Tensor) -> Image.Image:
    return Image.fromarray((colours * 255).round().to(torch.uint8).numpy())


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float() / 255
