"""Matrix products of many shapes, rustnn beside PyTorch (whose products are MKL's), alternating in one process.

    python benches/sweep.py [--count 300] [--seed 0] [--threads 1] [--seconds 0.15] [--out FOLDER]

Shapes are drawn from sizes that networks have and their neighbours, plain and with one operand transposed. Prints the
shapes that take longest beside PyTorch and writes all times to `sweep.json`, ratios over the size of a product to
`sweep.png`. With more than one thread PyTorch's workers go to sleep at once, as they spin where others would work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from report import geometric_mean

SIZES = """1 2 3 4 5 7 8 12 16 17 24 31 32 33 48 49 63 64 65 96 100 127 128 129 192 196 200 256 257 300 384 400 511 512
513 640 768 784 1000 1024 1025 1500 1536 2048 2049 3000 3072 4096"""
LEAST, MOST = 2e4, 6e9
"""Operations of a product."""

Shape = tuple[int, int, int, str]


def shapes(count: int, seed: int) -> list[Shape]:
    """Rows, columns, steps, and which operands are transposed: `nn`, `nt` or `tn`."""
    draw = random.Random(seed)
    sizes = [int(s) for s in SIZES.split()]
    found: list[Shape] = []
    while len(found) < count:
        m, n, k = (draw.choice(sizes) for _ in range(3))
        if LEAST <= 2 * m * n * k <= MOST:
            found.append((m, n, k, draw.choice(["nn", "nt", "tn"])))
    return found


def times(engines: list[Any], shape: Shape, seconds: float) -> list[list[float]]:
    """Seconds per product of each engine, as they took turns."""
    m, n, k, order = shape
    operands = []
    for engine in engines:
        a = engine.randn(m, k) if order[0] == "n" else engine.randn(k, m).t()
        b = engine.randn(k, n) if order[1] == "n" else engine.randn(n, k).t()
        operands.append((engine.matmul, a, b))
    batch = max(1, int(2e-4 / (2 * m * n * k / 8e10 + 2e-6)))
    taken: list[list[float]] = [[] for _ in engines]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < 5:
        for mine, (matmul, a, b) in zip(taken, operands, strict=True):
            begin = time.perf_counter()
            for _ in range(batch):
                matmul(a, b)
            mine.append((time.perf_counter() - begin) / batch)
    return taken


def figure(rows: list[dict[str, Any]], path: Path) -> bool:
    """Ratios over operations; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, ax = pyplot.subplots(figsize=(8, 3.6))
    for order in ("nn", "nt", "tn"):
        some = [r for r in rows if r["order"] == order]
        work = [2 * r["m"] * r["n"] * r["k"] for r in some]
        ax.scatter(work, [r["ratio"] for r in some], s=10, label={"nn": "A B", "nt": "A Bᵀ", "tn": "Aᵀ B"}[order])
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}×")
    ax.set_xlabel("operations of the product")
    ax.set_ylabel("PyTorch's time over rustnn's")
    ax.legend()
    fig.savefig(path, dpi=80, bbox_inches="tight")
    pyplot.close(fig)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each shape")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    if args.threads > 1:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import rustnn
        import torch
    except ImportError as error:
        sys.exit(f"{error}: both engines are in the environment that 'make peers' makes")
    engines: list[Any] = [rustnn, torch]
    for engine in engines:
        engine.manual_seed(args.seed)
        engine.set_num_threads(args.threads)
        engine.set_grad_enabled(False)
    rows = []
    for m, n, k, order in shapes(args.count, args.seed):
        ours, theirs = map(min, times(engines, (m, n, k, order), args.seconds))
        rows.append(
            {"m": m, "n": n, "k": k, "order": order, "rustnn": ours, "torch": theirs, "ratio": theirs / ours}
        )
    rows.sort(key=lambda r: r["ratio"])
    ratios = [r["ratio"] for r in rows]
    print(f"least times of {len(rows)} shapes, {args.threads} threads: PyTorch / rustnn {geometric_mean(ratios):.2f}")
    print(f"slower than PyTorch: {sum(r < 1 for r in ratios)}, by more than a tenth: {sum(r < 0.9 for r in ratios)}")
    for r in rows[:20]:
        work = 2e-9 * r["m"] * r["n"] * r["k"]
        shape = f"{r['m']}x{r['n']}x{r['k']} {r['order']}"
        print(f"{shape:>20}: {r['ratio']:.2f} ({work / r['rustnn']:.1f} and {work / r['torch']:.1f} GFLOP/s)")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "sweep.json").write_text(json.dumps(rows, indent=1) + "\n")
    drawn = figure(rows, args.out / "sweep.png")
    print(f"written to {args.out}" + ("" if drawn else "; no figure: matplotlib is not installed"))


if __name__ == "__main__":
    main()
