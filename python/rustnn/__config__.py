"""`torch.__config__`: how this build was made."""

from __future__ import annotations

__all__ = ["parallel_info", "show"]


def show() -> str:
    """A text about the build."""
    from rustnn import _C

    return f"rustnn built with:\n  - version {_C.__version__}\n  - own kernels in Rust, without MKL, oneDNN and CUDA\n"


def parallel_info() -> str:
    """A text about the threads."""
    from rustnn import _C

    return f"rustnn parallel info:\n\tnumber of threads : {_C.get_num_threads()}\n"
