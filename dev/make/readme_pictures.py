"""README's pictures of the editor, from the screenshots of the browser tests: `python -m dev.make.readme_pictures`.

`nox -s pictures` runs the tests first. Needs COMFYUI_PATH.
"""

from __future__ import annotations

from PIL import Image

from ..host.packages import COMFYUI, REPO

# For each picture the screenshot and its part: left, top, right, bottom.
PARTS = {
    "editor": ("first-use-5-picture", (60, 40, 1600, 975)),
    "preview": ("preview-nodes2", (120, 240, 1050, 790)),
}


def main() -> None:
    screenshots = REPO / ".host" / "screenshots" / COMFYUI.name
    for name, (screenshot, part) in PARTS.items():
        picture = Image.open(screenshots / f"{screenshot}.png").convert("RGB").crop(part)
        picture.save(REPO / "docs" / f"{name}.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
