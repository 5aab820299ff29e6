"""What is made of, and checked about, the contract in ``proto/``.

``python tools/protos.py imports``   put the protos that ours import beside them
``python tools/protos.py generate``  write the stubs into ``clients/python``
``python tools/protos.py drift``     fail unless the committed stubs are those
``python tools/protos.py breaking``  compare with the last release, if there is one

Nothing here needs a network: Buf, the plugins and ``google/rpc`` all come from
``requirements/dev.lock``.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = Path(".venv/protos")
STUBS = Path("clients/python")
PACKAGE = Path("onward/v1")


def imports() -> int:
    """Copies ``google/rpc`` from googleapis-common-protos to where buf.yaml looks."""
    target = ROOT / IMPORTS / "google/rpc"
    target.mkdir(parents=True, exist_ok=True)
    for source in files("google.rpc").iterdir():
        if source.name.endswith(".proto"):
            (target / source.name).write_bytes(source.read_bytes())
    return 0


def generate() -> int:
    """Replaces the stubs, so that a deleted proto leaves nothing behind."""
    with TemporaryDirectory() as folder:
        fresh = _generated(Path(folder))
        for name in _stubs(ROOT / STUBS) - _stubs(fresh):
            (ROOT / STUBS / name).unlink()
        shutil.copytree(fresh, ROOT / STUBS, dirs_exist_ok=True)
    return 0


def drift() -> int:
    """Names every stub that is not what the protos generate."""
    with TemporaryDirectory() as folder:
        fresh = _generated(Path(folder))
        names = sorted(_stubs(fresh) | _stubs(ROOT / STUBS))
        same, _, _ = filecmp.cmpfiles(fresh, ROOT / STUBS, names, shallow=False)
    stale = [name for name in names if name not in same]
    for name in stale:
        print(f"{STUBS / name} is not what proto/ generates: run `make proto`")
    return 1 if stale else 0


def breaking() -> int:
    """Asks Buf whether a client of the last release would still work."""
    tag, *_ = _git("tag", "--list", "v*", "--sort=-v:refname").decode().split() or [""]
    if not tag:
        print("buf breaking: there is no release (no tag v*) to compare with yet")
        return 0
    with TemporaryDirectory() as folder:
        archive = _git("archive", tag, "buf.yaml", "proto")
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        shutil.copytree(ROOT / IMPORTS, Path(folder, IMPORTS))
        print(f"buf breaking: comparing with {tag}")
        return _buf("breaking", "--against", folder).returncode


def _generated(folder: Path) -> Path:
    """Generates below ``folder``; where the package ``onward`` is there.

    gRPC's generators write a module for every proto. One without a service in it holds
    nothing, and importing it would load grpc for that: it is left out.
    """
    if _buf("generate", "--output", str(folder)).returncode:
        sys.exit(1)
    fresh = folder / STUBS
    for module in (fresh / PACKAGE).glob("*_pb2_grpc.py"):
        if "Servicer" not in module.read_text(encoding="utf-8"):
            module.unlink()
            module.with_suffix(".pyi").unlink()
    return fresh


def _stubs(root: Path) -> set[str]:
    """The paths below ``root`` of the generated modules there."""
    found = (root / PACKAGE).glob("*_pb2*.py*")
    return {path.relative_to(root).as_posix() for path in found}


def _buf(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs Buf, which finds its plugins beside the interpreter that runs this."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(["buf", *arguments], cwd=ROOT, env=environment, check=False)


def _git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True
    ).stdout


COMMANDS: dict[str, Callable[[], int]] = {
    command.__name__: command for command in (imports, generate, drift, breaking)
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case [name] if name in COMMANDS:
            sys.exit(COMMANDS[name]())
        case _:
            sys.exit(f"usage: tools/protos.py {'|'.join(COMMANDS)}")
