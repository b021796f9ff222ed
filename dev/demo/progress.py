"""Run workflows under a progress bar."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from tqdm import tqdm

from ..host.client import Client, Event, Workflow

Images = list[Image.Image]


def run_all(client: Client, label: str, workflows: Sequence[Workflow]) -> list[dict[str, Images]]:
    """Return the pictures that each workflow's nodes saved or showed, by the nodes' class."""
    made: list[dict[str, Images]] = []
    bar_format = "{desc} {percentage:3.0f}% |{bar:30}| {elapsed}"
    with tqdm(total=len(workflows), desc=f"{label:24}", bar_format=bar_format) as bar:

        def follow(event: Event) -> None:
            if event.type == "progress":
                share = event.data["value"] / event.data["max"]
                # A workflow may sample twice.
                bar.update(max(0, len(made) + share - bar.n))

        for workflow in workflows:
            made.append(client.pictures(workflow, follow))
            bar.update(len(made) - bar.n)
    return made
