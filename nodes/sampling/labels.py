"""Labels concepts for other packs as the prompt they are compared with.

The host numbers the conds it evaluates together in `cond_or_uncond`. Attention patches, wrappers and ControlNets only
know 0 (positive) and 1 (negative), so they must never see a concept's own number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comfy.patcher_extension import WrapperExecutor
    from torch import Tensor

    from .host_types import Conds, Entry, Options

# The key of the host's own numbers in `transformer_options` once they are relabelled.
PLACES = "sega_places"


class _ShownControl:
    """A ControlNet that only sees prompt labels; everything else is the ControlNet's own."""

    def __init__(self, control: Any, show: Callable[[Options], Options]) -> None:
        self.__dict__.update(control=control, show=show)

    def get_control(self, x: Tensor, t: Tensor, cond: Any, batched_number: int, transformer_options: Options) -> Any:
        self.show(transformer_options)
        return self.control.get_control(x, t, cond, batched_number, transformer_options)

    def get_instance_for_device(self, device: Any) -> _ShownControl:
        return _ShownControl(self.control.get_instance_for_device(device), self.show)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # Other packs check the type of a ControlNet.
        return type(self.control)

    def __getattr__(self, name: str) -> Any:
        if name == "control":
            raise AttributeError(name)
        return getattr(self.control, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.control, name, value)


class Labels:
    """The labels of one call of the host's `calc_cond_batch`, and which of its places were evaluated.

    Args:
        shown: for each place of the call, the number of its prompt in the guider's own call.
    """

    def __init__(self, shown: Sequence[int]) -> None:
        self.shown = shown
        self.evaluated: set[int] = set()

    def show(self, transformer_options: Options, *_: Any) -> Options:
        """Relabel in the host's own dict, and return it: ControlNets pass data to the network in it."""
        # A model function wrapper passes on the labels it was shown, whole or in chunks.
        if PLACES not in transformer_options:
            places = transformer_options["cond_or_uncond"]
            transformer_options |= {"cond_or_uncond": self._shown(places), PLACES: places}
            self.evaluated.update(places)
        return transformer_options

    def applied(self, conds: Sequence[Conds | None], options: Options) -> tuple[list[Conds | None], Options]:
        """Return copies of a call's conds and model options with these labels."""
        options = comfy.model_patcher.create_model_options_clone(options)
        # The first wrapper is the outermost: other packs' wrappers see prompt labels even without a ControlNet or a
        # model function wrapper.
        wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
        wrappers[WrappersMP.APPLY_MODEL] = {
            "sega": [on_each_batch(self.show)],
            **wrappers.get(WrappersMP.APPLY_MODEL, {}),
        }
        wrapper: Callable[..., Tensor] | None = options.get("model_function_wrapper")
        if wrapper is not None:

            def shown_wrapper(apply: Callable[..., Tensor], params: Options) -> Tensor:
                self.show(params["c"]["transformer_options"])
                return wrapper(apply, {**params, "cond_or_uncond": self._shown(params["cond_or_uncond"])})

            options["model_function_wrapper"] = shown_wrapper
        # The host only batches prompts that share one ControlNet object.
        controls: dict[int, _ShownControl] = {}

        def controlled(entry: Entry) -> Entry:
            control = entry.get("control")
            if control is None:
                return entry
            return {**entry, "control": controls.setdefault(id(control), _ShownControl(control, self.show))}

        return [cond and [controlled(entry) for entry in cond] for cond in conds], options

    def _shown(self, places: Sequence[int]) -> list[int]:
        return [self.shown[place] for place in places]


def on_each_batch(change: Callable[[Options, Tensor], Options]) -> Callable[..., Tensor]:
    """Return an APPLY_MODEL wrapper.

    Args:
        change: takes the transformer options and the embeddings of each batch; returns the options to use.
    """

    def apply_model(
        executor: WrapperExecutor,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        options = change(transformer_options, c_crossattn)
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    return apply_model
