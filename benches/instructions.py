"""`make instructions`: how many instructions of the extension module a dozen everyday calls take.

Times on a shared machine say little about one per cent; counts do. The calls run once under valgrind's callgrind, on
one thread and with AVX2, and only instructions of `_C.abi3.so` itself count, so that neither the interpreter's version
nor the machine's load matters. Between two calls the program asks the system for its parent process: callgrind writes
what it counted so far whenever it sees that function (`--dump-before`).

    python benches/instructions.py            count and write instructions.json beside this file
    python benches/instructions.py --check    count and compare: a rise of any count above 5 % fails
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parent / "instructions.json"
TOLERANCE = 0.05
REPEATS = 40
WARM = 12
"""Calls before those that count: first calls fill caches and choose algorithms."""

Call = Callable[[], object]
PATHS: dict[str, Callable[[Any], Call]] = {}


def path(name: str) -> Callable[[Callable[[Any], Call]], Callable[[Any], Call]]:
    """Registers a function that takes the module and returns the call to count."""

    def register(prepare: Callable[[Any], Call]) -> Callable[[Any], Call]:
        PATHS[name] = prepare
        return prepare

    return register


@path("add, 4 floats")
def add(torch: Any) -> Call:
    a, b = torch.randn(4), torch.randn(4)
    return lambda: a + b


@path("add with gradient, 4 floats")
def add_with_grad(torch: Any) -> Call:
    a, b = torch.randn(4, requires_grad=True), torch.randn(4)
    return lambda: a + b


@path("view")
def view(torch: Any) -> Call:
    x = torch.randn(4, 4)
    return lambda: x.view(2, 8)


@path("index")
def index(torch: Any) -> Call:
    x = torch.randn(4, 4)
    return lambda: x[1]


@path("zeros(4)")
def zeros(torch: Any) -> Call:
    return lambda: torch.zeros(4)


@path("sum().item(), 4 floats")
def sum_item(torch: Any) -> Call:
    x = torch.randn(4)
    return lambda: x.sum().item()


@path("Linear(4, 4)")
def linear(torch: Any) -> Call:
    layer, x = torch.nn.Linear(4, 4), torch.randn(1, 4)
    return lambda: layer(x)


@path("add, sum, backward")
def add_sum_backward(torch: Any) -> Call:
    a, b = torch.randn(4, requires_grad=True), torch.randn(4)

    def step() -> None:
        a.grad = None
        (a + b).sum().backward()

    return step


@path("Adam step, six 4x4")
def adam(torch: Any) -> Call:
    params = [torch.nn.Parameter(torch.randn(4, 4)) for _ in range(6)]
    for p in params:
        p.grad = torch.randn(4, 4)
    optimizer = torch.optim.Adam(params, lr=1e-3)
    return lambda: optimizer.step()


@path("softmax, 32x32")
def softmax(torch: Any) -> Call:
    x = torch.randn(32, 32)
    return lambda: torch.softmax(x, -1)


@path("matmul, 32x32x32")
def matmul(torch: Any) -> Call:
    a, b = torch.randn(32, 32), torch.randn(32, 32)
    return lambda: a @ b


def step_of(torch: Any, model: Any, x: Any) -> Call:
    """Forward, sum of squares, backward, SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        out = model(x)
        out = out[0] if isinstance(out, tuple) else out
        (out * out).sum().backward()
        optimizer.step()

    return step


@path("training step, Conv2d(2, 4, 3) on 8x8")
def conv(torch: Any) -> Call:
    return step_of(torch, torch.nn.Conv2d(2, 4, 3), torch.randn(2, 2, 8, 8))


@path("training step, LSTM(8, 8), 4 steps")
def lstm(torch: Any) -> Call:
    return step_of(torch, torch.nn.LSTM(8, 8), torch.randn(4, 2, 8))


