"""How concepts look to other packs: as the prompt that they are compared with.

The host numbers what it evaluates together in `cond_or_uncond`. Attention patches, wrappers and ControlNets know 0
(positive) and 1 (negative) only, so they must never see a concept's own number.
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

# Where the host's numbers are kept in its `transformer_options`, once others are shown in their place.
PLACES = "sega_places"


class _ShownControl:
    """A ControlNet that is told labels of prompts only; all else is the ControlNet's own."""

    def __init__(self, control: Any, show: Callable[[Options], Options]) -> None:
        self.__dict__.update(control=control, show=show)

    def get_control(self, x: Tensor, t: Tensor, cond: Any, batched_number: int, transformer_options: Options) -> Any:
        self.show(transformer_options)
        return self.control.get_control(x, t, cond, batched_number, transformer_options)

    def get_instance_for_device(self, device: Any) -> _ShownControl:
        return _ShownControl(self.control.get_instance_for_device(device), self.show)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # Other packs ask what kind of ControlNet it is.
        return type(self.control)

    def __getattr__(self, name: str) -> Any:
        if name == "control":
            raise AttributeError(name)
        return getattr(self.control, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.control, name, value)


class Labels:
    """What each place of one call of the host's `calc_cond_batch` is shown as, and which places it has evaluated.

    Args:
        shown: per place of the call, the number that the guider's own call gives the prompt it stands for.
    """

    def __init__(self, shown: Sequence[int]) -> None:
        self.shown = shown
        self.evaluated: set[int] = set()

    def show(self, transformer_options: Options, *_: Any) -> Options:
        """Change the labels in the host's own dict, and return it: ControlNets leave notes for the network in it."""
        # A model function wrapper hands on, whole or chunk by chunk, the labels that it was shown.
        if PLACES not in transformer_options:
            places = transformer_options["cond_or_uncond"]
            transformer_options |= {"cond_or_uncond": self._shown(places), PLACES: places}
            self.evaluated.update(places)
        return transformer_options

    def applied(self, conds: Sequence[Conds | None], options: Options) -> tuple[list[Conds | None], Options]:
        """Return a call's conds and model options with these labels; the given ones are not changed."""
        options = comfy.model_patcher.create_model_options_clone(options)
        # The first of the wrappers is the outermost: those of other packs see labels of prompts too, also where no
        # ControlNet and no model function wrapper has been shown them.
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
        # The host evaluates prompts together where they share one ControlNet object.
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
        change: is given the transformer options and the embeddings of each batch; returns the options to go on with.
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
