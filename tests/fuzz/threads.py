"""Threads that work at once: on tensors of their own, whose values are checked, and on shared ones, which must not
break whoever reads them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import numpy as np
import rustnn
from fuzz import arrays, graphs
from fuzz.run import Wrong


class Kind:
    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        numbers = [rng.randrange(10**9) for _ in range(rng.choice((2, 3, 5)))]
        shared = rustnn.ones(4, 5, dtype=rustnn.float64, requires_grad=True)
        target = rustnn.zeros(500)

        def call() -> None:
            failures: list[BaseException] = []

            def work(number: int) -> None:
                own = random.Random(number)
                for n in range(8):
                    act = own.randrange(6)
                    try:
                        if act < 2:
                            arrays.Kind().prepare(own)[1]()
                        elif act == 2:
                            graphs.Kind().prepare(own)[1]()
                        elif act == 3:
                            target[own.randrange(400) :].add_(n)
                            target.resize_(own.choice((10, 500)))
                            repr(target)
                        elif act == 4:
                            (shared * n).sum().backward()
                        else:
                            x = rustnn.from_numpy(np.full((60, 60), 2.0))
                            if (x @ x).sum().item() != 60 * 60 * 60 * 4:
                                raise Wrong("a product of matrices")
                    except Exception as error:
                        if isinstance(error, Wrong) or "internal error" in str(error):
                            failures.append(error)

            workers = [threading.Thread(target=work, args=(number,)) for number in numbers]
            for w in workers:
                w.start()
            for w in workers:
                w.join()
            if failures:
                raise failures[0]

        return f"threads {numbers}", call
