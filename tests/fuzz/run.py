"""Random calls of one kind, in a process of its own: `python tests/fuzz/run.py KIND SEED CALLS [SLOW]`.

Any Python exception is fine; a crash, a hang, a panic or a wrong value is not. The calls follow from the seed alone:
each is drawn by a generator of its own, and their number, not the time, says when it is over. Each call is written to
the log file given by RUSTNN_FUZZ_LOG before it is made, so that the last line names the one that ended the process.
Calls that take more than SLOW seconds are printed.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

KINDS = ("calls", "empties", "arrays", "graphs", "modules", "files", "threads")


# Seconds after which a call is taken to hang.
HANGS = 60


class Wrong(Exception):
    """A call gave a value that the reference does not have."""


def text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ raises
        return ""


def main(kind: str, seed: int, calls: int, slow: float) -> None:
    import rustnn

    warnings.simplefilter("ignore")
    # Native code can't be interrupted, so a call that hangs ends the process and stands in the log: the signal shows
    # where it is, then does what it does when nobody handles it. What would take gigabytes is a MemoryError.
    faulthandler.register(signal.SIGALRM, chain=True)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    maker = importlib.import_module(f"fuzz.{kind}").Kind()
    log_path = os.environ.get("RUSTNN_FUZZ_LOG")
    log = open(log_path, "w", encoding="utf-8", errors="replace") if log_path else None  # noqa: SIM115
    raised = 0
    for n in range(calls):
        rng = random.Random(f"{kind} {seed} {n}")
        rustnn.manual_seed(n)
        signal.alarm(HANGS)
        shown, start = f"call {n}: its arguments", time.monotonic()
        try:
            shown, call = maker.prepare(rng)
            if log is not None:
                log.seek(0)
                log.truncate()
                log.write(f"{n}: {shown}")
                log.flush()
            start = time.monotonic()
            call()
        except (KeyboardInterrupt, SystemExit):
            raise
        except Wrong as error:
            raise SystemExit(f"WRONG in call {n}: {shown}: {error}") from error
        except BaseException as error:
            raised += 1
            if "panic" in type(error).__name__.lower() or "internal error" in text(error):
                raise SystemExit(f"PANIC in call {n}: {shown}: {text(error)}") from error
        taken = time.monotonic() - start
        if taken > slow:
            print(f"SLOW: {taken:.1f} s in call {n}: {shown}")
        rustnn.set_grad_enabled(True)
    signal.alarm(0)
    print(f"{calls} calls, {raised} raised")


if __name__ == "__main__":
    # `fuzz.run` and `__main__` would be two modules with two classes `Wrong`.
    sys.modules["fuzz.run"] = sys.modules["__main__"]
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 1e9)
