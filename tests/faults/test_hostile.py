"""Forks while numbers are drawn, files that are full or lie, memory handed over wrongly, sums without end."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import pickletools
import random
import subprocess
import sys
import textwrap
import time
import zipfile

import numpy as np
import pytest
import rustnn as torch
from rustnn._pickles import check_memo


def run(program: str, timeout: float = 120) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_draws_whatever_was_drawn_when_it_was_made() -> None:
    """A generator is locked for whole draws, and a fork copies the lock, but not the thread that would let go of it."""
    out = run(
        """
        import os, signal, threading, warnings
        warnings.simplefilter("ignore")
        import rustnn as torch
        own = torch.Generator()
        stop = threading.Event()
        def draw(generator):
            while not stop.is_set():
                torch.rand(3_000_000, generator=generator)
        threads = [threading.Thread(target=draw, args=(g,)) for g in (None, own)]
        for thread in threads: thread.start()
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    signal.alarm(30)
                    good = 0 <= torch.rand(5).min().item() and 0 <= torch.randn(5, generator=own).abs().min().item()
                    torch.manual_seed(3)
                    first = torch.rand(1000)
                    torch.manual_seed(3)
                    os._exit(7 if good and torch.equal(first, torch.rand(1000)) else 8)
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 7, status
        finally:
            stop.set()
            for thread in threads: thread.join()
        print("alive")
        """
    )
    assert out == "alive\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_file_that_does_not_fit_leaves_the_old_one(form: str, tmp_path) -> None:
    out = run(
        f"""
        import os, resource
        import rustnn as torch
        from rustnn import interop
        os.chdir({str(tmp_path)!r})
        save, load = interop.safetensors.save_file, interop.safetensors.load_file
        if {form!r} == "pt":
            save, load = torch.save, torch.load
        save({{"a": torch.ones(3)}}, "state")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for name in ("state", "new"):
            try:
                save({{"a": torch.zeros(1_000_000)}}, name)
            except OSError as error:
                print(type(error).__name__)
        print(load("state")["a"].tolist(), os.listdir("."))
        """
    )
    assert out == "OSError\nOSError\n[1.0, 1.0, 1.0] ['state']\n"


@pytest.mark.parametrize(
    "call",
    [
        "E.max(0)",
        "E.min(0)",
        "E.argmax(0)",
        "E.to(torch.uint8).max()",
        "torch.dot(E, E)",
        "E @ E",
        "torch.mv(E.expand(3, -1), E)",
        "torch.einsum('i,i->', E, E)",
        "torch.nn.functional.fractional_max_pool2d(torch.zeros(1, 1, 4, 4), 2, output_size=2**62)",
        "torch.nn.functional.conv2d(torch.zeros(2, 4, 8, 8), torch.zeros(4, 1, 9, 9), None, 1, 2**40, 1, 4)",
        "torch.nn.functional.conv2d(torch.zeros(2, 4, 8, 8), torch.zeros(4, 1, 3, 3), None, 1, 2**40, 2**40, 4)",
        "torch.tensor(A)",
        "torch.zeros(3) + A",
        "torch.nn.functional.max_unpool2d(torch.zeros(1, 1, 2, 2), I, 2, output_size=range(10**12))",
    ],
)
def test_what_no_one_waits_for_is_refused(call: str) -> None:
    start = time.monotonic()
    with pytest.raises((RuntimeError, MemoryError, ValueError)):
        names = {"E": torch.zeros(1).expand(2**62), "I": torch.zeros(1, 1, 2, 2, dtype=torch.long)}
        names["A"] = np.broadcast_to(np.float32(1), (10**12,))
        eval(call, {"torch": torch, **names})
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "shape", [(2**62, 0), (0, 2**62), (2**62, 0, 0), (2**62, 2, 0), (0, 2**62, 2**62), (2**40, 0, 3)]
)
def test_factorisations_of_nothing(shape: tuple[int, ...]) -> None:
    """Each is empty, or more than any memory holds, and in no time."""
    program = f"""
    import faulthandler, time
    import rustnn as torch
    L, x = torch.linalg, torch.empty({shape}, dtype=torch.float64)
    t = torch.empty((*x.shape[:-2], 0), dtype=torch.float64)
    calls = {{
        "svd": lambda: L.svd(x, full_matrices=False), "svdvals": lambda: L.svdvals(x), "old svd": lambda: torch.svd(x),
        "svd of values": lambda: torch.svd(x, True, False), "full svd": lambda: L.svd(x), "qr": lambda: L.qr(x),
        "full qr": lambda: L.qr(x, "complete"), "eigh": lambda: L.eigh(x), "eigvalsh": lambda: L.eigvalsh(x),
        "cholesky": lambda: L.cholesky(x), "cholesky_ex": lambda: L.cholesky_ex(x), "inv": lambda: L.inv(x),
        "inv_ex": lambda: L.inv_ex(x), "det": lambda: L.det(x), "slogdet": lambda: L.slogdet(x),
        "logdet": lambda: torch.logdet(x), "lu": lambda: L.lu(x), "lu_factor": lambda: L.lu_factor(x),
        "lu_factor_ex": lambda: L.lu_factor_ex(x), "solve": lambda: L.solve(x, x), "solve_ex": lambda: L.solve_ex(x, x),
        "lstsq": lambda: L.lstsq(x, x), "gelsd": lambda: L.lstsq(x, x, driver="gelsd"), "pinv": lambda: L.pinv(x),
        "symmetric pinv": lambda: L.pinv(x, hermitian=True), "rank": lambda: L.matrix_rank(x),
        "exp": lambda: L.matrix_exp(x), "power": lambda: [L.matrix_power(x, p) for p in (3, 0, -1)],
        "householder": lambda: L.householder_product(x, t), "geqrf": lambda: torch.geqrf(x),
        "norm": lambda: [L.matrix_norm(x, p) for p in ("fro", "nuc", 1, 2, -2)], "cond": lambda: L.cond(x),
        "cond 1": lambda: L.cond(x, 1), "cdist": lambda: torch.cdist(x, x),
        "triangular": lambda: L.solve_triangular(x, x, upper=True),
        "cholesky_inverse": lambda: torch.cholesky_inverse(x),
        "lu_solve": lambda: L.lu_solve(x, torch.empty(x.shape[:-1], dtype=torch.int32), x),
    }}
    faulthandler.dump_traceback_later(60, exit=True)
    for name, call in calls.items():
        start, result = time.monotonic(), None
        try:
            result = call()
        except (RuntimeError, MemoryError, IndexError) as error:
            assert "internal error" not in str(error), (name, error)
        if isinstance(result, torch.Tensor):
            # Of one matrix the rank, which is 0.
            assert result.numel() == 0 or (x.dim() == 2 and result.item() == 0), (name, result)
        assert time.monotonic() - start < 5, name
    """
    run(program)


def test_a_basis_is_completed_in_no_time() -> None:
    """The vectors of no singular value are any that are orthogonal to the others."""
    rng = np.random.default_rng(5)
    for a in (np.zeros((200, 0)), np.zeros((150, 150)), np.outer(rng.normal(size=120), rng.normal(size=90))):
        start = time.monotonic()
        u, s, vh = torch.linalg.svd(torch.from_numpy(a))
        assert time.monotonic() - start < 10
        k = len(s)
        for basis in (u.numpy(), vh.numpy().T):
            np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-12)
        np.testing.assert_allclose((u.numpy()[:, :k] * s.numpy()) @ vh.numpy()[:k], a, atol=1e-12)
        np.testing.assert_allclose(s.numpy(), np.linalg.svd(a, compute_uv=False), atol=1e-12)


def test_a_diagonal_far_away_of_nothing() -> None:
    assert torch.zeros(0, 1).diag_embed(2**62, 2, -2).shape == (0, 2**62 + 1, 2**62 + 1)
    x = np.arange(20.0).reshape(4, 5)
    for offset in range(-6, 7):
        np.testing.assert_array_equal(torch.from_numpy(x).diagonal(offset).numpy(), x.diagonal(offset))


@pytest.mark.parametrize(
    "call",
    [
        "torch.gradient(Z, dim=0)",
        "torch.gradient(Z, dim=[-1])",
        "torch.gradient(Z, spacing=[torch.ones(1)], dim=0)",
        "torch.take_along_dim(Z, torch.tensor(0), 0)",
        "torch.tensordot(Z, torch.ones(3, 2), ([0], [0]))",
        "torch.tensordot(torch.ones(2, 3), Z, ([1], [0]))",
    ],
)
def test_a_number_has_no_dimension_to_name(call: str) -> None:
    with pytest.raises(IndexError, match="but tensor has no dimensions"):
        eval(call, {"torch": torch, "Z": torch.tensor(1.0)})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("pool", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_pools_without_windows(pool: str, dtype) -> None:
    x = torch.rand(1, 7, 3).to(dtype).requires_grad_()
    y = getattr(torch.nn.functional, pool)(x, 0)
    assert y.shape == (1, 0, 0)
    y.sum().backward()
    assert x.grad is not None and x.grad.abs().sum().item() == 0


def test_memos_of_a_pickle() -> None:
    """One instruction of a damaged file made Python's unpickler take 16 bytes times any number of 32 bits."""
    objects = [{"a": (1, 2.5, None, b"x" * 300, "y" * 30, 10**400, {1}), n: f"running {n}"} for n in range(400)]
    for protocol in range(6):
        for count in (1, 40, 400):
            check_memo(pickle.dumps(objects[:count], protocol=protocol), "good")
    for bad in (
        b"r\xff\xff\xff\x7f.",
        b"]p999999999\n.",
        b"\x80\x02]r\x00\x00\x00\x10.",
        b"X\x02\x00\x00\x00rrr\0\0\1\0.",
    ):
        with pytest.raises(pickle.UnpicklingError, match="memo"):
            check_memo(bad, "bad")
    # What Python's own reader of instructions finds is found.
    rng, found = random.Random(0), 0
    for _ in range(1000):
        data = bytearray(pickle.dumps(objects[: rng.choice((1, 3))], protocol=rng.randrange(6)))
        at = rng.randrange(len(data))
        data[at:at] = rng.choice((b"r\xff\xff\xff\x00", b"p999999\n", b"r\x00\x00\x00\xff"))
        try:
            bad = any(o.name in ("PUT", "LONG_BINPUT") and n > len(data) for o, n, _ in pickletools.genops(bytes(data)))
        except Exception:  # damaged in another way, too
            continue
        found += bad
        if bad:
            with pytest.raises(pickle.UnpicklingError, match="memo"):
                check_memo(bytes(data), "bad")
    assert found > 50
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02]r\x00\x00\x00\x10.")
        archive.writestr("archive/version", b"3")
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file)


