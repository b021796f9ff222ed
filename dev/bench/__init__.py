"""How fast SEGA is and what memory it takes, as ratios measured side by side: `nox -s bench`."""
