"""Type names for the host's untyped dicts."""

from __future__ import annotations

from typing import Any

# One entry of a prompt, and a prompt: a CONDITIONING as the guider stores it.
Entry = dict[str, Any]
Conds = list[Entry]

# `model_options` and the `transformer_options` in them.
Options = dict[str, Any]
