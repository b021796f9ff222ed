"""The two texts that a concept compares: the prompt with it and the prompt without it."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Scripts written without spaces: a word may start and end at any letter.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
# Characters within a word: "top-hat" does not name a hat, nor does "man's" a man.
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
    """The two texts a concept compares.

    Args:
        text: the text with the concept.
        instead_of: the text without it; None is the negative prompt.
    """

    text: str
    instead_of: str | None


def compared_texts(text: str, prompt: str | None = None, instead_of: str = "") -> ComparedTexts:
    """Return the two texts that a concept compares.

    Without a prompt these are the bare text and `instead_of`, or the negative prompt if that is empty (arXiv
    2301.12247, equation 5). With the picture's prompt, one of the two is the prompt itself:

    - with the concept: the prompt, if it names the text; else the prompt with `instead_of` replaced by the text, if it
      names that; else the prompt, a comma and the text;
    - without it: if the prompt names the text, the prompt with the text removed, or replaced by `instead_of`; else the
      prompt.

    Matching takes whole words, anywhere in the prompt and whatever their weight, and ignores case. Words inside an
    embedding's name or inside the other text do not count: with "beard" instead of "no beard", a prompt's
    "no beard" does not name a beard. Removed words take their weight, brackets and one comma with them.

    Args:
        text: the concept, such as "glasses".
        prompt: the picture's; None if not known.
        instead_of: what the text replaces, such as "black hair" for "ginger hair"; empty is nothing.
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
    """Yield where a prompt names words, other than inside an embedding's name or the other words."""
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
    """Return a text without brackets and weights around the whole of it."""
    while found := _WEIGHTED.fullmatch(words):
        words = found[1].strip(_BETWEEN)
    return words


def _exchanged(prompt: str, words: str, other: str) -> str:
    """Return the prompt with words replaced by others, or removed if the others are empty."""
    if other:
        for first, last in reversed([*_places(prompt, words, other)]):
            prompt = prompt[:first] + other + prompt[last:]
        return prompt
    # Their surroundings, once joined, may name them again.
    while place := next(_places(prompt, words, other), None):
        prompt = _without(prompt, *place)
    return prompt


def _without(prompt: str, first: int, last: int) -> str:
    """Return the prompt without a part and its brackets; keep the stronger of the marks on either side."""
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
    """Rank the separator between two parts of a prompt."""
    return [any(mark in gap for mark in marks) for marks in (_SENTENCE_END, "\n", _COMMA, _SPACE)]


def _continued(prompt: str, text: str) -> str:
    """Return the prompt followed by the text."""
    if not _unweighted(text):
        return prompt
    start = prompt.rstrip(_BETWEEN)
    if not start:
        return text
    return start + (" " if start[-1] in _SENTENCE_END else ", ") + text
