"""What `make bench` writes: a table for each group, and a figure of all ratios."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


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


def figure(rows: list[dict[str, Any]], engines: list[str], path: Path) -> bool:
    """Horizontal bars of the peers' times over ours, on a logarithmic axis; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ours, peers = engines[0], engines[1:]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    both = [r for r in rows if r["times"].get(ours) and any(p in r["times"] for p in peers)]
    both.sort(key=lambda row: groups.index(row["group"]))
    if not both:
        return False
    fig, ax = pyplot.subplots(figsize=(11, 1.5 + 0.2 * len(both)))
    thick, group, places = 0.8 / len(peers), None, []
    y = 0.0
    for row in both:
        if row["group"] != group:
            group = row["group"]
            y += 1.2
            ax.text(-0.01, y - 0.9, group, transform=ax.get_yaxis_transform(), ha="right", va="center", weight="bold")
        places.append((y, row))
        y += 1.0
    for number, peer in enumerate(peers):
        for place, row in places:
            theirs = row["times"].get(peer)
            if theirs:
                ratio = theirs / row["times"][ours]
                colour = f"C{2 * number}" if ratio >= 1 else f"C{2 * number + 1}"
                at = place + (number - (len(peers) - 1) / 2) * thick
                ax.barh(at, ratio - 1, left=1, height=thick, color=colour)
                ax.text(ratio, at, f" {ratio:.2f} ", va="center", ha="left" if ratio >= 1 else "right", fontsize=6)
    ax.set_yticks([place for place, _ in places], [row["case"] for _, row in places], fontsize=7)
    ax.set_ylim(y, -1)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}×")
    ax.margins(x=0.1)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xlabel(f"time of {', '.join(peers)} over time of {ours} (right: {ours} is faster)")
    fig.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(fig)
    return True
