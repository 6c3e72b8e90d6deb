"""What a pickle is asked before it is read: whether it numbers its memos as a pickler does.

Python's unpickler keeps its memo in an array as long as the largest number in it, so that one short instruction of a
damaged file, or of a hostile one, takes gigabytes and half a minute.
"""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
import struct
from collections.abc import Iterator

__all__ = ["check_memo", "named_damage"]

_PUT, _LONG_PUT = ord("p"), ord("r")
# Instructions by how their argument is read: a number of bytes, some lines, or a size that stands first.
_FIXED: dict[int, bytes] = {}
_LINES: dict[int, int] = {}
_SIZED: dict[int, struct.Struct] = {}
for _op in pickletools.opcodes:
    _code = _op.code
    _kind = 0 if _op.arg is None else _op.arg.n
    if _kind == pickletools.UP_TO_NEWLINE:
        # A pair of names is two lines.
        _LINES[ord(_code)] = 2 if _op.name in ("GLOBAL", "INST") else 1
    elif _kind == pickletools.TAKEN_FROM_ARGUMENT1:
        _SIZED[ord(_code)] = struct.Struct("<B")
    elif _kind == pickletools.TAKEN_FROM_ARGUMENT4:
        _SIZED[ord(_code)] = struct.Struct("<i")
    elif _kind == pickletools.TAKEN_FROM_ARGUMENT4U:
        _SIZED[ord(_code)] = struct.Struct("<I")
    elif _kind == pickletools.TAKEN_FROM_ARGUMENT8U:
        _SIZED[ord(_code)] = struct.Struct("<Q")
    elif _op.name not in ("STOP", "LONG_BINPUT"):
        _FIXED[_kind] = _FIXED.get(_kind, b"") + re.escape(_code.encode("latin-1"))


def _runs(end: int) -> re.Pattern[bytes]:
    """Any number of instructions of fixed length and of memos whose number may be (two of its bytes are looked at)."""
    ways = [b"[%b].{%d}" % (codes, n) for n, codes in _FIXED.items()]
    high = end >> 16
    ways.append(b"r..%b%b" % (_up_to(high & 255 if high < 256 else 255), _up_to(high >> 8)))
    return re.compile(b"(?:%b)*+" % b"|".join(ways), re.DOTALL)


def _up_to(most: int) -> bytes:
    return b"[\\x00-\\x%02x]" % min(most, 255)


def check_memo(data: bytes, name: str) -> None:
    """Raises if a memo's number is larger than the pickle is long: each takes an instruction, and they count up."""
    end = len(data)
    runs, at = _runs(end), 0
    while at < end:
        run = runs.match(data, at)
        at = run.end() if run else at
        if at == end:
            return
        code = data[at]
        at += 1
        if code in (_PUT, _LONG_PUT):
            text = data[at : at + 4] if code == _LONG_PUT else data[at : max(data.find(b"\n", at), at)]
            number = int.from_bytes(text, "little") if code == _LONG_PUT else int(text[:20]) if text.isdigit() else 0
            if number > end:
                raise pickle.UnpicklingError(f"{name}: its pickle is damaged: memo {number} of {end} bytes")
        if code in _SIZED:
            size = _SIZED[code]
            if at + size.size > end:
                return
            at += size.size + max(size.unpack_from(data, at)[0], 0)
        elif code in _LINES:
            for _ in range(_LINES[code]):
                at = data.find(b"\n", at) + 1
                if at == 0:
                    return
        elif code == _LONG_PUT:
            at += 4
        else:  # the last one, one that is cut short, or none
            return


@contextlib.contextmanager
def named_damage(name: str, trusted: bool) -> Iterator[None]:
    """Says of a damaged pickle that it is one; what trusted code raises passes."""
    try:
        yield
    except (EOFError, IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        if trusted:
            raise
        raise pickle.UnpicklingError(f"{name}: its pickle is damaged or no saved state: {error}") from error
