"""What the examples share: arguments, a progress bar, checkpoints that resume bit for bit, figures, text data."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import rustnn as torch

SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


def arguments(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with the arguments every example has; `defaults` sets epochs, batch_size, lr and so on."""
    parser = argparse.ArgumentParser(
        description=(description or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    name = Path(sys.argv[0]).stem
    parser.add_argument("--epochs", type=int, default=defaults.get("epochs", 10), help="passes over the data")
    parser.add_argument(
        "--batch-size", type=int, default=defaults.get("batch_size", 100), help="examples in a step"
    )
    parser.add_argument("--lr", type=float, default=defaults.get("lr", 0.01), help="learning rate")
    parser.add_argument(
        "--data", default=os.environ.get("RUSTNN_DATA", "./data"), help="folder with the data sets"
    )
    parser.add_argument("--out", default=f"runs/{name}", help="folder for checkpoint and figure")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser


def progress(items: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
    """The items, with a progress bar if a terminal watches."""
    count = total if total is not None else len(items)  # type: ignore[arg-type]
    try:
        from tqdm import tqdm
    except ImportError:
        yield from _own_bar(items, label, count)
        return
    yield from tqdm(items, desc=label, total=count, leave=False, disable=not sys.stderr.isatty())


def _own_bar(items: Iterable[Any], label: str, count: int) -> Iterator[Any]:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and (now - last > 0.1 or done == count):
            last = now
            filled = 30 * done // max(count, 1)
            left = (now - start) / done * (count - done)
            print(
                f"\r{label} [{'#' * filled}{'.' * (30 - filled)}] {done}/{count}, {left:.0f} s left ",
                end="" if done < count else "\r" + " " * 79 + "\r",
                file=sys.stderr,
            )


def write_whole(path: Path, write: Callable[[str], Any]) -> None:
    """Calls `write` with a temporary name beside `path`, then renames: the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    os.close(handle)
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def save_weights(model: Any, path: Path) -> None:
    """The model's weights as safetensors, which any framework reads."""
    from safetensors.numpy import save_file

    arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in model.state_dict().items()}
    write_whole(path, lambda name: save_file(arrays, name))


def load_weights(model: Any, path: Path) -> None:
    """Weights from a safetensors file into the model; every name has to fit."""
    from safetensors.numpy import load_file

    arrays = load_file(str(path))
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def save_checkpoint(path: Path, epoch: int, history: Any, *parts: Any) -> None:
    """All that the next epoch depends on: the parts' states, random numbers and history."""
    state = {
        "epoch": epoch,
        "history": history,
        "random": torch.get_rng_state(),
        "parts": [part.state_dict() for part in parts],
    }
    write_whole(path, lambda name: torch.save(state, name))


def load_checkpoint(path: Path, *parts: Any) -> tuple[int, Any]:
    """Puts the parts and the random numbers back; (the next epoch, the history)."""
    state = torch.load(path)
    for part, saved in zip(parts, state["parts"], strict=True):
        part.load_state_dict(saved)
    torch.set_rng_state(state["random"])
    return state["epoch"], state["history"]


def start(args: argparse.Namespace, history: Any, *parts: Any) -> tuple[int, Any]:
    """(first epoch, history): from the checkpoint with `--resume`, from nothing otherwise."""
    path = Path(args.out) / "checkpoint.pt"
    if args.resume:
        if not path.exists():
            sys.exit(f"--resume: there is no checkpoint {path}; run without --resume first")
        epoch, history = load_checkpoint(path, *parts)
        print(f"resuming after epoch {epoch} from {path}")
        return epoch, history
    return 0, history


def curves(history: dict[str, list[float]], path: Path, left: list[str], right: list[str]) -> Any:
    """A figure of the history's series: `left` (losses) and `right` (accuracies) side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [group for group in (left, right) if group]
    figure, axes = plt.subplots(1, len(groups), figsize=(5 * len(groups), 3.5), squeeze=False)
    for axis, group in zip(axes[0], groups, strict=True):
        for name in group:
            axis.plot(range(1, len(history[name]) + 1), history[name], marker="o", markersize=3, label=name)
        axis.set_xlabel("epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure and closes it."""
    import matplotlib.pyplot as plt

    figure.tight_layout()
    write_whole(path, lambda name: figure.savefig(name, dpi=120))
    plt.close(figure)


def said(dataset: Any, folder: str) -> str:
    """Where a data set came from, as it says itself."""
    return str(getattr(dataset, "source", None) or folder)


def shakespeare(folder: str) -> str:
    """Tiny Shakespeare's 1.1 million characters: from the folder, else from the network (kept there)."""
    places = [Path(folder) / "tinyshakespeare" / "input.txt", Path(folder) / "input.txt"]
    for place in places:
        if place.exists():
            print(f"data: {place}")
            return place.read_text(encoding="utf-8")
    print(f"data: {SHAKESPEARE} (kept as {places[0]})")
    try:
        with urllib.request.urlopen(SHAKESPEARE, timeout=30) as reply:
            text = reply.read()
    except OSError as error:
        sys.exit(
            f"no {places[0]}, and it could not be fetched ({error}): put the text there, or set RUSTNN_DATA"
        )
    write_whole(places[0], lambda name: Path(name).write_bytes(text))
    return str(text, "utf-8")


def accuracy(model: Any, loader: Iterable[Any]) -> float:
    """The share of correct predictions, in per cent."""
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in loader:
            right += (model(images).argmax(1) == labels).sum().item()
            total += len(labels)
    model.train()
    return 100.0 * right / max(total, 1)
