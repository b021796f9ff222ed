"""README's pictures of the editor, from the screenshots of the browser tests: `python -m tools.readme_pictures`.

`nox -s pictures` runs the tests first. Needs COMFYUI_PATH.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
# For each picture the screenshot and its part: left, top, right, bottom.
PARTS = {
    "editor": ("first-use-4-picture", (60, 40, 1600, 975)),
    "preview": ("preview-nodes2", (120, 240, 1050, 790)),
}


def main() -> None:
    screenshots = ROOT / ".host" / "screenshots" / Path(os.environ["COMFYUI_PATH"]).name
    for name, (screenshot, part) in PARTS.items():
        picture = Image.open(screenshots / f"{screenshot}.png").convert("RGB").crop(part)
        picture.save(ROOT / "docs" / f"{name}.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
