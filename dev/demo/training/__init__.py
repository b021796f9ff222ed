"""How the demo model, its codec and its classifier were made: `nox -s train`."""
