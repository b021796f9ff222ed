"""Where an attribute can be in a picture of the demo model: outside of it an edit should change nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..demo.faces import SIZE

# Left, top, right, bottom in pixels: the room of the attribute at all places and proportions of a face (demo/faces.py),
# in whole cells of the latent, each of which is 8 x 8 pixels.
REGIONS = {
    "mouth": (32, 64, 96, 112),
    "glasses": (16, 40, 112, 88),
    "hat": (8, 8, 120, 64),
    "beard": (16, 64, 112, 120),
}


def background(attributes: Iterable[str]) -> NDArray[np.bool_]:
    """Return which pixels, (SIZE, SIZE), lie outside of the regions of all these attributes; colours are everywhere."""
    outside = np.ones((SIZE, SIZE), bool)
    for attribute in attributes:
        left, top, right, bottom = REGIONS.get(attribute, (0, 0, SIZE, SIZE))
        outside[top:bottom, left:right] = False
    return outside
