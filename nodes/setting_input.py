"""A node input for one of the core's settings, with the core's default and range."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import RANGES

# How close the editor's field gets to an excluded upper bound.
NEAREST = 0.001


def setting_input(
    name: str, defaults: object, tooltip: str, step: float, most: float = 100.0, advanced: bool = False
) -> io.Input:
    """Return an optional input for a setting.

    Args:
        name: of the setting and of the input.
        defaults: the core's settings with their default values.
        tooltip: what it does to the picture, its range and its off value.
        step: of the editor's field.
        most: the field's maximum if the setting has no upper bound.
        advanced: whether it is an advanced input.
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