@path("DataLoader, batch of 8 from a TensorDataset")
def loader(torch: Any) -> Call:
    data = torch.utils.data
    dataset = data.TensorDataset(torch.randn(4096, 4), torch.arange(4096))
    batches = iter(data.DataLoader(dataset, batch_size=8))
    return lambda: next(batches)


def run_paths() -> None:
    """What runs under callgrind."""
    import rustnn

    rustnn.manual_seed(0)
    for prepare in PATHS.values():
        call = prepare(rustnn)
        for _ in range(WARM):
            call()
        os.getppid()
        for _ in range(REPEATS):
            call()
        os.getppid()


def instructions_of_module(dump: Path) -> int:
    """The sum over the lines of one of callgrind's files that stand under the extension module's functions."""
    names: dict[str, str] = {}
    total, everywhere, inside, call_follows = 0, 0, False, False
    for line in dump.read_text(encoding="utf-8", errors="replace").splitlines():
        found = re.match(r"(ob|cob)=\((\d+)\)(?: (.*))?$", line)
        if found:
            kind, number, name = found.groups()
            if name:
                names[number] = name
            if kind == "ob":
                inside = "_C.abi3" in names.get(number, "")
        elif line.startswith("calls="):
            call_follows = True  # the next line is the cost of what was called
        elif line[:1].isdigit() or line[:1] in "+-*":
            costs = line.split()[1:]
            if not call_follows and costs:  # none: nothing was spent there
                everywhere += int(costs[0])
                total += int(costs[0]) if inside else 0
            call_follows = False
        elif line.startswith("totals:"):
            if int(line.split()[1]) != everywhere:
                raise SystemExit(f"{dump.name} was misread: {everywhere} instructions, {line}")
    return total


def count() -> dict[str, int]:
    """Instructions of one call of each path."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        environment = os.environ | {
            "RUSTNN_ISA": "avx2",
            "RUSTNN_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        }
        command = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        command += [sys.executable, __file__, "--run"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise SystemExit(f"valgrind failed:\n{done.stderr[-4000:]}")
        # callgrind.out.1 ends where the first path's warm-up does, .2 where its calls do, and so on.
        dumps = [Path(f"{out}.{i + 1}") for i in range(2 * len(PATHS))]
        absent = [d.name for d in dumps if not d.exists()]
        if absent:
            raise SystemExit(f"valgrind wrote no {absent[0]}: does its version know --dump-before?")
        return {name: round(instructions_of_module(dumps[2 * i + 1]) / REPEATS) for i, name in enumerate(PATHS)}


def version(*command: str) -> str:
    """What a tool says of itself; empty without it."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the record instead of writing it")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_paths()
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is missing: on Debian or Ubuntu 'apt-get install valgrind'")
    counts = count()
    tools = {"rustc": version("rustc", "--version"), "valgrind": version("valgrind", "--version")}
    old: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    before: dict[str, int] = old.get("instructions", {})
    print(f"{'':45} {'recorded':>10} {'now':>10}")
    risen = []
    for name, now in counts.items():
        was = before.get(name)
        change = f"{now / was - 1:+8.1%}" if was else "     new"
        print(f"{name:45} {was or '-':>10} {now:>10} {change}")
        if was and now > was * (1 + TOLERANCE):
            risen.append(name)
    if not args.check:
        record = {"command": "make instructions", "isa": "avx2", "threads": 1, **tools, "instructions": counts}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        print(f"written: {RECORD}")
        return
    for tool, now_version in tools.items():
        if now_version != old.get(tool):
            print(f"{tool}: recorded with {old.get(tool)!r}, now {now_version!r}")
    if risen or before.keys() != counts.keys():
        for name in risen:
            print(f"{name}: {before[name]} instructions before, {counts[name]} now, more than 5 % up", file=sys.stderr)
        if before.keys() != counts.keys():
            print("the record has other calls than the program", file=sys.stderr)
        hint = "find what grew, or record it with 'make instructions' and say why in the commit"
        raise SystemExit(hint)
    print("no count rose by more than 5 %")


if __name__ == "__main__":
    main()
