"""Where a UNet attends to a concept's words, read from the cross-attention in the concept's own passes.

This is LEDITS++'s implicit mask M^1 (arXiv 2311.16711, section 3.3) before its threshold. The attention's output is
left to other packs' patches.
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

# LEDITS++ reads the attention at this factor below the latents' resolution.
_COARSE = 4


class ConceptAttention:
    """The last attention to each concept's words in a sampling.

    Args:
        network: the host's diffusion model.
        token_positions: for each concept with an attention threshold, the positions of its words in its embedding; None
            is all but the start token.
        names: of the concepts, for errors.
    """

    def __init__(self, network: Any, token_positions: Mapping[int, Sequence[int] | None], names: Sequence[str]) -> None:
        self.blocks = tuple(_coarse_blocks(network)) if token_positions else ()
        self.token_positions = token_positions
        self.names = names
        # Caches sometimes skip the network; the last map is then used again.
        self._seen: dict[int, Tensor] = {}
        # Made once: each copy from the CPU makes a GPU wait.
        self._positions: dict[tuple[int, torch.device], Tensor] = {}

    def of(self, c: int) -> Tensor | None:
        """Return a concept's map, (B, h, w), fp32; None if it has no attention threshold."""
        return self._seen.get(c)

    def positions(self, c: int, device: torch.device) -> Tensor | None:
        """Return the positions of a concept's words in its embedding; None is all but the first."""
        positions = self.token_positions[c]
        if positions is None:
            return None
        if (c, device) not in self._positions:
            self._positions[c, device] = torch.tensor(positions, device=device)
        return self._positions[c, device]

    def watched(
        self, passes: Mapping[int, tuple[Sequence[int], int]], batch: int, options: Options
    ) -> AttentionMaps | None:
        """Add a wrapper that reads a call's attention to its options; return its maps, None if nothing is read.

        Args:
            passes: for each place of the call to read, its concepts and the length of its embedding.
            batch: number of samples of each place.
            options: the call's model options, changed here.
        """
        if not passes:
            return None
        maps = AttentionMaps(self, passes, batch)
        # The last wrapper is the innermost: it also sees the patches of hooks and other wrappers.
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.APPLY_MODEL, "sega_attention", on_each_batch(maps.watching), options, is_model_options=True
        )
        return maps

    def keep(self, c: int, seen: Tensor | None) -> None:
        """Keep a concept's map from a call; None if the call did not run the network.

        Raises:
            ValueError: there is no earlier map either.
        """
        if seen is not None:
            self._seen[c] = seen
        elif c not in self._seen:
            raise ValueError(
                f"{self.names[c]}: attention_threshold has no effect: another patch replaces the cross-attention to "
                "text; set it to 0 (off)"
            )


class AttentionMaps:
    """The attention maps of one call.

    Args:
        attention: of the sampling.
        passes: for each place of the call to read, its concepts and the length of its embedding.
        batch: number of samples of each place.
    """

    def __init__(
        self, attention: ConceptAttention, passes: Mapping[int, tuple[Sequence[int], int]], batch: int
    ) -> None:
        self.attention = attention
        self.passes = passes
        self.batch = batch
        # For each concept and layer, the sum over the heads and their number.
        watched = [c for concepts, _ in passes.values() for c in concepts]
        self._layers: dict[int, list[tuple[Tensor, int]]] = {c: [] for c in watched}

    def of(self, c: int, device: torch.device) -> Tensor | None:
        """Return a concept's mean map, (B, h, w), fp32; None if the network was not run."""
        layers = self._layers[c]
        if not layers:
            return None
        # The layers have the same size, unless another patch shrinks some.
        size = max((layer.shape[1:] for layer, _ in layers), key=math.prod)
        total = torch.zeros((self.batch, 1, *size), device=layers[0][0].device)
        for layer, _ in layers:
            total += F.interpolate(layer.to(total.device).unsqueeze(1), size=tuple(size), mode="bilinear")
        return (total.squeeze(1) / sum(heads for _, heads in layers)).to(device)

    def watching(self, transformer_options: Options, context: Tensor) -> Options:
        """Return the options of one batch with its attention read; `context` is what it attends to."""
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
                f"{self.attention.names[first]}: attention_threshold does not work with a patch that splits the batch: "
                f"expected {len(evaluated)} prompts of {self.batch} samples, got {q.shape[0]}; set it to 0 (off)"
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
    """Return how much each place attends to the words, summed over words and heads, (B, places).

    The first `text` keys hold the embedding, of `length`; keys added by other patches follow.
    """
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (q, k))
    looked = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    # The host repeats an embedding to the length of the longest one in the batch.
    looked = looked[..., :text].unflatten(-1, (-1, length)).sum(-2)
    chosen = looked[..., 1:] if positions is None else looked.index_select(-1, positions)
    return chosen.sum(-1).sum(1)


def check_attention(network: Any, conds: Conds, name: str) -> None:
    """Refuse models and prompts whose attention cannot be read.

    Raises:
        ValueError: the network is not a UNet with text cross-attention, or a prompt has an area.
    """
    if not any(_coarse_blocks(network)):
        raise ValueError(
            f"{name}: attention_threshold needs a UNet with cross-attention to text, such as SD1.5's or SDXL's, got "
            f"{type(network).__name__}; set it to 0 (off)"
        )
    if any("area" in entry or entry.get("set_area_to_bounds") for entry in conds):
        raise ValueError(
            f"{name}: attention_threshold does not work with a prompt for an area; set it to 0 (off), or use a prompt "
            "with a mask"
        )


def _coarse_blocks(network: Any) -> Iterator[tuple[str, int, int]]:
    """Yield the host's names of the cross-attention blocks of one level: at a quarter of the size, or closest to it."""
    levels: dict[int, list[tuple[str, int, int]]] = {}
    for scale, name, number, layer in _layers(network):
        if type(layer) is comfy.ldm.modules.attention.SpatialTransformer:
            blocks = [(name, number, index) for index in range(len(layer.transformer_blocks))]
            levels.setdefault(scale, []).extend(blocks)
    if levels:
        yield from levels[min(levels, key=lambda scale: (abs(math.log2(scale / _COARSE)), -scale))]


def _layers(network: Any) -> Iterator[tuple[int, str, int, Any]]:
    """Yield the layers of a UNet's encoder and decoder, each with its downsampling factor."""
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
