"""The README's Python runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks() -> list[str]:
    """The Python blocks that are whole programs for rustnn."""
    found = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    return [text for text in found if "import rustnn" in text]


def test_there_are_programs() -> None:
    assert blocks()


@pytest.mark.parametrize("number", range(len(blocks())))
def test_program(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = blocks()[number]
    exec(compile(text, f"README block {number}", "exec"), {"__name__": "__main__"})
    expected = re.findall(r"^print\(.*\)\s+# (.*)$", text, flags=re.M)
    assert capsys.readouterr().out.split("\n")[: len(expected)] == expected
