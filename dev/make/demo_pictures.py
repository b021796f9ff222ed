"""The pictures of `docs/demo.md`, the demo's contact sheet in two: `python -m dev.make.demo_pictures`.

`nox -s pictures` runs it.
"""

from __future__ import annotations

from ..demo.sheet import contact_sheet
from ..demo.shown import FACES, SEED, Demo, panels
from ..demo.workflows import LOOKS
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server

NAMES = ("demo_edits", "demo_control")


def main() -> None:
    with Server({**PACK, **DEMO_PACK}) as server:
        drawn = panels(Demo(server.client(), SEED, FACES // len(LOOKS)))
    for name, panel in zip(NAMES, drawn, strict=True):
        contact_sheet("", "", panel).save(REPO / "docs" / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
