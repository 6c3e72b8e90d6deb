"""What runs in a loader's worker process, and how items are fetched in either kind of process."""

from __future__ import annotations

import collections
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import rustnn

from ._transport import Channel
from .collate import default_collate
from .dataset import IterableDataset, fast_batch


@dataclass
class WorkerInfo:
    """What a worker knows of itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str = "multiprocessing"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker: its ``id``, ``num_workers``, ``seed`` and copy of the ``dataset``; None elsewhere."""
    return _info


class Exhausted:
    """Sent when a worker's iterable dataset has ended."""


@dataclass
class Failure:
    """An exception of a worker: its type and the whole text to raise in the main process."""

    kind: Any
    text: str


class Fetcher:
    """Makes batches (or, without batching, items) of a dataset.

    Args:
        batched: whether ``fetch`` gets lists of indices (or counts items of an iterable) to collate.
        drop_last: for iterables: leave a last, shorter batch out.
    """

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        self.dataset = dataset
        self.batched = batched
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.items: Iterator[Any] | None = iter(dataset) if isinstance(dataset, IterableDataset) else None
        self.ended = False
        self.whole = batched and collate_fn is default_collate and hasattr(dataset, "__getbatch__")
        self.many = callable(getattr(dataset, "__getitems__", None))

    def fetch(self, index: Any) -> Any:
        """The batch for ``index``.

        Raises:
            StopIteration: an iterable dataset has ended.
        """
        if self.items is not None:
            return self._next(index)
        if not self.batched:
            return self.collate_fn(self.dataset[index])
        if self.whole:
            batch = fast_batch(self.dataset, index)
            if batch is not NotImplemented:
                return batch
            self.whole = False
        dataset = self.dataset
        return self.collate_fn(dataset.__getitems__(index) if self.many else [dataset[i] for i in index])

    def _next(self, index: Any) -> Any:
        if self.ended or self.items is None:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.items))
        data = []
        for _ in index:
            try:
                data.append(next(self.items))
            except StopIteration:
                self.ended = True
                break
        if not data or (self.drop_last and len(data) < len(index)):
            raise StopIteration
        return self.collate_fn(data)


class _Inbox:
    """Reads tasks in a thread, so that the main process never waits for a worker that is itself sending."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tasks: collections.deque[Any] = collections.deque()
        self._ready = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        parent: Any = multiprocessing.parent_process()
        waiting: list[Any] = [self._channel] if parent is None else [self._channel, parent.sentinel]
        while True:
            try:
                ready: list[Any] = multiprocessing.connection.wait(waiting)
                if self._channel not in ready:
                    os._exit(1)  # the main process is gone: nobody reads what we would still do
                task = self._channel.receive()
            except (EOFError, OSError):
                task = None
            self._tasks.append(task)
            self._ready.release()
            if task is None:
                return

    def get(self) -> Any:
        """The next task; None says that there will be none."""
        self._ready.acquire()
        return self._tasks.popleft()


def seed_worker(base_seed: int, worker: int) -> int:
    """Seeds Python's, the engine's and NumPy's generators as PyTorch does; returns ``base_seed + worker``."""
    seed = base_seed + worker
    random.seed(seed)
    rustnn.manual_seed(seed)
    entropy = [worker, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    return seed


def describe_failure(error: BaseException, where: str) -> Failure:
    """The failure that carries ``error`` with its traceback."""
    trace = "".join(traceback.format_exception(error))
    return Failure(type(error), f"Caught {type(error).__name__} {where}.\nOriginal {trace}")


def worker_main(
    dataset: Any,
    batched: bool,
    collate_fn: Callable[[Any], Any],
    drop_last: bool,
    base_seed: int,
    worker: int,
    num_workers: int,
    init: Callable[[int], None] | None,
    tasks: Channel,
    results: Channel,
    foreign: list[Channel],
) -> None:
    """A worker's life: seeds, the user's ``worker_init_fn``, then tasks until there are no more."""
    global _info
    # Ends of pipes that came along with the fork: closed, so that their owners' death is seen.
    for channel in foreign:
        channel.close()
    # Ctrl-C reaches the main process, which ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rustnn.set_num_threads(1)
    seed = seed_worker(base_seed, worker)
    _info = WorkerInfo(worker, num_workers, seed, dataset)
    where = f"in DataLoader worker process {worker}"
    fetcher: Any = None
    failure: Failure | None = None
    try:
        if init is not None:
            init(worker)
        fetcher = Fetcher(dataset, batched, collate_fn, drop_last)
    except Exception as error:
        failure = describe_failure(error, where)
    inbox = _Inbox(tasks)
    try:
        while (task := inbox.get()) is not None:
            number, index = task
            if number is None:  # a new epoch
                fetcher = Fetcher(dataset, batched, collate_fn, drop_last)
                continue
            answer: Any
            if failure is not None:
                answer, failure = failure, None
            else:
                try:
                    answer = fetcher.fetch(index)
                except StopIteration as error:
                    iterable = fetcher is not None and fetcher.items is not None
                    answer = Exhausted() if iterable else describe_failure(error, where)
                except Exception as error:
                    answer = describe_failure(error, where)
            _send(results, number, answer, where)
            del answer
    except (BrokenPipeError, ConnectionResetError):
        pass  # the loader was closed
    finally:
        results.close()


def _send(results: Channel, number: int, answer: Any, where: str) -> None:
    try:
        results.send((number, answer))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # what can't be pickled
        if isinstance(answer, Failure):
            results.send((number, Failure(RuntimeError, answer.text)))
        else:
            results.send((number, Failure(RuntimeError, describe_failure(error, where).text)))
