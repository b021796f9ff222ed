"""What a style makes of a drawing."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter

PAPER = (250, 247, 238)
BLOCK = 4


def pencil(image: Image.Image) -> Image.Image:
    """Draw it with coloured pencils on paper: dark outlines, pale colours."""
    tones = image.convert("L")
    outline = ImageChops.difference(tones.filter(ImageFilter.MaxFilter(5)), tones.filter(ImageFilter.MinFilter(5)))
    pale = Image.blend(image, Image.new("RGB", image.size, PAPER), 0.5)
    line = outline.point(lambda value: min(255, max(0, value - 12) * 4))
    return Image.composite(Image.new("RGB", image.size, (74, 70, 78)), pale, line)


def pixel(image: Image.Image) -> Image.Image:
    """Draw it in blocks of BLOCK pixels."""
    small = image.resize((image.width // BLOCK, image.height // BLOCK), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)
