"""Measure speed and memory, and write figures, tables and a plot: `nox -s bench -- --help`."""

from __future__ import annotations

import argparse
import json
import logging
import platform
from pathlib import Path
from typing import Any

import torch

from ..host import in_process
from ..report import fill
from . import generation, gpu, maths, memory, overhead, plot, report
from .twins import TINY, Twin

PARTS = ("generation", "overhead", "maths", "memory")

log = logging.getLogger("bench")


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    options = _options()
    file = options.output / "figures.json"
    if not options.report_only:
        options.output.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_measure(options), indent=1) + "\n", encoding="utf-8")
    figures = json.loads(file.read_text(encoding="utf-8"))
    tables = report.markdown(figures)
    plot.draw(figures, options.output / "speed.png")
    if options.report is None:
        (options.output / "figures.md").write_text(tables, encoding="utf-8")
    else:
        fill(options.report, {"figures": tables})
    log.info("%s", f"\n{tables}\nwritten to {options.output}")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    in_process.start_host(cpu=device.type == "cpu")
    figures: dict[str, Any] = {"machine": _machine(device)}
    if {"generation", "overhead"} & set(options.only):
        _measure_networks(figures, options, device)
    if "maths" in options.only:
        figures["maths"] = maths.measure(device, options.quick, log.info)
        figures["exactness"] = maths.exactness(device, options.quick)
        if device.type == "cuda":
            figures["gpu"] = gpu.measure(device)
    if "memory" in options.only:
        figures["memory"] = memory.measure(Twin(TINY, torch.device("cpu"), torch.float32), log.info)
    return figures


def _measure_networks(figures: dict[str, Any], options: argparse.Namespace, device: torch.device) -> None:
    on_gpu, generates = device.type == "cuda", "generation" in options.only
    figures |= {part: [] for part in ("generation_memory", "generation", "overhead")}
    for plan in generation.plans(device, options.quick):
        # On the CPU each of the two samples alone for the memory, before this process holds the weights too.
        if generates and not on_gpu and generation.STATUS.exists():
            figures["generation_memory"].append(generation.measure_memory(plan, None))
        # The numbers that users run these networks in.
        twin = Twin(plan.shape, device, torch.float16 if on_gpu else torch.float32)
        if generates:
            figures["generation"] += generation.measure(plan, twin, log.info)
        if "overhead" in options.only:
            figures["overhead"] += overhead.measure(plan, twin, log.info)
        if generates and on_gpu:
            figures["generation_memory"].append(generation.measure_memory(plan, twin))


def _machine(device: torch.device) -> dict[str, Any]:
    import comfyui_version
    import diffusers

    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else _processor(),
        "threads": f"{torch.get_num_threads()} threads",
        "python": f"Python {platform.python_version()}",
        "torch": f"PyTorch {torch.__version__}",
        "comfyui": f"ComfyUI {comfyui_version.__version__}",
        "diffusers": f"diffusers {diffusers.__version__}",
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="folder to write to (%(default)s)")
    parser.add_argument("--report", type=Path, help="page whose tables are replaced, such as docs/speed.md")
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing: tables and plot of --output's figures"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: to see that it runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
