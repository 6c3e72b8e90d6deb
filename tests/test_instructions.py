"""`make instructions` reads callgrind's files: what stands under the extension module counts, once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benches"))

from instructions import instructions_of_module

DUMP = """\
version: 1
positions: line
events: Ir

ob=(1) /usr/bin/python3
fn=(1) call
12 100
cob=(2) /site-packages/rustnn/_C.abi3.so
cfn=(2) add
calls=3 0
+4 900

ob=(2)
fn=(2)
0 600
+1 40
cob=(3) /lib/libc.so.6
cfn=(3) memcpy
calls=3 7
* 260
-1 5
7

ob=(3)
fn=(3)
0 260
totals: 1005
"""


def test_own_instructions_only(tmp_path: Path) -> None:
    dump = tmp_path / "callgrind.out.1"
    dump.write_text(DUMP)
    assert instructions_of_module(dump) == 600 + 40 + 5
    dump.write_text(DUMP.replace("totals: 1005", "totals: 1006"))
    with pytest.raises(SystemExit, match="misread"):
        instructions_of_module(dump)
