"""README's first picture, `docs/first_picture.webp`: what a word does to a face, through a real server.

`python -m dev.make.first_picture`, as `nox -s pictures` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..demo.drawing import described_drawings
from ..demo.sheet import ACCENT, FAINT, INK, PAPER
from ..demo.workflows import DRAWN, LOOKS, drawing_workflow, slider_workflow, upload_drawing
from ..host.client import Client
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server
from .help_pictures import add, draw, remove, saved

# What is added to each face, the look of its prompt, and the seed.
WORDS = (("glasses", 0, 2), ("hat", 2, 7), ("smiling", 3, 6), ("frowning", 1, 1))
RISING = ("beard", 0, 1)
# Of the drawing that is edited.
DRAWING_SEED = 26
# The strip has as many pictures as the row above it: one for each word, and a drawing.
LAST_STRENGTH, COUNT = 0.5, len(WORDS) + 1

# Drawn twice as large and then made smaller, so that edges are smooth.
CELL, GAP, MARGIN, ROUND = 512, 28, 60, 36
HEADING, WORD, NUMBER = 116, 132, 80

Pair = tuple[str, Image.Image, Image.Image]


def pairs(client: Client) -> list[Pair]:
    """Return each word with a face before and after it, and last a drawing, which stands for a user's picture."""
    made = [
        (f"+ {text}", *draw(client, [], [(look, seed)]), *draw(client, [add(text)], [(look, seed)]))
        for text, look, seed in WORDS
    ]
    ((caption, drawing),) = described_drawings(DRAWING_SEED, 1, **DRAWN)
    upload_drawing(client, drawing)
    return [*made, ("- hat", drawing, saved(client, drawing_workflow(caption, remove("hat"))))]


def rising(client: Client) -> list[Image.Image]:
    """Return one face with more and more of a word."""
    text, look, seed = RISING
    workflow = slider_workflow(f"a face, {LOOKS[look]}", text, seed, LAST_STRENGTH, COUNT)
    return client.pictures(workflow)["SaveImage"]


def poster(columns: Sequence[Pair], strip: Sequence[Image.Image]) -> Image.Image:
    """Return the page: before, the word and after, from top to bottom; below them the strip."""
    after = HEADING + CELL + WORD
    third = after + CELL + HEADING + NUMBER
    page = Image.new("RGB", (_left(COUNT) - GAP + MARGIN, third + CELL + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    _heading(pen, 0, 0, "Type a word")
    _heading(pen, len(WORDS), 0, "In your own picture")
    for number, (word, *pictures) in enumerate(columns):
        for picture, top in zip(pictures, (HEADING, after), strict=True):
            _paste(page, number, top, picture)
        _word(pen, number, after - WORD / 2, word)
    _heading(pen, 0, after + CELL, f"+ {RISING[0]}, as strong as you like")
    for number, picture in enumerate(strip):
        strength = LAST_STRENGTH * number / (COUNT - 1)
        place = (_left(number) + CELL / 2, third - NUMBER / 2)
        pen.text(place, f"strength {strength:g}", FAINT, ImageFont.load_default(48), "mm")
        _paste(page, number, third, picture)
    return page.resize((page.width // 2, page.height // 2), Image.Resampling.LANCZOS)


def _left(column: int) -> int:
    return MARGIN + column * (CELL + GAP)


def _heading(pen: ImageDraw.ImageDraw, column: int, top: int, text: str) -> None:
    pen.text((_left(column), top + HEADING / 2 + 6), text, INK, ImageFont.load_default(60), "lm")


def _word(pen: ImageDraw.ImageDraw, column: int, middle: float, text: str) -> None:
    """Write the word in a field, as it is typed into a node."""
    font, across = ImageFont.load_default(56), _left(column) + CELL / 2
    half, height = pen.textlength(text, font) / 2 + 44, 46
    field = (across - half, middle - height, across + half, middle + height)
    pen.rounded_rectangle(field, height, "white", ACCENT, 6)
    pen.text((across, middle), text, ACCENT, font, "mm")


def _paste(page: Image.Image, column: int, top: int, picture: Image.Image) -> None:
    mask = Image.new("L", (CELL, CELL))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, CELL - 1, CELL - 1), ROUND, 255)
    page.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (_left(column), top), mask)


def main() -> None:
    with Server({**PACK, **DEMO_PACK}) as server:
        client = server.client()
        picture = poster(pairs(client), rising(client))
    picture.save(REPO / "docs" / "first_picture.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
