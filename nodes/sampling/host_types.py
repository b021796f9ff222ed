"""Names for the host's dicts, which have no types of their own."""

from __future__ import annotations

from typing import Any

# One entry of a prompt, and a prompt: a CONDITIONING as the guider holds it.
Entry = dict[str, Any]
Conds = list[Entry]

# `model_options` and the `transformer_options` in them.
Options = dict[str, Any]
