"""Concept presets: published settings, and the user's own.

The user's file is `default/sega_presets.json` in ComfyUI's user folder: a list of presets such as
`[{"name": "hat", "text": "wearing a hat", "strength": 1.5, "threshold": 0.3, "source": "mine"}]`.
The keys are `name` (required), `text` (if missing, the text field stays as it is), `source` (a note) and the inputs
`direction`, `strength`, `threshold`, `start_percent`, `end_percent`, `guidance_scale`, `weight`, `threshold_over` and
`attention_threshold`, in SEGAConcept's ranges; a missing one has its default. A published warm-up of 10 of 50 steps is
a `start_percent` of 0.2. A preset with the name of a shipped one replaces it. Invalid presets are skipped, and the log
says why. The file is data: nothing in it is executed.
"""

from __future__ import annotations

import json
import logging
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from .concept_inputs import advanced_inputs, check_percents, concept_inputs

NONE = "none"
MAX_PRESETS = 500
MAX_FILE_BYTES = 1_000_000
MAX_NAME, MAX_TEXT, MAX_SOURCE = 80, 2000, 2000


@dataclass(frozen=True)
class Preset:
    """A named set of values for SEGAConcept's inputs.

    Args:
        name: as the picker lists it.
        values: by input id: every setting, and the text if the preset has one.
        source: the publication, which values it gives and which were chosen here.
    """

    name: str
    values: Mapping[str, Any]
    source: str


def available() -> dict[str, Preset]:
    """Return the shipped presets and the user's, by name in alphabetical order; re-read files that changed."""
    users = Path(folder_paths.get_user_directory()) / "default" / "sega_presets.json"
    found: dict[str, Preset] = {}
    for file in (Path(__file__).with_suffix(".json"), users):
        found.update({preset.name: preset for preset in _presets(file, _stamp(file))})
    return dict(sorted(found.items(), key=lambda item: item[0].casefold()))


def completed(name: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given inputs, with a preset's values for those not given.

    Raises:
        ValueError: the text is missing or not a string, or an unknown preset leaves inputs missing.
    """
    presets = available()
    preset = presets.get(name) if isinstance(name, str) else None
    if preset is None and name != NONE:
        missing = [key for key in ("text", *_settings()) if key not in given]
        if missing:
            raise ValueError(
                f"preset must be one of {', '.join([NONE, *presets])}, got {_short(name)}; without it these inputs are "
                f"missing: {', '.join(missing)}"
            )
    values = {**(preset.values if preset else {}), **given}
    if "text" not in values:
        raise ValueError(f"text is missing, and preset {_short(name)} does not set it")
    if not isinstance(values["text"], str):
        raise ValueError(f"text must be a string, got {_short(values['text'])}")
    return values


def _settings() -> dict[str, Any]:
    """Return the inputs a preset sets, other than the text, by id."""
    inputs = [*concept_inputs(), *advanced_inputs()]
    return {setting.id: setting for setting in inputs if isinstance(setting, io.Combo.Input | io.Float.Input)}


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


# The editor asks often. A changed file has another stamp, so it is read again.
@lru_cache(maxsize=4)
def _presets(file: Path, stamp: tuple[int, int] | None) -> tuple[Preset, ...]:
    return tuple(_valid(file))


def _valid(file: Path) -> Iterator[Preset]:
    """Yield the file's valid presets and log one warning for each invalid one."""
    try:
        entries = _entries(file)
    except FileNotFoundError:
        return
    # The parser raises RecursionError on deeply nested lists.
    except (OSError, ValueError, RecursionError) as error:
        logging.warning("SEGA presets: skipped %s: %s", file, error)
        return
    if len(entries) > MAX_PRESETS:
        logging.warning("SEGA presets: %s: only the first %d of %d are used", file, MAX_PRESETS, len(entries))
    names = set()
    for place, entry in enumerate(entries[:MAX_PRESETS], 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        try:
            preset = _preset(entry)
            if name in names:
                raise ValueError("name must not be used twice")
        except ValueError as error:
            logging.warning("SEGA presets: %s: skipped preset %d, %s: %s", file, place, _short(name), error)
            continue
        names.add(name)
        yield preset


def _entries(file: Path) -> list[Any]:
    if file.exists() and not file.is_file():
        raise ValueError("it must be a file")
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it must be at most {MAX_FILE_BYTES} bytes long")
    # Some editors write a byte order mark.
    entries = json.loads(content.decode("utf-8-sig"))
    if not isinstance(entries, list):
        raise ValueError(f"it must be a list of presets, got {_short(entries)}")
    return entries


def _preset(entry: Any) -> Preset:
    if not isinstance(entry, dict):
        raise ValueError(f"it must be an object, got {_short(entry)}")
    settings = _settings()
    fields = ["name", "text", *settings, "source"]
    unknown = entry.keys() - {*fields}
    if unknown:
        raise ValueError(f"unknown field {_short(min(unknown))}, use {', '.join(fields)}")
    name = _words("name", entry.get("name"), MAX_NAME)
    if name.strip().casefold() == NONE:
        raise ValueError(f"name must not be {NONE!r}, which turns presets off, got {_short(name)}")
    values: dict[str, Any] = {"text": _words("text", entry["text"], MAX_TEXT, "\n\t")} if "text" in entry else {}
    for key, setting in settings.items():
        values[key] = _fitting(setting, entry[key]) if key in entry else setting.default
    percents = check_percents(values["start_percent"], values["end_percent"])
    if percents is not True:
        raise ValueError(percents)
    source = _words("source", entry["source"], MAX_SOURCE, "\n\t") if "source" in entry else ""
    return Preset(name, values, source)


def _words(key: str, value: Any, most: int, controls: str = "") -> str:
    """Return a string of 1 to `most` characters without control characters other than `controls`."""
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.strip():
        raise ValueError(f"{key} must be a string of 1 to {most} characters, got {_short(value)}")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in controls for c in value):
        raise ValueError(f"{key} must have no control characters, got {_short(value)}")
    return value


def _fitting(setting: Any, value: Any) -> Any:
    """Return a value if the input accepts it."""
    if isinstance(setting, io.Combo.Input):
        if value not in setting.options:
            raise ValueError(f"{setting.id} must be one of {', '.join(map(str, setting.options))}, got {_short(value)}")
        return value
    if type(value) not in (int, float) or not setting.min <= value <= setting.max:
        raise ValueError(f"{setting.id} must be a number in [{setting.min:g}, {setting.max:g}], got {_short(value)}")
    return value


def _short(value: Any) -> str:
    """Return a value shortened to one line for the log."""
    return reprlib.repr(value)
