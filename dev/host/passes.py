"""Counting the calls of a model's network."""

from __future__ import annotations

from typing import Any


def options_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the transformer options that the host hands to a wrapper, by name or by position."""
    return kwargs.get("transformer_options") or next(arg for arg in reversed(args) if isinstance(arg, dict))


class Passes:
    """Counts the calls of a MODEL's network: how many latents each has, and their labels (0 positive, 1 negative).

    Only what samples with `model`, a clone, is counted.
    """

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.labels: list[list[int]] = []
        self.sizes: list[int] = []
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "passes", self._count)

    def _count(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.labels.append(list(options_of(args, kwargs)["cond_or_uncond"]))
        self.sizes.append(x.shape[0])
        return executor(x, *args, **kwargs)
