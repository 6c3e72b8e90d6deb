"""Compares what two runs of one script printed: `python compare.py expected actual` lists the differences.

The lines are those of `scripts/report.py`. Numbers agree to a relative 2e-3 (of the largest number beside them, since
a sum of many terms may be near zero), texts and whole numbers exactly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 2e-3




def differences(expected: Any, actual: Any, where: str = "", scale: float = 0.0) -> Iterator[str]:
    """Lines that name each difference of two values that came from JSON; `scale` is what errors are measured by."""
    if isinstance(expected, float) and isinstance(actual, (int, float)) and not isinstance(actual, bool):
        if abs(expected - actual) > TOLERANCE * max(abs(expected), scale) + 1e-6:
            yield f"{where}: {actual!r}, expected {expected!r}"
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        largest = max([abs(v) for v in expected if isinstance(v, float)], default=0.0)
        for i, (a, b) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(a, b, f"{where}[{i}]", max(scale, largest))
    elif isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        for key in expected:
            # Elements cancel in a sum: it is judged by the sum of their sizes.
            size = expected.get("size", 0.0) if key == "sum" else expected.get("total", 0.0)
            size = size if isinstance(size, float) else 0.0
            yield from differences(expected[key], actual[key], f"{where}.{key}", max(scale, size))
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{where}: {actual!r}, expected {expected!r}"


def read(text: str) -> dict[str, Any]:
    """The values by name, of the lines that are JSON; a name that comes again gets a number."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if not line.startswith('{"name"'):
            continue
        entry = json.loads(line)
        name, times = entry["name"], 1
        while name in found:
            times += 1
            name = f"{entry['name']}#{times}"
        found[name] = entry["value"]
    return found


def compare(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """All differences, missing and additional names among them."""
    found = [f"{name}: missing" for name in expected if name not in actual]
    found += [f"{name}: not expected" for name in actual if name not in expected]
    for name in expected:
        if name in actual:
            found += list(differences(expected[name], actual[name], name))
    return found


if __name__ == "__main__":
    left, right = (read(Path(p).read_text()) for p in sys.argv[1:3])
    result = compare(left, right)
    print(f"{len(left)} values expected, {len(right)} found, {len(result)} differences")
    print("\n".join(result[:60]))
    sys.exit(bool(result))
