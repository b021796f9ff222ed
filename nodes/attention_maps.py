"""Where a UNet looks at a concept's words: its cross-attention, seen in the concept's passes alone.

This is the implicit mask M^1 of LEDITS++ (arXiv 2311.16711, section 3.3) before its threshold. Attention patches of
other packs stay in charge of what the attention gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_patcher
import comfy.patcher_extension
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor

# LEDITS++ looks at the attention of this many times fewer places per side than the latents have.
_COARSE = 4


class AttentionMaps:
    """The maps of one evaluation.

    Args:
        network: the host's diffusion model.
        words: for each pass to watch, by its place among the passes, the places of the concept's words in its
            embedding and the embedding's length; without places, all but the first, which marks the start.
        batch: number of samples of each pass.
        name: of the concept in errors.
    """

    def __init__(
        self, network: Any, words: Mapping[int, tuple[Sequence[int] | None, int]], batch: int, name: str
    ) -> None:
        self.blocks = tuple(_coarse_blocks(network))
        self.words = words
        self.batch = batch
        self.name = name
        # Per pass, the sum over the heads of each layer and how many they are.
        self.seen: dict[int, list[tuple[Tensor, int]]] = {index: [] for index in words}
        self.evaluated: set[int] = set()

    def watch(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the model options of the evaluation, watched; the given ones are not changed."""
        options = comfy.model_patcher.create_model_options_clone(options)
        # The last of the wrappers is the innermost: it sees the patches of hooks and of other wrappers too.
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.APPLY_MODEL, "sega_attention", self._apply_model, options, is_model_options=True
        )
        return options

    def _apply_model(
        self,
        executor: Any,
        x: Any,
        t: Any,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options=None,
        **kwargs,
    ) -> Tensor:
        self.evaluated.update(transformer_options["sega_passes"])
        patches = transformer_options.get("patches_replace", {})
        replaced = dict(patches.get("attn2", {}))
        for name, number, index in self.blocks:
            inner = replaced.get((name, number, index), replaced.get((name, number)))
            replaced[name, number, index] = self._watching(inner, c_crossattn.shape[1])
        transformer_options = {**transformer_options, "patches_replace": {**patches, "attn2": replaced}}
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    def map_of(self, passes: Sequence[int]) -> Tensor | None:
        """Return the mean map of some passes, (B, h, w), fp32; None where the network was not run."""
        layers = [layer for index in passes for layer in self.seen[index]]
        if not layers:
            # A prompt that does not act at this step is not evaluated: nowhere is looked at more than elsewhere.
            absent = passes and self.evaluated.isdisjoint(passes)
            return torch.zeros(self.batch, 1, 1) if absent else None
        heads = sum(count for _, count in layers)
        # The layers have one size, unless another patch shrinks some of them.
        size = max((layer.shape[1:] for layer, _ in layers), key=math.prod)
        total = torch.zeros((self.batch, 1, *size), device=layers[0][0].device)
        for layer, _ in layers:
            total += F.interpolate(layer.to(total.device).unsqueeze(1), size=tuple(size), mode="bilinear")
        return total.squeeze(1) / heads

    def _watching(self, inner: Callable | None, length: int) -> Callable:
        def attention(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            self._see(q, k, length, extra_options)
            if inner is not None:
                return inner(q, k, v, extra_options)
            return comfy.ldm.modules.attention.optimized_attention(
                q,
                k,
                v,
                extra_options["n_heads"],
                attn_precision=extra_options["attn_precision"],
                transformer_options=extra_options,
            )

        return attention

    def _see(self, q: Tensor, k: Tensor, length: int, extra_options: dict[str, Any]) -> None:
        evaluated = extra_options["sega_passes"]
        if q.shape[0] != len(evaluated) * self.batch:
            raise ValueError(
                f"{self.name}: attention_threshold cannot be used together with a patch that divides the batch: "
                f"{q.shape[0]} samples where {len(evaluated)} prompts of {self.batch} were expected; set it to 0 (off)"
            )
        height, width = extra_options["activations_shape"][-2:]
        if height * width != q.shape[1] or k.shape[1] < length:
            return
        heads = extra_options["n_heads"]
        for place, index in enumerate(evaluated):
            if index in self.seen:
                rows = slice(place * self.batch, (place + 1) * self.batch)
                looked = _attention_to(q[rows], k[rows], heads, length, *self.words[index])
                self.seen[index].append((looked.view(-1, height, width), heads))


def _attention_to(q: Tensor, k: Tensor, heads: int, text: int, words: Sequence[int] | None, length: int) -> Tensor:
    """Return how much each place looks at the words, summed over words and heads, (B, places).

    The first `text` keys are the embedding's, of `length`; what another patch adds stands behind them.
    """
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (q, k))
    looked = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    # The host repeats an embedding to the length of the longest one in the batch.
    looked = looked[..., :text].unflatten(-1, (-1, length)).sum(-2)
    chosen = looked[..., 1:] if words is None else looked[..., list(words)]
    return chosen.sum(-1).sum(1)


def check_attention(network: Any, conds: Sequence[dict[str, Any]], name: str) -> None:
    """Refuse what the attention of a concept cannot be seen with.

    Raises:
        ValueError: the network is no UNet with text cross-attention, or a prompt is for an area.
    """
    if not any(_coarse_blocks(network)):
        raise ValueError(
            f"{name}: attention_threshold needs a UNet with cross-attention to text, such as SD1.5's or SDXL's, got "
            f"{type(network).__name__}; set it to 0 (off)"
        )
    if any("area" in entry or entry.get("set_area_to_bounds") for entry in conds):
        raise ValueError(
            f"{name}: attention_threshold cannot be used where the prompt is for an area; set it to 0 (off), or use a "
            "prompt with a mask"
        )


def _coarse_blocks(network: Any) -> Iterator[tuple[str, int, int]]:
    """Yield the host's names of the cross-attention layers of one level: a quarter of the size, or the next to it."""
    levels: dict[int, list[tuple[str, int, int]]] = {}
    for scale, name, number, layer in _layers(network):
        if type(layer) is comfy.ldm.modules.attention.SpatialTransformer:
            blocks = [(name, number, index) for index in range(len(layer.transformer_blocks))]
            levels.setdefault(scale, []).extend(blocks)
    if levels:
        yield from levels[min(levels, key=lambda scale: (abs(math.log2(scale / _COARSE)), -scale))]


def _layers(network: Any) -> Iterator[tuple[int, str, int, Any]]:
    """Yield the layers of a UNet's way down and up, each with how many times fewer places per side it works on."""
    model = comfy.ldm.modules.diffusionmodules.openaimodel
    if not isinstance(network, model.UNetModel):
        return
    scale = 1
    for name, blocks in (("input", network.input_blocks), ("output", network.output_blocks)):
        for number, block in enumerate(blocks):
            for layer in block:
                yield scale, name, number, layer
                if isinstance(layer, model.Downsample) or (name == "input" and getattr(layer, "updown", False)):
                    scale *= 2
                elif isinstance(layer, model.Upsample) or getattr(layer, "updown", False):
                    scale //= 2
