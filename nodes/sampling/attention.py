"""Where a UNet looks at a concept's words: its cross-attention, seen in the concept's passes alone.

This is the implicit mask M^1 of LEDITS++ (arXiv 2311.16711, section 3.3) before its threshold. Attention patches of
other packs stay in charge of what the attention gives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.patcher_extension
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .labels import PLACES, on_each_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .host_types import Conds, Options

# LEDITS++ looks at the attention of this many times fewer places per side than the latents have.
_COARSE = 4


class ConceptAttention:
    """Where the picture looks at each concept's words, as it was last seen in a sampling.

    Args:
        network: the host's diffusion model.
        token_positions: per concept whose attention counts, where its words stand in its embedding; None is all but the
            first, which marks the start.
        names: per concept, what it is called in errors.
    """

    def __init__(self, network: Any, token_positions: Mapping[int, Sequence[int] | None], names: Sequence[str]) -> None:
        self.blocks = tuple(_coarse_blocks(network)) if token_positions else ()
        self.token_positions = token_positions
        self.names = names
        # Caches leave out the network now and then: what was seen before holds.
        self._seen: dict[int, Tensor] = {}
        # Made once: each copy from the CPU makes a GPU wait.
        self._positions: dict[tuple[int, torch.device], Tensor] = {}

    def of(self, c: int) -> Tensor | None:
        """Return a concept's map, (B, h, w), fp32; None where its attention does not count."""
        return self._seen.get(c)

    def positions(self, c: int, device: torch.device) -> Tensor | None:
        """Return the places of a concept's words in its embedding; None is all but the first."""
        positions = self.token_positions[c]
        if positions is None:
            return None
        if (c, device) not in self._positions:
            self._positions[c, device] = torch.tensor(positions, device=device)
        return self._positions[c, device]

    def watched(
        self, passes: Mapping[int, tuple[Sequence[int], int]], batch: int, options: Options
    ) -> AttentionMaps | None:
        """Enter the options of a call that is to be watched; None where no concept's attention counts.

        Args:
            passes: for each place of the call where words of concepts stand, whose they are, and how long the embedding
                is.
            batch: number of samples of each place.
            options: the call's model options, changed here.
        """
        if not passes:
            return None
        maps = AttentionMaps(self, passes, batch)
        # The last of the wrappers is the innermost: it sees the patches of hooks and of other wrappers too.
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.APPLY_MODEL, "sega_attention", on_each_batch(maps.watching), options, is_model_options=True
        )
        return maps

    def keep(self, c: int, seen: Tensor | None) -> None:
        """Keep what a call has shown of a concept that it evaluated; None where it has not run the network.

        Raises:
            ValueError: its words were never seen.
        """
        if seen is not None:
            self._seen[c] = seen
        elif c not in self._seen:
            raise ValueError(
                f"{self.names[c]}: attention_threshold cannot act: no cross-attention to the words was seen, another "
                "patch replaces it; set it to 0 (off)"
            )


class AttentionMaps:
    """What one call shows of the concepts that it evaluates.

    Args:
        attention: of the sampling.
        passes: for each place of the call that is watched, whose words stand there, and how long the embedding is.
        batch: number of samples of each place.
    """

    def __init__(
        self, attention: ConceptAttention, passes: Mapping[int, tuple[Sequence[int], int]], batch: int
    ) -> None:
        self.attention = attention
        self.passes = passes
        self.batch = batch
        # Per concept, the sum over the heads of each layer and how many they are.
        watched = [c for concepts, _ in passes.values() for c in concepts]
        self._layers: dict[int, list[tuple[Tensor, int]]] = {c: [] for c in watched}

    def of(self, c: int, device: torch.device) -> Tensor | None:
        """Return a concept's mean map, (B, h, w), fp32; None where the network was not run."""
        layers = self._layers[c]
        if not layers:
            return None
        # The layers have one size, unless another patch shrinks some of them.
        size = max((layer.shape[1:] for layer, _ in layers), key=math.prod)
        total = torch.zeros((self.batch, 1, *size), device=layers[0][0].device)
        for layer, _ in layers:
            total += F.interpolate(layer.to(total.device).unsqueeze(1), size=tuple(size), mode="bilinear")
        return (total.squeeze(1) / sum(heads for _, heads in layers)).to(device)

    def watching(self, transformer_options: Options, context: Tensor) -> Options:
        """Return the options of one batch with its attention watched; `context` is what it attends to."""
        patches = transformer_options.get("patches_replace", {})
        replaced = dict(patches.get("attn2", {}))
        for name, number, index in self.attention.blocks:
            inner = replaced.get((name, number, index), replaced.get((name, number)))
            replaced[name, number, index] = self._watching(inner, context.shape[1])
        return {**transformer_options, "patches_replace": {**patches, "attn2": replaced}}

    def _watching(self, inner: Callable[..., Tensor] | None, length: int) -> Callable[..., Tensor]:
        def attention(q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
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

    def _see(self, q: Tensor, k: Tensor, length: int, extra_options: Options) -> None:
        evaluated = extra_options[PLACES]
        if q.shape[0] != len(evaluated) * self.batch:
            (first, *_), _ = self.passes[min(self.passes)]
            raise ValueError(
                f"{self.attention.names[first]}: attention_threshold cannot be used together with a patch that divides "
                f"the batch: {q.shape[0]} samples where {len(evaluated)} prompts of {self.batch} were expected; set it "
                "to 0 (off)"
            )
        height, width = extra_options["activations_shape"][-2:]
        if height * width != q.shape[1] or k.shape[1] < length:
            return
        heads = extra_options["n_heads"]
        for row, place in enumerate(evaluated):
            concepts, own_length = self.passes.get(place, ((), 0))
            rows = slice(row * self.batch, (row + 1) * self.batch)
            for c in concepts:
                positions = self.attention.positions(c, q.device)
                looked = _attention_to(q[rows], k[rows], heads, length, positions, own_length)
                self._layers[c].append((looked.view(-1, height, width), heads))


def _attention_to(q: Tensor, k: Tensor, heads: int, text: int, positions: Tensor | None, length: int) -> Tensor:
    """Return how much each place looks at the words, summed over words and heads, (B, places).

    The first `text` keys are the embedding's, of `length`; what another patch adds stands behind them.
    """
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (q, k))
    looked = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    # The host repeats an embedding to the length of the longest one in the batch.
    looked = looked[..., :text].unflatten(-1, (-1, length)).sum(-2)
    chosen = looked[..., 1:] if positions is None else looked.index_select(-1, positions)
    return chosen.sum(-1).sum(1)


def check_attention(network: Any, conds: Conds, name: str) -> None:
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
    sides: dict[str, Any] = {"input": network.input_blocks, "output": network.output_blocks}
    for name, blocks in sides.items():
        for number, block in enumerate(blocks):
            for layer in block:
                yield scale, name, number, layer
                if isinstance(layer, model.Downsample) or (name == "input" and getattr(layer, "updown", False)):
                    scale *= 2
                elif isinstance(layer, model.Upsample) or getattr(layer, "updown", False):
                    scale //= 2
