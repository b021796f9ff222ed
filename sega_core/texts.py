"""The two texts that a concept is the difference of: the prompt with it, and the prompt without it."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Scripts that are written without spaces: a word may stand between any two letters.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
# What belongs to the word beside it: "top-hat" does not name a hat, nor does "man's" a man.
_IN_A_WORD = rf"(?:(?![{_UNSPACED}])[\w'’-])"
_COMMA = ",，、;；"
_SENTENCE_END = ".!?。！？"
_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
_BETWEEN = _SPACE + _COMMA
_EMBEDDING = re.compile(rf"embedding:[^\s():{_COMMA}]+", re.IGNORECASE)
_WEIGHT = r"(?:\s*:\s*[-+]?[\d.]+\s*)?"
_WEIGHTED = re.compile(rf"\(((?:\\.|[^()\\])*?|\(.*\)){_WEIGHT}\)", re.DOTALL)
_OPENING = re.compile(r"(\\?[(\[（])\s*$")
_CLOSING = re.compile(rf"\s*{_WEIGHT}(\\?[)\]）])")
_BRACKETS = ("()", "[]", "（）", r"\(\)", r"\[\]")


@dataclass(frozen=True)
class ComparedTexts:
    """What a concept compares.

    Args:
        text: the text with the concept.
        instead_of: the text without it; None is the negative prompt.
    """

    text: str
    instead_of: str | None


def compared_texts(text: str, prompt: str | None = None, instead_of: str = "") -> ComparedTexts:
    """Return the two texts that a concept is the difference of.

    Without a prompt they are the bare text and `instead_of`, or the negative prompt where that is empty (arXiv
    2301.12247, equation 5). With the picture's prompt they are the prompt with the text and the prompt without it, so
    that one of the two is the prompt itself:

    - with it: the prompt where it names the text; else the prompt with the text in the place of `instead_of`, where it
      names that; else the prompt and the text, with a comma between them;
    - without it: where the prompt names the text, the prompt without its words, or with `instead_of` in their place;
      else the prompt.

    Words are found in either case, whole, whatever weight they have, wherever they stand, but not as a part of an
    embedding's name or of the other text: "no beard" names no beard where the one stands instead of the other. Those
    that are taken out take their weight, their brackets and a comma with them.

    Args:
        text: the concept, such as "glasses".
        prompt: of the picture; None where it is not known.
        instead_of: what the text takes the place of, such as "black hair" for "ginger hair"; empty is nothing.
    """
    if prompt is None:
        return ComparedTexts(text.strip(), instead_of.strip() or None)
    text, instead_of = text.strip(_BETWEEN), instead_of.strip(_BETWEEN)
    if any(_places(prompt, text, instead_of)):
        return ComparedTexts(prompt, _exchanged(prompt, text, instead_of))
    if any(_places(prompt, instead_of, text)):
        return ComparedTexts(_exchanged(prompt, instead_of, text), prompt)
    return ComparedTexts(_continued(prompt, text), prompt)


def _places(prompt: str, words: str, other: str) -> Iterator[tuple[int, int]]:
    """Yield where a prompt names words, and not just a part of an embedding's name or of other words."""
    units = [found.span() for pattern in (_EMBEDDING, _pattern(other)) for found in pattern.finditer(prompt)]
    for found in _pattern(words).finditer(prompt):
        first, last = found.span()
        if all(last <= start or end <= first or first <= start < end <= last for start, end in units):
            yield first, last


def _pattern(words: str) -> re.Pattern[str]:
    words = _unweighted(words)
    if not words:
        return re.compile(r"(?!)")
    pattern = r"[\s_]+".join(map(re.escape, re.split(r"(?<=[^\s_])[\s_]+(?=[^\s_])", words)))
    before = rf"(?<!{_IN_A_WORD})" if re.match(_IN_A_WORD, words[0]) else ""
    after = rf"(?!{_IN_A_WORD})" if re.match(_IN_A_WORD, words[-1]) else ""
    return re.compile(before + pattern + after, re.IGNORECASE)


def _unweighted(words: str) -> str:
    """Return a text without the brackets and the weights that are around the whole of it."""
    while found := _WEIGHTED.fullmatch(words):
        words = found[1].strip(_BETWEEN)
    return words


def _exchanged(prompt: str, words: str, other: str) -> str:
    """Return the prompt with other words in the place of these; without them where the others are empty."""
    if other:
        for first, last in reversed([*_places(prompt, words, other)]):
            prompt = prompt[:first] + other + prompt[last:]
        return prompt
    # What stood around them may name them again.
    while place := next(_places(prompt, words, other), None):
        prompt = _without(prompt, *place)
    return prompt


def _without(prompt: str, first: int, last: int) -> str:
    """Return the prompt without a part and its brackets; of what stood on either side of it the stronger mark stays."""
    before, after = prompt[:first], prompt[last:]
    while (
        (opened := _OPENING.search(before)) and (closed := _CLOSING.match(after)) and opened[1] + closed[1] in _BRACKETS
    ):
        before, after = before[: opened.start()], after[closed.end() :]
    left, right = before.rstrip(_BETWEEN + _SENTENCE_END), after.lstrip(_BETWEEN + _SENTENCE_END)
    gap = max(before[len(left) :], after[: len(after) - len(right)], key=_mark)
    if not left or _OPENING.search(left):
        gap = ""
    elif not right or _CLOSING.match(right):
        gap = gap.strip(_BETWEEN)
    return left + gap + right


def _mark(gap: str) -> list[bool]:
    """Rank what separates two parts of a prompt."""
    return [any(mark in gap for mark in marks) for marks in (_SENTENCE_END, "\n", _COMMA, _SPACE)]


def _continued(prompt: str, text: str) -> str:
    """Return the prompt and the text after it."""
    if not _unweighted(text):
        return prompt
    start = prompt.rstrip(_BETWEEN)
    if not start:
        return text
    return start + (" " if start[-1] in _SENTENCE_END else ", ") + text
