"""A progress bar for runs of workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image
from tqdm import tqdm

from ..host.client import Client, Event, Workflow

Images = list[Image.Image]
Run = Callable[[Workflow], dict[str, Images]]


@contextmanager
def progress(client: Client, label: str, runs: int) -> Iterator[Run]:
    """Show a bar for some runs; yield what runs a workflow and returns its pictures by the nodes' class."""
    with tqdm(desc=f"{label:24}", unit="step", bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}") as bar:

        def run(workflow: Workflow) -> dict[str, Images]:
            before = bar.n

            def follow(event: Event) -> None:
                if event.type == "progress":
                    bar.total = event.data["max"] * runs
                    # A workflow may sample twice.
                    bar.update(max(0, before + event.data["value"] - bar.n))

            return client.pictures(workflow, follow)

        yield run
