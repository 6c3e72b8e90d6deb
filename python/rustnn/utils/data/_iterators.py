"""The two iterators of a loader: in this process, and over worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from rustnn import _C

from ._transport import pair, rebuildable
from ._worker import Exhausted, Failure, Fetcher, worker_main
from .dataset import IterableDataset
from .sampler import draw_seed

if TYPE_CHECKING:
    from .dataloader import DataLoader


class BaseIterator:
    """What both iterators share: the sampler's position and PyTorch's order of random draws."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._dataset = loader.dataset
        # First the sampler's iterator, then the seed: a sampler that draws at once does so before.
        self._sampler_iter = iter(loader._index_sampler)
        self._base_seed = draw_seed(loader.generator)
        self._num_yielded = 0

    def __iter__(self) -> BaseIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def _next_index(self) -> Any:
        return next(self._sampler_iter)

    def _reset(self) -> None:
        self._sampler_iter = iter(self._loader._index_sampler)
        self._num_yielded = 0

    def _next_data(self) -> Any:
        raise NotImplementedError

    _profile_name = "_BaseDataLoaderIter"  # PyTorch's name of the class

    def __next__(self) -> Any:
        if not _C._profiling():
            return self._one()
        region = _C._profile_enter(f"enumerate(DataLoader)#{self._profile_name}.__next__")
        try:
            return self._one()
        finally:
            _C._profile_exit(region)

    def _one(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        length = self._loader._reported_length
        if length is not None and self._num_yielded > length and isinstance(self._dataset, IterableDataset):
            more = ""
            if self._loader.num_workers > 0:
                more = (
                    " For multiprocessing data-loading, this could be caused by not properly configuring the "
                    "IterableDataset replica at each worker."
                )
            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be {length} (when accessing "
                f"len(dataloader)), but {self._num_yielded} samples have been fetched." + more,
                stacklevel=3,
            )
        return data


class SingleIterator(BaseIterator):
    """Fetches in this process, when asked."""

    _profile_name = "_SingleProcessDataLoaderIter"

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._fetcher = Fetcher(loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last)

    def _next_data(self) -> Any:
        return self._fetcher.fetch(self._next_index())


class _Worker:
    """The main process's view of a worker: the process and our ends of its two streams."""

    def __init__(
        self, number: int, loader: DataLoader[Any], base_seed: int, context: Any, earlier: list[_Worker]
    ) -> None:
        self.tasks, their_tasks = pair()
        their_results, self.results = pair()
        forked = context.get_start_method() == "fork"
        foreign = [self.tasks, self.results] if forked else []
        if forked:
            for other in earlier:
                foreign += [other.tasks, other.results]
        self.process = context.Process(
            target=worker_main,
            args=(
                loader.dataset,
                loader._auto_collation,
                loader.collate_fn,
                loader.drop_last,
                base_seed,
                number,
                loader.num_workers,
                loader.worker_init_fn,
                their_tasks,
                their_results,
                foreign,
            ),
            daemon=True,
        )
        with _quiet_fork():
            self.process.start()
        their_tasks.close()
        their_results.close()
        self.active = True

    def send(self, task: Any) -> None:
        # A dead worker is reported where its answer is waited for.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.tasks.send(task)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.tasks.send(None)
        self.tasks.close()
        self.results.close()


@contextlib.contextmanager
def _quiet_fork() -> Any:
    # A child runs nothing but the loader's own code and starts no thread of the engine's pool, so CPython's
    # warning about forking a process that has threads does not concern it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning)
        yield


class WorkersIterator(BaseIterator):
    """Fetches in ``num_workers`` processes, ``prefetch_factor`` batches ahead in each."""

    _profile_name = "_MultiProcessingDataLoaderIter"

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._owner = os.getpid()
        self._workers: list[_Worker] = []
        context = loader.multiprocessing_context or default_context()
        try:
            for number in range(loader.num_workers):
                self._workers.append(_Worker(number, loader, self._base_seed, context, self._workers))
        except BaseException:
            self.close()
            raise
        self._start()

    def _start(self) -> None:
        self._sent = 0  # the number of the next task
        self._next = 0  # the number of the next batch to give
        self._turn = 0  # the worker whose turn it is
        self._waiting: dict[int, int] = {}  # task -> worker
        self._arrived: dict[int, Any] = {}
        for worker in self._workers:
            worker.active = True
        for _ in range(self._loader._prefetch * len(self._workers)):
            if not self._send_task():
                break

    def _reset(self) -> None:
        # Batches of an epoch that was left early are still on their way: take them in first.
        while self._waiting:
            number, _ = self._receive()
            self._waiting.pop(number, None)
        super()._reset()
        for worker in self._workers:
            worker.send((None, None))
        self._start()

    def _send_task(self) -> bool:
        """Gives the next worker something to do; False if there is nothing to do, or nobody."""
        count = len(self._workers)
        for _ in range(count):
            worker = self._turn
            self._turn = (worker + 1) % count
            if self._workers[worker].active:
                break
        else:
            return False
        try:
            index = self._next_index()
        except StopIteration:
            self._turn = worker
            return False
        self._waiting[self._sent] = worker
        self._workers[worker].send((self._sent, index))
        self._sent += 1
        return True

    def _next_data(self) -> Any:
        in_order = self._loader.in_order
        while True:
            if in_order:
                # Tasks that an exhausted worker did not answer leave gaps.
                while self._next < self._sent and not (self._next in self._waiting or self._next in self._arrived):
                    self._next += 1
                found = self._next if self._next in self._arrived else None
            else:
                found = next(iter(self._arrived), None)
            if found is not None:
                data = self._arrived.pop(found)
                self._next = max(self._next, found + 1) if in_order else self._next
                self._send_task()
                return self._raise(data) if isinstance(data, Failure) else data
            if not self._waiting:
                if not self._loader.persistent_workers:
                    self.close()
                raise StopIteration
            number, data = self._receive()
            worker = self._waiting.pop(number)
            if isinstance(data, Exhausted):
                self._retire(worker)
            else:
                self._arrived[number] = data

    def _retire(self, worker: int) -> None:
        """A worker's part of an iterable dataset has ended: its turn goes to the others."""
        if self._workers[worker].active:
            self._workers[worker].active = False
        if not self._loader.persistent_workers:
            self._workers[worker].send(None)
        self._send_task()

    def _receive(self) -> tuple[int, Any]:
        """The next answer of any worker.

        Raises:
            RuntimeError: the timeout passed, or a worker died.
        """
        timeout = self._loader.timeout
        channels: dict[Any, _Worker] = {w.results: w for w in self._workers}
        busy = set(self._waiting.values())
        waiting: list[Any] = [w.results for i, w in enumerate(self._workers) if i in busy]
        sentinels = {w.process.sentinel: w for i, w in enumerate(self._workers) if i in busy}
        until = time.monotonic() + timeout if timeout > 0 else None
        left = None if until is None else max(0.0, until - time.monotonic())
        ready = multiprocessing.connection.wait([*waiting, *sentinels], left)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        # Answers before deaths: a worker may die after it has answered.
        for end in ready:
            if end in channels:
                try:
                    answer: tuple[int, Any] = channels[end].results.receive()
                    return answer
                except (EOFError, ConnectionResetError):
                    self._report_death([channels[end]])
        self._report_death([sentinels[end] for end in ready if end in sentinels])
        raise AssertionError("unreachable")

    def _report_death(self, dead: list[_Worker]) -> None:
        for worker in dead:
            worker.process.join(1)
        pids = ", ".join(str(w.process.pid) for w in dead)
        code = dead[0].process.exitcode
        if code is not None and code < 0:
            try:
                why = f"killed by signal {signal.Signals(-code).name}"
            except ValueError:
                why = f"killed by signal {-code}"
            if code == -getattr(signal, "SIGKILL", 9):
                why += " (this is what the system does when memory runs out)"
        else:
            why = f"exit code {code}"
        self.close()
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {why}")

    def _raise(self, failure: Failure) -> Any:
        raise rebuildable(failure.kind, failure.text)

    def close(self) -> None:
        """Ends the workers; those that do not end by themselves are killed."""
        if self._owner != os.getpid():
            return
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()
        deadline = time.monotonic() + 5.0
        for worker in workers:
            worker.process.join(max(0.1, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join(1)
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()
        self._waiting = {}
        self._arrived = {}

    def __del__(self) -> None:
        if getattr(self, "_workers", None) and not sys.is_finalizing():
            self.close()


def default_context() -> Any:
    """Fork on Linux, else the system's default.

    Forked workers need no pickling and no ``if __name__ == "__main__"``. The engine runs serially in a forked
    child and a worker takes no lock that another Python thread could have held, except through the dataset's
    own code.
    """
    methods = multiprocessing.get_all_start_methods()
    if sys.platform.startswith("linux") and "fork" in methods:
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context()


__all__ = ["BaseIterator", "SingleIterator", "WorkersIterator", "default_context"]
