"""`torch.hub`: models are not fetched and run from repositories."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlparse as urlparse

__all__ = ["HASH_REGEX", "download_url_to_file", "get_dir", "load", "load_state_dict_from_url", "set_dir"]

# The beginning of a checksum in a file's name, as in resnet18-bfd8deac.pth.
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
READ_DATA_CHUNK = 1 << 20

_directory: dict[str, str] = {}


def get_dir() -> str:
    """Where downloads are kept: `TORCH_HOME`/hub, else the user's cache."""
    if "dir" in _directory:
        return _directory["dir"]
    home = os.environ.get("TORCH_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "rustnn"
    )
    return os.path.join(home, "hub")


def set_dir(d: str) -> None:
    _directory["dir"] = os.path.expanduser(d)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetches a file; with `hash_prefix`, checks that its SHA-256 begins so. The file appears whole or not at all."""
    import hashlib
    import tempfile
    import urllib.request

    digest = hashlib.sha256()
    folder = os.path.dirname(os.path.abspath(dst))
    os.makedirs(folder, exist_ok=True)
    with (
        urllib.request.urlopen(url) as source,
        tempfile.NamedTemporaryFile(dir=folder, delete=False) as target,
    ):
        try:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
            target.close()
            if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(
                    f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")'
                )
            os.replace(target.name, dst)
        except BaseException:
            os.unlink(target.name)
            raise


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = False,
) -> Any:
    """Weights from the network (kept on disk), loaded without running code from the file."""
    import rustnn

    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    name = file_name or os.path.basename(url.split("?", 1)[0])
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        found = re.search(r"-([a-f0-9]{8,})\.", name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return rustnn.load(path, map_location=map_location)


def load(repo_or_dir: str, model: str, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(
        "torch.hub.load runs a repository's own code, which is written against PyTorch's internals.\n"
        "  Build the model from rustnn.nn or rustnn.vision.models and load its state_dict."
    )
