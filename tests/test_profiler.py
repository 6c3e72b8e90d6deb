"""The profiler: what ordinary programs do with it, and names, counts, shapes and columns as PyTorch gives them."""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import rustnn
from rustnn.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule


def program(torch: Any) -> Any:
    """A profile of one training step and a few ops, with everything recorded."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(3, 4), torch.zeros(3, 2)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True, profile_memory=True
    ) as prof:
        with torch.profiler.record_function("forward"):
            scores = model(x)
        loss = nn.functional.mse_loss(scores, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        z = torch.cat([x, x])
        z.mul_(2)
        z[0]
        z[1:]
        z[torch.tensor([0, 1])]
        z.sum().item()
        z.detach()
        torch.matmul(x, x.t())
        list(torch.utils.data.DataLoader([1, 2, 3, 4], batch_size=2))
    return prof


SHARED = [
    "forward", "aten::linear", "aten::relu", "aten::mse_loss", "AddmmBackward0", "ReluBackward0",
    "torch::autograd::AccumulateGrad", "autograd::engine::evaluate_function: AddmmBackward0",
    "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad", "Optimizer.step#SGD.step",
    "Optimizer.zero_grad#SGD.zero_grad", "aten::mul_", "aten::select", "aten::index", "aten::item", "aten::matmul",
    "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__",
]  # fmt: skip


def tensors(shapes: list[Any]) -> list[Any]:
    """Without the numbers at the end: functions in Python have some that PyTorch's ops have not."""
    while shapes and shapes[-1] == []:
        shapes = shapes[:-1]
    return shapes


def found(prof: Any, name: str) -> dict[str, Any]:
    """What must be the same on both engines."""
    events = [e for e in prof.events() if e.name == name]
    return {
        "count": len(events),
        "shapes": sorted(tensors(e.input_shapes) for e in events),  # gradients come in in either order
        "scopes": [e.scope for e in events],
        "averaged": [e.count for e in prof.key_averages() if e.key == name],
        "numbered": [e.sequence_nr >= 0 for e in events],
    }


