"""An engine measures cases in a process of its own, and sleeps while another one is measured.

`rustnn` and `torch` run a case as it is written; `torch-compile` runs it under `torch.compile`; `onnxruntime` runs what
PyTorch exports of an inference.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import CASES, Call, Case, load
from flops import counting

Clock = Callable[[], float]
NEEDS = {"torch-compile": ["torch"], "onnxruntime": ["torch", "onnx", "onnxscript", "onnxruntime"]}
"""Modules that an engine needs, where they are not just the one of its name."""


def missing(engine: str) -> str | None:
    """Why an engine cannot be measured here."""
    absent = [m for m in NEEDS.get(engine, [engine]) if importlib.util.find_spec(m) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if engine == "torch-compile" and not any(map(shutil.which, ("g++", "clang++", os.environ.get("CXX", "g++")))):
        return "torch.compile needs a C++ compiler, there is none"
    return None


# In the engine's process.


def times_of(call: Call, seconds: float, clock: Clock = time.perf_counter) -> list[float]:
    """Seconds per call, in batches long enough for the clock, for about that long; a call longer than that, once."""
    begin = clock()
    call()
    first = clock() - begin
    if first >= seconds:
        return [first]
    batch = max(1, int(20e-6 / max(first, 1e-8)))
    times, end = [], clock() + seconds
    while clock() < end or len(times) < 3:
        begin = clock()
        for _ in range(batch):
            call()
        times.append((clock() - begin) / batch)
    return times


def exported(torch: Any, case: Case, threads: int) -> Call:
    """An inference as ONNX Runtime does it."""
    if case.task is None or case.trains:
        raise NotImplementedError("only inferences of networks are exported")
    task, _ = case.of_task(torch)
    if task.own_inference is not None:
        raise NotImplementedError("more than one call of one network")
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    program = torch.onnx.export(task.model, task.inputs, dynamo=True, verbose=False)
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"])
    values = [x.numpy() for x in task.inputs]
    feed = {put.name: value for put, value in zip(session.get_inputs(), values, strict=True)}
    return lambda: session.run(None, feed)


def prepare(engine: str, torch: Any, case: Case, threads: int) -> tuple[Call, dict[str, float]]:
    """The call, warmed up, and the work it does (counted where the case does not say it)."""
    torch.manual_seed(0)
    work = {"flops": case.flops, "bytes": case.bytes}
    if engine == "onnxruntime":
        call = exported(torch, case, threads)
    elif engine == "torch-compile":
        torch.compiler.reset()
        call = torch.compile(case.prepare(torch)) if case.task is None else case.of_task(torch, compiled=True)[1]
    else:
        call = case.prepare(torch)
        if case.flops is None and case.group != "small ops":
            with counting(torch) as counter:
                call()
            work = {"flops": counter.flops, "bytes": case.bytes or counter.bytes()}
    return call, {key: value for key, value in work.items() if value}


def serve(engine: str, threads: int, cpu_time: bool) -> None:
    """Answers each line {"case", "seconds"} on standard input with the median of that round."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    torch = importlib.import_module("rustnn" if engine == "rustnn" else "torch")
    torch.set_num_threads(threads)
    load()
    version = torch.__version__ if engine != "onnxruntime" else importlib.import_module(engine).__version__
    print(json.dumps({"version": version}), file=answers)
    ready: dict[str, Call] = {}
    clock = time.process_time if cpu_time else time.perf_counter
    for line in sys.stdin:
        order = json.loads(line)
        name, answer = order["case"], {}
        try:
            if name not in ready:
                ready.clear()
                ready[name], answer = prepare(engine, torch, CASES[name], threads)
                times_of(ready[name], order["seconds"] / 3)
            answer["seconds"] = statistics.median(times_of(ready[name], order["seconds"], clock))
        except Exception as error:  # what an engine lacks is a result too
            first = str(error).strip().splitlines()[:1]
            answer = {"error": f"{type(error).__name__}: {first[0] if first else ''}"[:300]}
        print(json.dumps(answer), file=answers)


# In the process that compares.


class Engine:
    """A process that measures cases on one engine; one that died is started anew."""

    def __init__(self, name: str, threads: int, cpu_time: bool = False) -> None:
        self.name, self.threads, self.cpu_time = name, threads, cpu_time
        self.start()

    def start(self) -> None:
        n = str(self.threads)
        command = [sys.executable, str(Path(__file__).with_name("run.py")), "--serve", self.name, "--threads", n]
        command += ["--cpu-time"] if self.cpu_time else []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"RUSTNN_NUM_THREADS": n, "OMP_NUM_THREADS": n},
        )
        first = self.answer()
        if "version" not in first:
            raise SystemExit(f"{self.name} does not start")
        self.version = first["version"]

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        result: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return result

    def measure(self, case: str, seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"case": case, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if self.process.poll() is not None:
            self.start()
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
