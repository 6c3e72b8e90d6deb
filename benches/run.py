"""`make bench`: rustnn and PyTorch on the same cases, alternating in one run, as a table and as JSON.

Each engine lives in a process of its own and sleeps while the other one is measured, so that neither's threads disturb
the other. Every case is timed in several rounds, the order of the engines changing from round to round; the figure is
the median over all rounds. Beside it stands what the machine allows: the case's arithmetic at the measured peak of
fused multiply-adds, or its bytes at the measured bandwidth, whichever takes longer.

    python benches/run.py [--only PATTERN] [--engines rustnn,torch] [--threads 2] [--seconds 0.3] [--rounds 5]
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import math
import os
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

from cases import CASES, Call, Case, load  # noqa: E402

RESULTS = HERE / "results"


# One engine's process.


def times_of(call: Call, seconds: float) -> list[float]:
    """Seconds per call, in batches long enough for the clock, for about that long."""
    begin = time.perf_counter()
    call()
    first = time.perf_counter() - begin
    batch = max(1, int(20e-6 / max(first, 1e-8)))
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - begin) / batch)
    return times


def serve(engine: str, threads: int) -> None:
    """Answers each line {"case", "seconds"} on standard input with the median of that round."""
    torch = importlib.import_module(engine)
    torch.set_num_threads(threads)
    load()
    ready: dict[str, Call] = {}
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        name = order["case"]
        try:
            if name not in ready:
                ready.clear()
                torch.manual_seed(0)
                ready[name] = CASES[name].prepare(torch)
                times_of(ready[name], order["seconds"] / 3)
            answer: dict[str, Any] = {"seconds": statistics.median(times_of(ready[name], order["seconds"]))}
        except Exception as error:  # what an engine lacks is a result too
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


class Engine:
    """A process that measures cases on one engine."""

    def __init__(self, name: str, threads: int) -> None:
        environment = os.environ | {"RUSTNN_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--serve", name, "--threads", str(threads)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.version = self.answer()["version"]

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.name} ended")
        result: dict[str, Any] = json.loads(line)
        return result

    def measure(self, case: str, seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"case": case, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        return self.answer()


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


def bound(case: Case, limit: dict[str, float]) -> float | None:
    """Seconds that the case takes at least on this machine."""
    if not limit or (case.flops is None and case.bytes is None):
        return None
    return max((case.flops or 0) / limit["flops"], (case.bytes or 0) / limit["bytes"])


# The table.


def human(seconds: float | None) -> str:
    """A time with a unit, three digits."""
    if seconds is None:
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def table(rows: list[dict[str, Any]], engines: list[str]) -> str:
    """Markdown, one section per group."""
    ours, peers = engines[0], engines[1:]
    lines = []
    for group in dict.fromkeys(row["group"] for row in rows):
        head = ["case", *engines, *[f"{p} / {ours}" for p in peers], "limit", "share of limit"]
        lines += ["", f"### {group}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        ratios: dict[str, list[float]] = {p: [] for p in peers}
        for row in (r for r in rows if r["group"] == group):
            mine = row["times"].get(ours)
            cells = [row["case"], *(human(row["times"].get(e)) for e in engines)]
            for p in peers:
                theirs = row["times"].get(p)
                if mine and theirs:
                    ratios[p].append(theirs / mine)
                    cells.append(f"{theirs / mine:.2f}×")
                else:
                    cells.append("–")
            cells += [human(row["limit"]), f"{row['limit'] / mine:.0%}" if row["limit"] and mine else "–"]
            lines.append("| " + " | ".join(cells) + " |")
        for p, values in ratios.items():
            if values:
                mean, least = geometric_mean(values), min(values)
                lines.append(f"\n{p} / {ours}: geometric mean {mean:.2f}×, least {least:.2f}×")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--engines", default="rustnn,torch", help="the first one is compared with the others")
    parser.add_argument("--only", default="", help="regular expression on 'group: case'")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="time per case, engine and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads)
        return
    load()
    chosen = [c for c in CASES.values() if re.search(args.only, f"{c.group}: {c.name}")]
    if args.list:
        print("\n".join(f"{c.group}: {c.name}" for c in chosen))
        return

    names = args.engines.split(",")
    missing = [n for n in names if importlib.util.find_spec(n) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    names = [n for n in names if n not in missing]
    if not names:
        raise SystemExit("no engine to measure")
    limit = limits(args.threads)
    engines = [Engine(n, args.threads) for n in names]
    rows = []
    for number, case in enumerate(chosen):
        print(f"\r\033[K[{number + 1}/{len(chosen)}] {case.group}: {case.name}", end="", file=sys.stderr, flush=True)
        rounds: dict[str, list[float]] = {n: [] for n in names}
        errors: dict[str, str] = {}
        for r in range(args.rounds):
            for engine in engines if r % 2 == 0 else engines[::-1]:
                if engine.name not in errors:
                    answer = engine.measure(case.name, args.seconds)
                    if "error" in answer:
                        errors[engine.name] = answer["error"]
                    else:
                        rounds[engine.name].append(answer["seconds"])
        times = {n: statistics.median(t) for n, t in rounds.items() if t}
        row = {"group": case.group, "case": case.name, "times": times, "rounds": rounds, "errors": errors}
        rows.append(row | {"limit": bound(case, limit)})
    print("\r\033[K", end="", file=sys.stderr)

    prints = {n: footprint(n) for n in names} if not args.only else {}
    wheels = sorted((HERE.parent / "wheels").glob("*.whl"))
    versions = ", ".join(f"{e.name} {e.version}" for e in engines)
    lines = [
        f"Measured {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by `make bench`: {versions},"
        f" Python {platform.python_version()}, {args.threads} threads, {cpu()}.",
        "Medians; the engines alternate within one run. Other loads on the machine move times, less so ratios.",
    ]
    if limit:
        flops, bandwidth = limit["flops"] / 1e9, limit["bytes"] / 1e9
        lines.append(f"Limits: {flops:.0f} GFLOP/s (fused multiply-add), {bandwidth:.1f} GB/s.")
    if prints:
        lines += ["", "### footprint", "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for what in next(iter(prints.values())):
            lines.append(f"| {what} | " + " | ".join(f"{prints[n].get(what, math.nan):.1f}" for n in names) + " |")
        if wheels:
            lines.append(f"\nWheel: {wheels[-1].name}, {wheels[-1].stat().st_size / 1e6:.2f} MB.")
    text = "\n".join(lines) + "\n" + table(rows, names) + "\n"
    for row in rows:
        for name, error in row["errors"].items():
            text += f"\n{name} failed on {row['case']}: {error}"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text(text)
    data = {"versions": versions, "limits": limit, "footprint": prints, "rows": rows}
    (RESULTS / "latest.json").write_text(json.dumps(data, indent=1))
    print(f"\nwritten: {RESULTS / 'latest.md'}, {RESULTS / 'latest.json'}")


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