@pytest.mark.peer
def test_as_pytorch() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = program(rustnn), program(torch)
    for name in SHARED:
        assert found(ours, name) == found(theirs, name), name
    for prof in (ours, theirs):  # each node inside of the engine's event of its name
        for e in prof.events():
            if e.name in ("AddmmBackward0", "torch::autograd::AccumulateGrad"):
                assert e.cpu_parent.name == f"autograd::engine::evaluate_function: {e.name}"
    for options in ({}, {"group_by_input_shape": True}):
        head = [prof.key_averages(**options).table(row_limit=1).split("\n") for prof in (ours, theirs)]
        columns = [[part for part in lines[1].split("  ") if part.strip()] for lines in head]
        assert [c.strip() for c in columns[0]] == [c.strip() for c in columns[1]]
        assert len(head[0]) == len(head[1])
        assert head[0][5].startswith("Self CPU time total: ") and head[1][5].startswith("Self CPU time total: ")
    public = {n for n in dir(theirs) if not n.startswith("_")}
    everyday = {
        "activities", "add_metadata", "add_metadata_json", "current_action", "events", "export_chrome_trace",
        "export_stacks", "key_averages", "on_trace_ready", "preset_metadata_json", "profile_memory", "profiler",
        "record_shapes", "record_steps", "schedule", "start", "step", "step_num", "step_rec_fn", "stop", "with_flops",
        "with_modules", "with_stack", "acc_events",
    }  # fmt: skip
    assert everyday <= public
    assert all(hasattr(ours, n) for n in everyday)
    wanted = {"key", "count", "cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "input_shapes"}
    wanted |= {"self_cpu_memory_usage", "self_device_time_total", "device_time_total", "is_async", "stack", "node_id"}
    for prof in (ours, theirs):
        assert all(hasattr(prof.key_averages()[0], name) for name in wanted)
        assert all(hasattr(prof.events()[0], name) for name in wanted | {"time_range", "thread", "id", "cpu_children"})


@pytest.mark.peer
def test_trace_as_pytorch(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    traces = []
    for name, prof in (("ours", program(rustnn)), ("theirs", program(torch))):
        prof.export_chrome_trace(str(tmp_path / f"{name}.json"))
        traces.append(json.loads((tmp_path / f"{name}.json").read_text()))
    ours, theirs = traces
    keys = {"schemaVersion", "deviceProperties", "displayTimeUnit", "baseTimeNanoseconds", "traceEvents", "traceName"}
    assert keys <= ours.keys() and keys <= theirs.keys()

    def of(trace: Any, name: str) -> Any:
        return next(e for e in trace["traceEvents"] if e["name"] == name and e["ph"] == "X")

    for name in ("forward", "aten::linear", "AddmmBackward0"):
        mine, other = of(ours, name), of(theirs, name)
        assert mine["cat"] == other["cat"]
        assert mine.keys() == other.keys()
        for key in ("Input Dims", "Input type"):
            assert mine["args"].get(key) == other["args"].get(key)
    for name in ("aten::cat", "aten::index"):  # lists among the inputs
        assert of(ours, name)["args"]["Input type"][0] == of(theirs, name)["args"]["Input type"][0]
        assert of(ours, name)["args"]["Input Dims"][0] == of(theirs, name)["args"]["Input Dims"][0]
    for trace in traces:
        assert {e["ph"] for e in trace["traceEvents"] if e.get("cat") == "fwdbwd"} == {"s", "f"}


def test_off_records_nothing_and_on_records_all_threads() -> None:
    x = rustnn.ones(4)
    with profile() as prof:
        x + x
        worker = threading.Thread(target=lambda: x * x)
        worker.start()
        worker.join()
    x - x
    names = [e.name for e in prof.events()]
    assert names == ["aten::add", "aten::mul"]
    assert len({e.thread for e in prof.events()}) == 2
    assert prof.events()[0].input_shapes == [] and prof.events()[0].stack == []


def test_times_nest() -> None:
    with profile() as prof:
        with record_function("outer"):
            time.sleep(0.02)
            with record_function("inner"):
                time.sleep(0.03)
    outer, inner = prof.events()
    assert inner.cpu_parent is outer and outer.cpu_children == [inner]
    assert 3e4 <= inner.cpu_time_total <= outer.cpu_time_total
    assert outer.cpu_time_total >= 5e4
    assert outer.self_cpu_time_total == pytest.approx(outer.cpu_time_total - inner.cpu_time_total)
    total = prof.key_averages().self_cpu_time_total
    assert total == pytest.approx(outer.cpu_time_total)
    assert prof.key_averages().total_average().count == 2


@pytest.mark.parametrize("before", [1 << 20, (1 << 20) + (1 << 17)])  # what the cache then answers with
def test_memory(before: int) -> None:
    x = rustnn.ones(1 << 20)
    rustnn.empty_cache()
    rustnn.ones(before)
    with profile(profile_memory=True) as prof:
        y = x + x
        with record_function("dropped"):
            del y
    add, dropped = prof.events()
    assert add.cpu_memory_usage == add.self_cpu_memory_usage == 4 << 20
    assert dropped.cpu_memory_usage == -(4 << 20)
    assert "4.00 MB" in prof.key_averages().table(sort_by="self_cpu_memory_usage")


def helper(x: Any) -> Any:
    return rustnn.exp(x)


def test_stacks(tmp_path: Path) -> None:
    x = rustnn.ones(100000)
    with profile(with_stack=True) as prof:
        helper(x)
        rustnn.exp(x)
    first, second = prof.events()
    assert "test_profiler.py" in first.stack[0] and first.stack[0].endswith(": helper")
    assert first.stack[1].endswith(": test_stacks") and second.stack[0].endswith(": test_stacks")
    assert len(prof.key_averages()) == 1
    apart = prof.key_averages(group_by_stack_n=2)
    assert [row.stack for row in apart] == [first.stack[:2], second.stack[:2]]
    assert "Source Location" in apart.table()
    prof.export_stacks(str(tmp_path / "stacks.txt"))
    lines = (tmp_path / "stacks.txt").read_text().splitlines()
    assert len(lines) == 2 and all(int(line.rsplit(" ", 1)[1]) > 0 for line in lines)
    assert lines[0].rsplit(" ", 1)[0].endswith("helper")


def test_schedule() -> None:
    plan = schedule(wait=1, warmup=1, active=2, repeat=1, skip_first=1)
    kinds = [plan(i) for i in range(7)]
    none, warm, record, save = (
        ProfilerAction.NONE, ProfilerAction.WARMUP, ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE,
    )  # fmt: skip
    assert kinds == [none, none, warm, record, save, none, none]
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        schedule(wait=0, warmup=1, active=0)


def steps(torch: Any, path: Path) -> list[list[Any]]:
    """What each cycle of a schedule recorded: sums by name, and the steps' names in the trace."""
    ready: list[list[Any]] = []

    def on_ready(prof: Any) -> None:
        wanted = ("ProfilerStep", "aten::exp", "aten::sin")
        ready.append(sorted((e.key, e.count) for e in prof.key_averages() if e.key.startswith(wanted)))
        prof.export_chrome_trace(str(path))
        traced = {e["name"] for e in json.loads(path.read_text())["traceEvents"] if e.get("ph") == "X"}
        ready[-1] += sorted(name for name in traced if name.startswith("ProfilerStep"))

    x = torch.ones(3)
    plan = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=2)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], schedule=plan, on_trace_ready=on_ready
    ) as prof:
        for i in range(10):
            torch.exp(x) if i % 2 else torch.sin(x)
            prof.step()
    return ready


