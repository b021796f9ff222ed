"""What reads files from others withstands a fuzzer that is guided by coverage, for as long as a test may take."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.packages import COMFYUI, REPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is made for Linux and macOS alone"),
]


def test_no_input_of_the_fuzzer_crashes_a_reader(tmp_path: Path) -> None:
    path = os.pathsep.join([str(COMFYUI), str(REPO)])
    done = subprocess.run(
        [sys.executable, "-m", "tools.fuzz_readers", "--folder", str(tmp_path), "-runs=3000", "-seed=1"],
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        cwd=REPO,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Done 3000 runs" in done.stderr
