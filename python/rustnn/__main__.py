"""The command line: `rustnn run script.py ...`, `rustnn info`, `rustnn --version`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """usage: rustnn run script.py [arguments ...]
       rustnn run -m module [arguments ...]
       rustnn run -c code [arguments ...]
       rustnn info
       rustnn --version | --help

run     runs a program written for PyTorch, unchanged: its imports of torch and torchvision, and of their parts,
        are answered by rustnn. Arguments, __main__, tracebacks and exit codes are as with python itself.
info    version, instruction set, threads and why so many, memory in the cache, data folder: what a bug report needs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command in ("-V", "--version", "version"):
        import rustnn

        print(f"rustnn {rustnn.__version__}")
        return 0
    if command == "info":
        from rustnn._info import report

        print(report())
        return 0
    if command == "run":
        return _run(rest)
    print(f"rustnn: no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
    return 2


def _run(rest: list[str]) -> int:
    from rustnn import _run as runner

    if not rest or rest[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 2
    if rest[0] in ("-m", "-c"):
        if len(rest) < 2:
            print(f"rustnn: run {rest[0]} needs an argument", file=sys.stderr)
            return 2
        start = runner.run_module if rest[0] == "-m" else runner.run_code
        return start(rest[1], rest[2:])
    return runner.run_script(rest[0], rest[1:])


if __name__ == "__main__":
    sys.exit(main())
