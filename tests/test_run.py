"""`rustnn run`: programs that say `import torch` run as Python runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def rustnn(*arguments: str, cwd: Path | None = None, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rustnn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        **kwargs,
    )


def script(folder: Path, text: str, name: str = "script.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(path)


def test_a_program_for_pytorch(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import sys, os
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.optim as optim
        from torch.utils.data import DataLoader, TensorDataset
        from torch.optim.lr_scheduler import StepLR
        import torch.autograd
        import torch.cuda, torch.backends.cudnn
        from torch.cuda.amp import autocast, GradScaler
        from torch import Tensor, nn as nn2
        import beside
        assert nn is nn2 is torch.nn and torch.nn.functional is F
        assert torch.__version__.startswith("2.") and torch.__version__ >= "1.13"
        assert not torch.cuda.is_available() and not torch.backends.mps.is_available()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        assert __name__ == "__main__" and sys.argv[1:] == ["--a", "1"], sys.argv
        assert os.path.samefile(__file__, sys.argv[0])
        assert sys.path[0] == os.path.dirname(os.path.realpath(__file__))
        model = nn.Linear(3, 2).to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in DataLoader(TensorDataset(torch.randn(8, 3), torch.randint(2, (8,))), batch_size=4):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        print("ok", beside.value)
        """,
    )
    (tmp_path / "beside.py").write_text("import torch\nvalue = torch.tensor(5).item()\n", encoding="utf-8")
    done = rustnn("run", path, "--a", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok 5\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("pass", 0),
        ("raise SystemExit", 0),
        ("1/0", 1),
        ("def f(:", 1),
        ("exit(4)", 4),
    ],
)
def test_exit_status_and_messages_are_pythons(text: str, status: int, tmp_path: Path) -> None:
    path = script(tmp_path, text)
    done = rustnn("run", path)
    plain = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == plain.returncode == status
    assert done.stderr == plain.stderr


def test_interrupt_ends_by_the_signal(tmp_path: Path) -> None:
    path = script(tmp_path, "import torch, time\nprint('up', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "rustnn", "run", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "_run.py" not in err


def test_module_and_code(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys, torch\nprint(__name__, sys.argv[1:], torch.ones(1))\n")
    done = rustnn("run", "-m", "package", "x", cwd=tmp_path)
    assert done.stdout == "__main__ ['x'] tensor([1.])\n", done.stderr
    done = rustnn("run", "-c", "import sys, torch; print(sys.argv, torch.zeros(1).item())", "y")
    assert done.stdout == "['-c', 'y'] 0.0\n", done.stderr
    assert rustnn("run", "-m", "no_such_module_here").returncode == 1


def test_what_is_missing_fails_by_name(tmp_path: Path) -> None:
    done = rustnn("run", "-c", "import torch\ntorch.sparse_coo_tensor")
    assert done.returncode == 1
    assert "sparse_coo_tensor" in done.stderr
    assert "Instead" in done.stderr
    done = rustnn("run", "-c", "import torch.no_such_part")
    assert "torch.no_such_part" in done.stderr
    done = rustnn("run", "-c", "from torch.fx import symbolic_trace\nsymbolic_trace(1)")
    assert "torch.fx.symbolic_trace" in done.stderr
    assert rustnn("run", str(tmp_path / "nothing.py")).returncode == 2


def test_workers_inherit_it(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Squares(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, i):
                import torch
                assert torch.__version__.startswith("2.")
                return torch.tensor(float(i * i))

        def child(rank):
            import torch
            print("child", torch.tensor([rank]).item(), flush=True)

        if __name__ == "__main__":
            print([b.tolist() for b in DataLoader(Squares(), batch_size=4, num_workers=2)], flush=True)
            torch.multiprocessing.spawn(child, nprocs=1)
        """,
    )
    done = rustnn("run", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[0.0, 1.0, 4.0, 9.0], [16.0, 25.0, 36.0, 49.0]]\nchild 0\n"


def test_released_packages_see_a_version() -> None:
    done = rustnn(
        "run",
        "-c",
        "import importlib.metadata as m, importlib.util as u\n"
        "print(m.version('torch'), u.find_spec('torch') is not None)\nimport torch\n"
        "import rustnn; print(torch.__version__, rustnn.__version__ != torch.__version__)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("True")
    assert done.stdout.splitlines()[1].endswith("True")


def test_command_line() -> None:
    assert rustnn("--version").stdout.startswith("rustnn ")
    assert "usage" in rustnn("--help").stdout
    info = rustnn("info")
    assert info.returncode == 0, info.stderr
    for word in ("instructions", "threads", "NumPy", "data", "memory"):
        assert word in info.stdout
    assert rustnn("no-such-command").returncode == 2
    assert rustnn().returncode == 2


def test_console_script_and_module_agree() -> None:
    from rustnn.__main__ import main

    assert main(["--version"]) == 0
    assert os.path.exists(sys.executable)