class Managed(ctypes.Structure):
    _fields_ = [
        *[("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("id", ctypes.c_int32), ("ndim", ctypes.c_int32)],
        *[("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)],
        *[("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64))],
        *[("offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)],
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": None},
        {"ndim": -1},
        {"sizes": (-1, 2)},
        {"sizes": (2**62, 2**62)},
        {"sizes": (2**61, 2)},
        {"data": None},
        {"offset": 1},
        {"lanes": 2},
        {"device": 2},
        {"bits": 128},
    ],
)
def test_capsules_that_lie(wrong: dict) -> None:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    name = b"dltensor"
    memory, sizes = (ctypes.c_double * 4)(1, 2, 3, 4), (ctypes.c_int64 * 2)(2, 2)
    m = Managed(ctypes.addressof(memory), 1, 0, 2, 2, 64, 1, sizes, None, 0, None, None)
    assert torch.from_dlpack(new(ctypes.addressof(m), name, None)).tolist() == [[1, 2], [3, 4]]
    for key, value in wrong.items():
        if key == "sizes":
            sizes[0], sizes[1] = value
        else:
            setattr(m, key, value)
    with pytest.raises((RuntimeError, BufferError, MemoryError)):
        torch.from_dlpack(new(ctypes.addressof(m), name, None))
