"""Where in a picture an edit may change something, from how the face lies in it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..demo.composition import NAMES
from ..demo.drawing import SIZE

# Of a head that is held upright, from its middle, as shares of its size: half the width, the top and the bottom. There
# is room around each for a turned head and a soft edge.
PLACES = {
    "mouth": (0.85, 0.25, 1.0),
    "glasses": (1.1, -0.6, 0.4),
    "hat": (1.4, -1.6, -0.2),
    "beard": (1.05, 0.1, 1.3),
}


def places(attributes: Iterable[str], compositions: ArrayLike) -> NDArray[np.bool_] | None:
    """Return which pixels, (N, SIZE, SIZE), lie where the attributes are, or None if one of them is anywhere.

    Args:
        attributes: the edited attributes.
        compositions: how the faces lie, (N, 6).
    """
    names = set(attributes)
    if not names <= PLACES.keys():
        return None
    by_name = dict(zip(NAMES, np.asarray(compositions, float).T[..., None, None], strict=True))
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    size, tilt = by_name["size"], np.radians(by_name["tilt"])
    # Hold the head upright: it tilts around its chin.
    across, down = columns - by_name["x"], rows - by_name["y"] - size
    upright_across = (across * np.cos(tilt) + down * np.sin(tilt)) / size
    upright_down = (down * np.cos(tilt) - across * np.sin(tilt)) / size + 1
    inside = [
        (np.abs(upright_across) <= half) & (upright_down >= top) & (upright_down <= bottom)
        for half, top, bottom in (PLACES[name] for name in names)
    ]
    return np.any(inside, axis=0)
