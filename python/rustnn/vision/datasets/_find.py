"""Finding datasets: where files may lie, and fetching them with their checksums."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..._files import atomic_write

# Seconds a silent server may take.
_TIMEOUT = 15

# Mirrors that could not be reached in this process, with the reason: not asked again for every file.
_unreachable: dict[str, str] = {}


def say(text: str) -> None:
    """A message about where data come from; on the error stream, since a program's output is its own."""
    print(f"rustnn: {text}", file=sys.stderr, flush=True)


def shared_folder() -> Path | None:
    """The folder of ``RUSTNN_DATA``, if it is set."""
    value = os.environ.get("RUSTNN_DATA")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """The user's cache: ``RUSTNN_CACHE``, or ``rustnn`` in the system's cache folder."""
    value = os.environ.get("RUSTNN_CACHE")
    if value:
        return Path(value).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rustnn"
    base = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rustnn"


def places(root: Path) -> Iterator[tuple[Path, str]]:
    """The folders to look in, in order, with what to call them."""
    yield root, str(root)
    shared = shared_folder()
    if shared is not None:
        yield shared, f"RUSTNN_DATA ({shared})"
    yield cache_folder(), f"the cache ({cache_folder()})"


def checksum(path: Path, kind: str = "md5") -> str:
    """A file's checksum in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


class DownloadError(RuntimeError):
    """No mirror gave the file; the message has each one's reason."""


def download(name: str, mirrors: Sequence[str], folder: Path, md5: str) -> Path:
    """Fetches ``name`` from the first mirror that has it unharmed; a file that is there already is checked.

    Raises:
        DownloadError: none did.
    """
    target = folder / name
    if target.is_file() and checksum(target) == md5:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for mirror in mirrors:
        url = mirror + name
        if mirror in _unreachable:
            reasons.append(f"{url}: {_unreachable[mirror]}")
            continue
        try:
            say(f"downloading {url}")
            _fetch(url, target, md5)
            return target
        except (OSError, ValueError, urllib.error.URLError) as error:
            reasons.append(f"{url}: {error}")
            if isinstance(error, OSError) and not isinstance(error, urllib.error.HTTPError):
                _unreachable[mirror] = str(error)
    raise DownloadError(f"Could not download {name}:\n  " + "\n  ".join(reasons))


def _fetch(url: str, target: Path, md5: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "rustnn"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, atomic_write(target) as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != md5:
            raise ValueError(f"wrong checksum: md5 {digest.hexdigest()} instead of {md5}")


def unpack_gzip(path: Path) -> Path:
    """Writes the content of ``x.gz`` beside it as ``x``."""
    target = path.with_suffix("")
    with gzip.open(path, "rb") as source, atomic_write(target) as file:
        shutil.copyfileobj(source, file)
    return target


def unpack_tar(path: Path, folder: Path) -> None:
    """Unpacks an archive; entries that would leave the folder are refused."""
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


def pip_wheel(requirement: str) -> Path | None:
    """A package's wheel, fetched by pip into the cache without installing it; None if that fails."""
    import subprocess

    folder = cache_folder() / "wheels"
    name = requirement.split("==")[0]
    found = sorted(folder.glob(f"{name}-*.whl"))
    if found:
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-d",
            scratch,
            requirement,
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        except (OSError, subprocess.SubprocessError):
            return None
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            return None
        target = folder / wheels[0].name
        os.replace(wheels[0], target)
        return target
