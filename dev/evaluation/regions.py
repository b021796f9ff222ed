"""Where an attribute can be in a picture of the demo model: outside of it an edit should change nothing."""

from __future__ import annotations

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


def region(attribute: str) -> NDArray[np.bool_]:
    """Return which pixels, (SIZE, SIZE), lie inside of an attribute's region."""
    inside = np.zeros((SIZE, SIZE), bool)
    left, top, right, bottom = REGIONS[attribute]
    inside[top:bottom, left:right] = True
    return inside
