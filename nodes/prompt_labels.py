"""How concepts look to other packs: as the prompt that they are compared with.

The host numbers what it evaluates together in `cond_or_uncond`. Attention patches, wrappers and ControlNets know 0
(positive) and 1 (negative) only, so they must never see a concept's own number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor


class _ShownControl:
    """A ControlNet that is told labels of prompts only; all else is the ControlNet's own."""

    def __init__(self, control: Any, shown: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.__dict__.update(control=control, shown=shown)

    def get_control(self, x: Tensor, t: Tensor, cond: Any, batched_number: int, transformer_options: dict[str, Any]):
        return self.control.get_control(x, t, cond, batched_number, self.shown(transformer_options))

    def get_instance_for_device(self, device: Any) -> _ShownControl:
        return _ShownControl(self.control.get_instance_for_device(device), self.shown)

    @property
    def __class__(self) -> type:
        # Other packs ask what kind of ControlNet it is.
        return type(self.control)

    def __getattr__(self, name: str) -> Any:
        if name == "control":
            raise AttributeError(name)
        return getattr(self.control, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.control, name, value)


def show_as_prompt(
    conds: list[Any], options: dict[str, Any], passes: int, index: int
) -> tuple[list[Any], dict[str, Any]]:
    """Return what to evaluate so that the first `passes` conds look like the prompt `index` to every patch.

    Args:
        conds: the passes of concepts, then the guider's own conds, as the host's calc_cond_batch takes them.
        options: the host's model options of this evaluation; not changed.
        passes: how many conds are to look like a prompt.
        index: 0 for the positive prompt, 1 for the negative one.

    Returns:
        The conds and the options.
    """

    def shown(cond_or_uncond: list[int]) -> list[int]:
        return [index if i < passes else i - passes for i in cond_or_uncond]

    def shown_once(transformer_options: dict[str, Any]) -> dict[str, Any]:
        # A model function wrapper hands on, whole or chunk by chunk, the labels that it was shown.
        if "sega_passes" in transformer_options:
            return transformer_options
        labels = transformer_options["cond_or_uncond"]
        return {**transformer_options, "cond_or_uncond": shown(labels), "sega_passes": labels}

    def apply_model(
        executor: Any, x: Any, t: Any, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ) -> Tensor:
        return executor(x, t, c_concat, c_crossattn, control, shown_once(transformer_options), **kwargs)

    options = comfy.model_patcher.create_model_options_clone(options)
    # The first of the wrappers is the outermost: those of other packs see labels of prompts too.
    wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
    wrappers[WrappersMP.APPLY_MODEL] = {"sega": [apply_model], **wrappers.get(WrappersMP.APPLY_MODEL, {})}
    wrapper: Callable | None = options.get("model_function_wrapper")
    if wrapper is not None:

        def wrapper_shown(apply: Callable, params: dict[str, Any]) -> Tensor:
            c = {**params["c"], "transformer_options": shown_once(params["c"]["transformer_options"])}
            return wrapper(apply, {**params, "c": c, "cond_or_uncond": shown(params["cond_or_uncond"])})

        options["model_function_wrapper"] = wrapper_shown
    # The host evaluates prompts together where they share one ControlNet object.
    controls: dict[int, _ShownControl] = {}

    def controlled(entry: dict[str, Any]) -> dict[str, Any]:
        control = entry.get("control")
        if control is None:
            return entry
        return {**entry, "control": controls.setdefault(id(control), _ShownControl(control, shown_once))}

    return [cond and [controlled(entry) for entry in cond] for cond in conds], options
