"""`make bench`: rustnn and PyTorch on the same cases, alternating in one run, as a table and as JSON.

Each engine lives in a process of its own and sleeps while the other one is measured, so that neither's threads disturb
the other. Every case is timed in several rounds, the order of the engines changing from round to round; the figure is
the median over all rounds. Beside it stands what the machine allows: the case's arithmetic at the measured peak of
fused multiply-adds, or its bytes at the measured bandwidth, whichever takes longer.

    python benches/run.py [--only PATTERN] [--engines rustnn,torch] [--threads 2] [--seconds 0.3] [--rounds 5]

More engines: torch-compile and onnxruntime (see engines.py). They are not measured unless asked for, since compiling
takes longer than measuring.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import CASES, load  # noqa: E402
from engines import Engine, missing, serve  # noqa: E402
from report import figure, table  # noqa: E402

RESULTS = HERE / "results"


# What is not a call: sizes, the import, memory.


def in_fresh_process(code: str) -> float:
    """The number that a new interpreter prints."""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def footprint(engine: str) -> dict[str, float]:
    """Import time beyond numpy's (ms), resident memory after the import (MB), size on disk (MB)."""
    clock = f"import numpy, time; t = time.perf_counter(); import {engine}; print(time.perf_counter() - t)"
    memory = f"import {engine}; print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    disk = (
        "import importlib.metadata as m; "
        f"print(sum(f.locate().stat().st_size for f in m.files('{engine}') or [] if f.locate().is_file()))"
    )
    in_fresh_process(clock)
    result = {"import beyond numpy, ms": 1e3 * statistics.median(in_fresh_process(clock) for _ in range(7))}
    if Path("/proc/self/status").exists():
        result["memory after import, MB"] = in_fresh_process(memory) / 1024
    result["installed size, MB"] = in_fresh_process(disk) / 1e6
    return result


def limits(threads: int) -> dict[str, float]:
    """Measured peak (FLOP/s) and bandwidth (bytes/s) of this machine; empty without a Rust toolchain."""
    command = ["cargo", "run", "--release", "-q", "-p", "rustnn-benches", "--bin", "limits", "--", str(threads)]
    try:
        output = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the machine's limits could not be measured: {error}", file=sys.stderr)
        return {}
    result: dict[str, float] = json.loads(output)
    return result


def bound(work: dict[str, float], limit: dict[str, float]) -> float | None:
    """Seconds that so much work takes at least on this machine."""
    if not limit or not work:
        return None
    return max(amount / limit[kind] for kind, amount in work.items())


def measure(engines: list[Engine], case: str, seconds: float, rounds: int, budget: float) -> dict[str, Any]:
    """Times of one case on all engines, in turns whose order changes; a case that has used its budget ends early."""
    times: dict[str, list[float]] = {e.name: [] for e in engines}
    errors: dict[str, str] = {}
    work: dict[str, float] = {}
    begin = time.perf_counter()
    for number in range(rounds):
        for engine in engines if number % 2 == 0 else engines[::-1]:
            if engine.name in errors:
                continue
            answer = engine.measure(case, seconds)
            if "error" in answer:
                errors[engine.name] = answer["error"]
            else:
                times[engine.name].append(answer["seconds"])
                work = work or {key: answer[key] for key in ("flops", "bytes") if key in answer}
        if number >= 1 and time.perf_counter() - begin > budget:
            break
    medians = {n: statistics.median(t) for n, t in times.items() if t}
    return {"times": medians, "rounds": times, "errors": errors, "work": work}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--engines", default="rustnn,torch", help="the first one is compared with the others")
    parser.add_argument("--only", default="", help="regular expression on 'group: case'")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="time per case, engine and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds per case after which no new round begins")
    parser.add_argument("--cpu-time", action="store_true", help="for busy machines, with --threads 1: count CPU time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table, the figure and the JSON")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads, args.cpu_time)
        return
    load()
    chosen = [c for c in CASES.values() if re.search(args.only, f"{c.group}: {c.name}")]
    if args.list:
        print("\n".join(f"{c.group}: {c.name}" for c in chosen))
        return

    names = []
    for name in args.engines.split(","):
        reason = missing(name)
        if reason is None:
            names.append(name)
        else:
            print(f"{name} is left out, {reason}", file=sys.stderr)
    if not names:
        raise SystemExit("no engine to measure")
    limit = limits(args.threads)
    engines = [Engine(n, args.threads, args.cpu_time) for n in names]
    rows = []
    for number, case in enumerate(chosen):
        print(f"\r\033[K[{number + 1}/{len(chosen)}] {case.group}: {case.name}", end="", file=sys.stderr, flush=True)
        row = measure(engines, case.name, args.seconds, args.rounds, args.budget)
        rows.append({"group": case.group, "case": case.name, **row, "limit": bound(row["work"], limit)})
    print("\r\033[K", end="", file=sys.stderr)
    for engine in engines:
        engine.stop()

    prints = {n: footprint(n) for n in names if n in ("rustnn", "torch")} if not args.only else {}
    wheels = sorted((HERE.parent / "wheels").glob("*.whl"))
    versions = ", ".join(f"{e.name} {e.version}" for e in engines)
    lines = [
        f"Measured {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by `make bench`: {versions},"
        f" Python {platform.python_version()}, {args.threads} threads, {cpu()}{', CPU time' if args.cpu_time else ''}.",
        "Medians; the engines alternate within one run. Other loads on the machine move times, less so ratios.",
    ]
    if limit:
        flops, bandwidth = limit["flops"] / 1e9, limit["bytes"] / 1e9
        lines.append(f"Limits: {flops:.0f} GFLOP/s (fused multiply-add), {bandwidth:.1f} GB/s.")
    if prints:
        lines += ["", "### footprint", "", "| | " + " | ".join(prints) + " |", "|---" * (len(prints) + 1) + "|"]
        for what in next(iter(prints.values())):
            lines.append(f"| {what} | " + " | ".join(f"{prints[n].get(what, math.nan):.1f}" for n in prints) + " |")
        if wheels:
            lines.append(f"\nWheel: {wheels[-1].name}, {wheels[-1].stat().st_size / 1e6:.2f} MB.")
    text = "\n".join(lines) + "\n" + table(rows, names) + "\n"
    for row in rows:
        for name, error in row["errors"].items():
            text += f"\n{name} failed on {row['case']}: {error}"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "latest.md").write_text(text)
    data = {"versions": versions, "limits": limit, "footprint": prints, "rows": rows}
    (args.out / "latest.json").write_text(json.dumps(data, indent=1))
    drawn = figure(rows, names, args.out / "latest.png")
    written = ["latest.md", "latest.json", *(["latest.png"] if drawn else [])]
    print(f"\nwritten: {', '.join(str(args.out / name) for name in written)}")


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
