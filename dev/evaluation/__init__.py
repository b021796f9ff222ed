"""Measure how good the edits are, on the demo model: `nox -s evaluate`."""
