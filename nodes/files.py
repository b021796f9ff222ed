"""Names and paths of the files that our nodes save and load, in ComfyUI's input and output folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import folder_paths
from comfy_api.latest import io

_OUTPUT = " [output]"
# Our folder in ComfyUI's output folder. The pickers need not search the rest.
_OURS = "sega"

Loaded = TypeVar("Loaded")


def file_input(kind: str) -> io.Input:
    """Return the picker of a saved file of a kind, such as "guidance"."""
    return io.Combo.Input(
        "file",
        options=_choices(kind),
        tooltip=f"A .{kind}.safetensors file in ComfyUI's input folder or its output/sega folder.",
    )


def prefix_input(kind: str) -> io.Input:
    """Return the name of the files to save."""
    return io.String.Input(
        "filename_prefix",
        default=kind,
        tooltip="File name in ComfyUI's output/sega folder, with subfolders if you like. A number and "
        f".{kind}.safetensors are added.",
    )


def _choices(kind: str) -> list[str]:
    """Return the files of a kind as a picker lists them; output files are marked [output].

    The host calls this when the editor starts and for every queued workflow, so it must not walk folders of images.
    """
    pattern, output = f"*.{kind}.safetensors", Path(folder_paths.get_output_directory())
    given = sorted(file.name for file in Path(folder_paths.get_input_directory()).glob(pattern) if file.is_file())
    written = sorted(file.relative_to(output) for file in (output / _OURS).rglob(pattern) if file.is_file())
    return [*given, *(file.as_posix() + _OUTPUT for file in written)]


def input_file(node_id: str, name: str) -> Path:
    """Return the path of a picker's choice.

    Raises:
        ValueError: the name leads out of ComfyUI's folders, is not a .safetensors file or does not exist.
    """
    if not isinstance(name, str):
        raise ValueError(f"{node_id}: file must be a name, got {name!r}")
    mark = name.endswith(_OUTPUT)
    folder = Path(folder_paths.get_output_directory() if mark else folder_paths.get_input_directory())
    relative = name.removesuffix(_OUTPUT)
    if not _is_inside(folder, relative) or not relative.endswith(".safetensors"):
        raise ValueError(
            f"{node_id}: file must be a .safetensors file in ComfyUI's {'output' if mark else 'input'} folder, got "
            f"{name!r}"
        )
    if not os.path.isfile(folder / relative):
        raise ValueError(f"{node_id}: file {name!r} does not exist in {folder}")
    return folder / relative


def loaded(node_id: str, name: str, load: Callable[[Path], Loaded]) -> Loaded:
    """Return `load` of a picker's choice.

    Raises:
        ValueError: names the node, the file and what is wrong with it.
    """
    path = input_file(node_id, name)
    try:
        return load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{node_id}: file {name!r}: {error}") from error


def check_file(node_id: str, name: str | None) -> bool | str:
    """Check the file before anything runs: True or the error text. None is a value that is not known yet."""
    try:
        if name is not None:
            input_file(node_id, name)
    except ValueError as error:
        return str(error)
    return True


def stamp(node_id: str, name: str) -> str:
    """Return a string that changes whenever the file does."""
    status = input_file(node_id, name).stat()
    return f"{status.st_mtime_ns} {status.st_size}"


def saved(node_id: str, prefix: str, kind: str, save: Callable[[Path], None]) -> dict[str, str]:
    """Save a new file; return it as the host's history names it.

    Raises:
        ValueError: names the node, and the prefix that leads out of the folder or what cannot be saved.
    """
    path = _output_file(node_id, prefix, kind)
    try:
        save(path)
    except ValueError as error:
        raise ValueError(f"{node_id}: {kind}: {error}") from error
    relative = path.relative_to(folder_paths.get_output_directory())
    subfolder = "" if relative.parent == Path() else relative.parent.as_posix()
    return {"filename": path.name, "subfolder": subfolder, "type": "output"}


def _output_file(node_id: str, prefix: str, kind: str) -> Path:
    """Return the path of a new file in our output folder: prefix, counter and kind.

    Raises:
        ValueError: the prefix leads out of the folder.
    """
    folder = os.path.join(folder_paths.get_output_directory(), _OURS)
    if not isinstance(prefix, str) or not _is_inside(Path(folder), prefix) or not os.path.basename(prefix):
        raise ValueError(
            f"{node_id}: filename_prefix must be a name in the folder {_OURS!r} of ComfyUI's output folder, such as "
            f"{kind!r}, got {prefix!r}"
        )
    place, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder)
    return Path(os.path.abspath(place), f"{name}_{counter:05}_.{kind}.safetensors")


def _is_inside(folder: Path, name: str) -> bool:
    # Nor may a name hold a lone surrogate.
    if "\0" in name or name != name.encode(errors="ignore").decode():
        return False
    base = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(base, name))
    return (
        path != base
        and os.path.splitdrive(path)[0] == os.path.splitdrive(base)[0]
        and (os.path.commonpath([base, path]) == base)
    )
