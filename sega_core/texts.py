"""The two texts that a concept is the difference of: the prompt with it, and the prompt without it."""

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
_EMBEDDING = re.compile(r"embedding:[^\s,():]+", re.IGNORECASE)
_CLOSING_WEIGHT = re.compile(r"\s*:\s*[-+]?[\d.]+\s*\)")
_WEIGHTED = re.compile(r"\((.*?)(?::\s*[-+]?[\d.]+\s*)?\)", re.DOTALL)


@dataclass(frozen=True)
class ComparedTexts:
    """What a concept compares.

    Args:
        text: the text with the concept.
        instead_of: the text without it; None is the run's own baseline.
    """

    text: str
    instead_of: str | None

    @property
    def are_equal(self) -> bool:
        """Whether nothing can come of comparing them."""
        return self.text == self.instead_of


def compared_texts(text: str, prompt: str | None = None, instead_of: str = "") -> ComparedTexts:
    """Return the two texts that a concept is the difference of.

    Without a prompt they are the bare text and `instead_of`, or the run's baseline where that is empty (arXiv
    2301.12247, equation 5). With the picture's prompt they are the prompt with the text and the prompt without it, so
    that one of the two is the prompt itself:

    - with it: the prompt where it names the text; else the prompt with the text in the place of `instead_of`, where it
      names that; else the prompt and the text, with a comma between them;
    - without it: where the prompt names the text, the prompt without its words, or with `instead_of` in their place;
      else the prompt.

    Words are found in either case, whole, whatever weight they have, wherever they stand. Those that are taken out take
    their weight, their brackets and a comma with them.

    Args:
        text: the concept, such as "glasses".
        prompt: of the picture; None where it is not known.
        instead_of: what the text takes the place of, such as "black hair" for "ginger hair"; empty is nothing.
    """
    text, instead_of = text.strip(), instead_of.strip()
    if prompt is None:
        return ComparedTexts(text, instead_of or None)
    if _names(prompt, text):
        return ComparedTexts(prompt, _exchanged(prompt, text, instead_of))
    if _names(prompt, instead_of):
        return ComparedTexts(_exchanged(prompt, instead_of, text), prompt)
    return ComparedTexts(_continued(prompt, text), prompt)


def _names(prompt: str, words: str) -> bool:
    return next(_places(prompt, words), None) is not None


def _places(prompt: str, words: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where a prompt names words, from `start` on."""
    words = _unweighted(words)
    if not words:
        return
    pattern = r"[\s_]+".join(re.escape(word) for word in re.split(r"[\s_]+", words))
    before = rf"(?<!{_IN_A_WORD})" if re.match(_IN_A_WORD, words[0]) else ""
    after = rf"(?!{_IN_A_WORD})" if re.match(_IN_A_WORD, words[-1]) else ""
    # The name of an embedding is no word of the prompt.
    embeddings = [found.span() for found in _EMBEDDING.finditer(prompt)]
    for found in re.compile(before + pattern + after, re.IGNORECASE).finditer(prompt, start):
        if not any(first < found.start() < last for first, last in embeddings):
            yield found.span()


def _unweighted(words: str) -> str:
    """Return a text without the brackets and the weight that are around the whole of it."""
    words = words.strip().strip(_COMMA).strip()
    found = _WEIGHTED.fullmatch(words)
    return words if found is None or "(" in found[1] and ")" in found[1] else _unweighted(found[1])


def _exchanged(prompt: str, words: str, other: str) -> str:
    """Return the prompt with other words in the place of these; without them where the others are empty."""
    start = 0
    while (place := next(_places(prompt, words, start), None)) is not None:
        first, last = place
        if other:
            prompt, start = prompt[:first] + other + prompt[last:], first + len(other)
        else:
            prompt, start = _without(prompt, first, last)
    return prompt


def _without(prompt: str, first: int, last: int) -> tuple[str, int]:
    """Return the prompt without a part, its brackets and a comma, and where the part was."""
    before, after = prompt[:first], prompt[last:]
    while (opened := re.search(r"(?<!\\)[(\[]\s*$", before)) and (
        closed := re.match(r"\s*(?::\s*[-+]?[\d.]+\s*)?(?<!\\)[)\]]", after)
    ):
        before, after = before[: opened.start()], after[closed.end() :]
    left, right = before.rstrip(" \t"), after.lstrip(" \t")
    opens = not left or left[-1] in "([\n"
    closes = not right or right[0] in ")]\n" or _CLOSING_WEIGHT.match(right) is not None
    comma_before, comma_after = left[-1:] in (*_COMMA,), right[:1] in (*_COMMA,)
    if comma_after and (opens or comma_before):
        right = right[1:].lstrip(" \t")
        space = " " if left[-1:] == "," else ""
    elif comma_before and closes:
        left, space = left[:-1].rstrip(), ""
    else:
        was_apart = before != left or after != right
        space = " " if was_apart and not (opens or closes or comma_after) else ""
    return left + space + right, len(left + space)


def _continued(prompt: str, text: str) -> str:
    """Return the prompt and the text after it."""
    if not text:
        return prompt
    start = prompt.rstrip().rstrip(_COMMA).rstrip()
    if not start:
        return text
    return start + (" " if start[-1] in _SENTENCE_END else ", ") + text
