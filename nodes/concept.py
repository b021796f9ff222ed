"""SEGAConcept: a concept from text."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sega_core import compared_texts
from .concept_inputs import (
    advanced_inputs,
    check_percents,
    concept_inputs,
    concept_settings,
    encoded_concept,
)
from .presets import NONE, available, completed
from .types import SegaConcept


class SEGAConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        presets = available()
        return io.Schema(
            node_id="SEGAConcept",
            display_name="SEGA Concept",
            category="sampling/SEGA",
            description="Adds one thing to the image, or removes it, while it is sampled: 'glasses', for example. "
            "Connect it to a SEGA Sampler; for several, use a SEGA Concept Stack.",
            search_aliases=[
                "semantic guidance",
                "edit guidance",
                "concept slider",
                "slider",
                "concept",
                "editing prompt",
                "negative prompt",
                "add object",
                "remove object",
                "replace",
                "smile",
                "LEDITS++",
                "语义引导",
                "セマンティックガイダンス",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder (CLIP) of the model that samples."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    optional=True,
                    tooltip="The concept, in a few words: 'smiling', 'glasses'. Weights and embeddings work as in "
                    "prompts. To remove something, name it and set direction to remove.",
                ),
                io.String.Input(
                    "prompt",
                    optional=True,
                    force_input=True,
                    tooltip="The picture's prompt: connect the string that feeds the positive prompt. The edit then "
                    "compares the prompt with and without the text, so remove can also take out what the prompt asks "
                    "for. Off: not connected; the text is used alone.",
                ),
                io.String.Input(
                    "instead_of",
                    default="",
                    optional=True,
                    tooltip="What the text replaces, for example 'black hair' when the text is 'ginger hair'. Empty: "
                    "nothing (off).",
                ),
                *concept_inputs(),
                io.Combo.Input(
                    "preset",
                    options=[NONE, *presets],
                    default=NONE,
                    optional=True,
                    tooltip="Fills the other fields with published settings; you can then change them. Over the API, "
                    "it sets the inputs you leave out. none is off. Add your own presets in "
                    "default/sega_presets.json in ComfyUI's user folder.",
                    extra_dict={"sega_presets": {name: dict(preset.values) for name, preset in presets.items()}},
                ),
                *advanced_inputs(),
            ],
            outputs=[
                SegaConcept.Output("concept", display_name="concept", tooltip="Connect to a SEGA Sampler or Stack.")
            ],
        )

    @classmethod
    def validate_inputs(
        cls, start_percent: float | None = None, end_percent: float | None = None, preset: Any = NONE
    ) -> bool | str:
        # Naming the preset here stops the host from rejecting an unknown one: the workflow may have all the values.
        return check_percents(start_percent, end_percent)

    @classmethod
    def fingerprint_inputs(cls, preset: Any = NONE, **inputs: Any) -> str:
        # The user may have edited the preset.
        return repr(available().get(preset)) if isinstance(preset, str) else ""

    @classmethod
    def execute(
        cls,
        clip: Any,
        text: str | None = None,
        prompt: str | None = None,
        instead_of: str = "",
        preset: Any = NONE,
        mask: Tensor | None = None,
        curve: Any = None,
        strengths: Any = None,
        **given: Any,
    ) -> io.NodeOutput:
        try:
            values = completed(preset, given if text is None else {"text": text, **given})
        except ValueError as error:
            raise ValueError(f"SEGAConcept: {error}") from error
        for name, words in (("prompt", "" if prompt is None else prompt), ("instead_of", instead_of)):
            if not isinstance(words, str):
                raise ValueError(f"SEGAConcept: {name} must be a string, got {words!r}")
        text = values.pop("text")
        settings = concept_settings("SEGAConcept", **values)
        if clip is None:
            raise ValueError(
                "SEGAConcept: clip must be a CLIP, got None; the checkpoint has no text encoder: load one with a "
                "CLIP loader"
            )
        compared = compared_texts(text, prompt, instead_of)
        return io.NodeOutput(
            encoded_concept(
                "SEGAConcept",
                settings,
                _encoded(clip, compared.text),
                None if compared.instead_of is None else _encoded(clip, compared.instead_of),
                text,
                mask=mask,
                token_positions=_token_positions(clip, text, compared.text)
                if settings.attention_threshold > 0
                else None,
                curve=curve,
                strengths=strengths,
            )
        )


def _encoded(clip: Any, text: str) -> list[Any]:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def _token_positions(clip: Any, words: str, text: str) -> tuple[int, ...]:
    """Return the positions of `words` in the embedding of `text`; those of all its words if they are not found.

    Start and end tokens and padding do not count as words.
    """
    wanted, found = _tokens(clip, words), _tokens(clip, text)
    if wanted == found:
        return tuple(place for place, _ in found)
    tokens, sought = [token for _, token in found], [token for _, token in wanted]
    starts = [start for start in range(len(tokens)) if sought and tokens[start : start + len(sought)] == sought]
    places = [found[start + i][0] for start in starts for i in range(len(sought))]
    return tuple(places or (place for place, _ in found))


def _tokens(clip: Any, text: str) -> list[tuple[int, Any]]:
    """Return each word token with its position in the embedding; textual inversions as tuples of numbers."""
    chunks = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    every = [(token, word) for chunk in chunks for token, _, word in chunk]
    return [
        (place, tuple(token.flatten().tolist()) if isinstance(token, Tensor) else token)
        for place, (token, word) in enumerate(every)
        if word
    ]
