"""An input for a number of the core: its default and its range are the core's."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import RANGES

# How near the editor's field comes to the end of a range that the end does not belong to.
NEAREST = 0.001


def setting_input(
    name: str, defaults: object, tooltip: str, step: float, most: float = 100.0, advanced: bool = False
) -> io.Input:
    """Return the input for a setting, optional.

    Args:
        name: of the setting and of the input.
        defaults: the core's settings with their default values.
        tooltip: what it does to the picture, its range and its off value.
        step: of the editor's field.
        most: what the editor's field offers of a range without an end.
        advanced: whether no good edit needs it.
    """
    numbers = RANGES[name]
    return io.Float.Input(
        name,
        default=getattr(defaults, name),
        min=numbers.low,
        max=min(most, numbers.below - NEAREST) if numbers.most is None else numbers.most,
        step=step,
        round=NEAREST,
        optional=True,
        advanced=advanced,
        tooltip=tooltip,
    )
