"""Labels of concepts in pictures: the name, shortened and in a font that has its letters, and a direction badge."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

from ...sega_core import Direction

PAPER, INK, FAINT = (22, 24, 29), (240, 240, 236), (150, 154, 163)
# Blue and orange can be told apart with any kind of colour blindness.
COLOURS: dict[Direction, tuple[int, int, int]] = {"add": (86, 180, 233), "remove": (240, 150, 60)}

ELLIPSIS = "…"
# Pillow's own font only has English letters. For others, look for these on the system: Windows, macOS and Linux fonts
# for Latin, Cyrillic and Greek, then for Chinese, Japanese and Korean.
SYSTEM_FONTS = (
    "segoeui.ttf",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
)
SPELLED = str.maketrans(
    {
        **{"\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-"},
        **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d"},
    }
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_of_size(size: int) -> Font:
    """Return Pillow's own font, the same on every system."""
    return _font(None, size)


def lettered(text: str, number: int, size: int, width: float) -> tuple[str, Font]:
    """Return a concept's name as it can be drawn, and the font for it.

    Args:
        text: the concept's text.
        number: the concept's number, from 1: the name is "concept 3" if there is no text or no font for it.
        size: of the font, in pixels.
        width: the most it may take, in pixels; longer names end in an ellipsis.
    """
    visible = "".join(letter for letter in text if letter.isprintable() or letter.isspace())
    name, file = _legible(" ".join(visible.split()), number)
    font = _font(file, size)
    return _shortened(name, font, width), font


def draw_badge(pen: ImageDraw.ImageDraw, left: float, top: float, size: float, direction: Direction) -> None:
    """Draw a round plus for add, a square minus for remove, `size` pixels wide."""
    box = (left, top, left + size, top + size)
    if direction == "add":
        pen.ellipse(box, fill=COLOURS["add"])
    else:
        pen.rounded_rectangle(box, radius=size / 6, fill=COLOURS["remove"])
    middle_x, middle_y, arm, half = left + size / 2, top + size / 2, 0.26 * size, 0.065 * size
    pen.rectangle((middle_x - arm, middle_y - half, middle_x + arm, middle_y + half), fill=PAPER)
    if direction == "add":
        pen.rectangle((middle_x - half, middle_y - arm, middle_x + half, middle_y + arm), fill=PAPER)


@cache
def _font(file: str | None, size: int) -> Font:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


@cache
def _system_fonts(names: tuple[str, ...]) -> list[str]:
    """Return which of the fonts are installed; Pillow searches the system's font folders."""
    found = []
    for name in names:
        try:
            ImageFont.truetype(name)
        except OSError:
            continue
        found.append(name)
    return found


def _legible(text: str, number: int) -> tuple[str, str | None]:
    """Return the text, spelled so that one font can draw it, and the font's file; None is Pillow's own."""
    if text and not _missing(text, None):
        return text, None
    for file in _system_fonts(SYSTEM_FONTS) if text else ():
        if not _missing(text + ELLIPSIS, file):
            return text, file
    letters = unicodedata.normalize("NFKD", text.translate(SPELLED))
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    missing = _missing(letters, None)
    parts = groupby(letters, key=missing.__contains__)
    spelled = "".join(ELLIPSIS if lacking else "".join(part) for lacking, part in parts)
    return (spelled if any(map(str.isalnum, spelled)) else f"concept {number}"), None


def _missing(text: str, file: str | None) -> set[str]:
    """Return the letters that a font lacks: it draws them like a character that no font has."""
    font = _font(file, 16)
    nothing = bytes(font.getmask("\uffff"))
    return {letter for letter in set(text) - {" "} if bytes(font.getmask(letter)) == nothing}


def _shortened(text: str, font: Font, width: float) -> str:
    """Return the text, or as much of it as fits with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + ELLIPSIS) <= width else (low, middle)
    return text[:low].rstrip() + ELLIPSIS
