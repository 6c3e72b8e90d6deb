"""Peak memory of the networks' training steps and inferences, rustnn beside PyTorch (Linux).

    python benches/memory.py [--only PATTERN] [--engines rustnn,torch] [--threads 2] [--calls 3]

Each case runs in a fresh process per engine. The figure is the highest resident memory while the network is made and
called, less what was resident before: after the import, and after one step of an optimizer, since engines import parts
of themselves only then.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import CASES, load  # noqa: E402


def resident(what: str) -> float:
    """`VmRSS` or `VmHWM` (the highest so far) of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        sys.exit("this system does not tell a process's resident memory in /proc/self/status")
    return int(found[1]) / 1024


def one(engine: str, key: str, threads: int, calls: int) -> None:
    """Prints the peak of one case, in MB."""
    torch = importlib.import_module(engine)
    torch.set_num_threads(threads)
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    call = CASES[key].prepare(torch)
    for _ in range(calls):
        call()
    print(resident("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="^(training|inference)", help="regular expression for 'group: case'")
    parser.add_argument("--engines", default="rustnn,torch", help="modules; the first one is compared with the others")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    load()
    if args.case:
        one(args.engines, args.case, args.threads, args.calls)
        return
    names = args.engines.split(",")
    print(
        "| case | " + " | ".join(f"{n}, MB" for n in names) + " |" + "".join(f" {n} / {names[0]} |" for n in names[1:])
    )
    print("|---" * (2 * len(names)) + "|")
    for key, case in CASES.items():
        if not re.search(args.only, f"{case.group}: {case.name}"):
            continue
        peaks: dict[str, float] = {}
        for name in names:
            command = [sys.executable, __file__, "--engines", name, "--case", key]
            command += ["--threads", str(args.threads), "--calls", str(args.calls)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                peaks[name] = float(done.stdout)
            else:
                print(f"{name} failed on {case.name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        row = [f"{peaks[n]:.0f}" if n in peaks else "–" for n in names]
        row += [f"{peaks[n] / peaks[names[0]]:.2f}×" if {n, names[0]} <= peaks.keys() else "–" for n in names[1:]]
        print(f"| {case.name} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
