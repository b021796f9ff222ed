"""Where the words of a concept stand in its embedding: what an attention mask looks at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from support.host import Host
from support.models import demo_clip

pytestmark = pytest.mark.compat("Features", "attention masks (LEDITS++), beside other attention patches")


@pytest.fixture(scope="module")
def clips(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """CLIPs of the host's real tokenizers without a network, and the demo's; `both` stands for two of its words."""
    import comfy.sd1_clip
    import comfy.sdxl_clip
    import comfy.text_encoders.sd2_clip

    class Tokenizing:
        def __init__(self, tokenizer: Any) -> None:
            self.tokenize = lambda text, **options: tokenizer.tokenize_with_weights(text, **options)

        def encode_from_tokens_scheduled(self, tokens: Any) -> list[Any]:
            return [[torch.zeros(1, 77, 32), {}]]

    @cache
    def clip(kind: str) -> Any:
        if kind == "demo":
            return demo_clip(tmp_path_factory.mktemp("embeddings"))
        kinds = {"SD1": comfy.sd1_clip, "SD2": comfy.text_encoders.sd2_clip, "SDXL": comfy.sdxl_clip}
        return Tokenizing(getattr(kinds[kind], f"{kind}Tokenizer")())

    return clip


def of_text(clip: Any, host: Host, text: str, prompt: str | None = None, **changes: Any) -> Any:
    return host.pack.nodes.SEGAConcept.execute(clip, text, prompt, attention_threshold=0.5, **changes)[0]


# A CLIP takes 77 tokens at once, the demo's 32; two of them are marks.
@pytest.mark.parametrize(
    ("kind", "text", "prompt", "places"),
    [
        ("demo", "purple hat, glasses", None, [1, 2, 3, 4]),
        ("demo", "a (hat:1.3) beard", None, [1, 2, 3]),
        ("demo", "hat embedding:both glasses", None, [1, 2, 3, 4]),
        ("demo", "hat " * 50, None, [*range(1, 31), *range(33, 53)]),
        ("demo", "purple hat", "a face, beard", [6, 7]),
        ("demo", "hat", "hat, face, hat", [1, 5]),
        ("demo", "purple hat", "a hat, (purple hat:1.3), face", [4, 5]),
        ("demo", "embedding:both", "a embedding:both, hat", [2, 3]),
        ("demo", "purple hat", ("face " * 28).strip(), [30, 33]),
        ("demo", "hat", "hat " + "face " * 30 + "hat", [1, 34]),
        ("SD1", "sunglasses", "a photo of a woman, sunglasses, at the beach", [7]),
        ("SD1", "ünïcode 😀", None, [1, 2, 3, 4, 5]),
        ("SD2", "ring", "a woman with earrings and a ring", [7]),
        ("SDXL", "丸い眼鏡", "女性の写真、丸い眼鏡", [*range(11, 19)]),
        ("SDXL", "red hat", "a photo, " * 30 + "red hat, dusk", [93, 94]),
    ],
)
def test_the_places_are_those_of_the_texts_words(
    host: Host, clips: Callable, kind: str, text: str, prompt: str | None, places: list[int]
) -> None:
    assert list(of_text(clips(kind), host, text, prompt).token_positions) == places


def test_words_in_the_place_of_others_are_looked_at_there(host: Host, clips: Callable) -> None:
    concept = of_text(clips("demo"), host, "purple hat", "a beard, face", instead_of="beard")
    assert concept.token_positions == (2, 3)


def test_a_text_without_words_is_refused(host: Host, clips: Callable) -> None:
    with pytest.raises(ValueError, match=r"SEGAConcept: attention_threshold needs words in text, got "):
        of_text(clips("demo"), host, " ")
