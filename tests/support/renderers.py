"""The editor's two ways to draw nodes: on a canvas, and as HTML (Nodes 2.0).

What a test does in both, `nox -s tests` does in one of them: the other one is slow.
"""

from __future__ import annotations

import pytest


def _first(renderer: str, other: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("renderer", [renderer, pytest.param(other, marks=pytest.mark.slow)])


CANVAS_FIRST, NODES2_FIRST = _first("canvas", "nodes2"), _first("nodes2", "canvas")
