"""What a program reads when it asks for a PyTorch name that is not here: which name, and what to do instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_INSTEAD = {
    "sparse_coo_tensor": "tensors are dense: build the dense tensor, or gather and scatter by index",
    "sparse_csr_tensor": "tensors are dense: build the dense tensor, or gather and scatter by index",
    "quantization": "networks run in float32, bfloat16 or float16",
    "ao": "networks run in float32, bfloat16 or float16",
    "complex": "there are no complex dtypes: keep real and imaginary parts in two tensors",
    "view_as_complex": "there are no complex dtypes: rotate pairs with sine and cosine on real tensors",
    "view_as_real": "there are no complex dtypes: keep real and imaginary parts in two tensors",
    "polar": "there are no complex dtypes: use abs * cos(angle) and abs * sin(angle)",
    "fft": "use numpy.fft on tensor.numpy() outside the graph",
    "stft": "frame the signal with tensor.unfold and multiply by a matrix of sines and cosines",
    "distributed": "train in one process: all cores are used already; gradients of several processes can be "
    "averaged with mpi4py on tensor.numpy()",
    "export": "programs run eagerly; there is no graph of Python code to export",
    "sparse": "tensors are dense",
}


def explain(module: str, name: str, known: Iterable[str]) -> str:
    """The text of the AttributeError for `module.name`."""
    lines = [
        f"module {module!r} has no attribute {name!r}: rustnn does not have PyTorch's "  # noqa: ISC004
        f"{module.replace('rustnn', 'torch', 1)}.{name}."
    ]
    if name in _INSTEAD:
        lines.append(f"  Instead: {_INSTEAD[name]}.")
    close = difflib.get_close_matches(name, [k for k in known if not k.startswith("_")], n=3, cutoff=0.75)
    if close:
        lines.append(f"  Similar names that exist: {', '.join(close)}.")
    if len(lines) == 1:
        lines.append(
            "  Write it with the operations that exist (dir(rustnn) lists them), or compute it in NumPy on "
            "tensor.numpy() and come back with rustnn.from_numpy."
        )
    return "\n".join(lines)