@pytest.mark.peer
def test_steps(tmp_path: Path) -> None:
    expected = [
        [("ProfilerStep*", 2), ("aten::exp", 1), ("aten::sin", 1), "ProfilerStep#2", "ProfilerStep#3"],
        [("ProfilerStep*", 2), ("aten::exp", 1), ("aten::sin", 1), "ProfilerStep#6", "ProfilerStep#7"],
    ]
    assert steps(rustnn, tmp_path / "a") == expected
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert steps(torch, tmp_path / "b") == expected


def test_trace_files(tmp_path: Path) -> None:
    handler = rustnn.profiler.tensorboard_trace_handler(str(tmp_path / "log"), "worker")
    with profile(activities=[ProfilerActivity.CPU], on_trace_ready=handler) as prof:
        prof.add_metadata("note", "text")
        rustnn.ones(3).exp()
    (written,) = (tmp_path / "log").iterdir()
    assert written.name.startswith("worker.") and written.name.endswith(".pt.trace.json")
    events = json.loads(written.read_text())["traceEvents"]
    assert {"aten::exp"} <= {e["name"] for e in events}
    assert abs(events[-1]["ts"] / 1e6 - time.time()) < 600
    prof.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        assert json.load(file)["note"] == "text"


def test_one_at_a_time_and_errors() -> None:
    with rustnn.autograd.profiler.profile() as prof:
        with pytest.raises(RuntimeError, match="already enabled"):
            with profile():
                pass
        with pytest.raises(RuntimeError, match="didn't finish"):
            prof.key_averages()
        with pytest.raises(RuntimeError):
            rustnn.ones(2) + rustnn.ones(3)
    assert [e.name for e in prof.function_events].count("aten::add") == 1
    with rustnn.autograd.profiler.profile(enabled=False) as prof:
        rustnn.ones(2)
    assert repr(prof) == "<unfinished torch.autograd.profile>"

    @record_function("decorated")
    def double(x: Any) -> Any:
        "Twice."
        return x + x

    with rustnn.autograd.profiler.profile() as prof:
        double(rustnn.ones(1))
    assert double.__doc__ == "Twice." and "decorated" in [e.name for e in prof.function_events]
    assert "decorated" in str(prof) and prof.self_cpu_time_total > 0


def test_region_left_after_the_profile() -> None:
    region = record_function("long")
    with profile() as prof:
        region.__enter__()
    region.__exit__(None, None, None)
    assert len(prof.events()) == 0
    with profile() as prof:
        rustnn.ones(1)
    assert "long" not in [e.name for e in prof.events()]
