"""Ops by the row, on 2^20 values or so: what a program calls beside products and convolutions. Each names its bytes
where reading and writing them once is the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import Call, case

MI = 2**20
F32 = 4

#: Name, values that the op reads or writes once (0 where memory is not the limit), and the call on the engine's module
#: and its `nn.functional`, a line `x` of values in (0.5, 1.5), a square matrix `m` of as many in (0, 1) and `i`, an
#: index for each of its rows.
Row = tuple[str, int, Callable[[Any, Any, Any, Any, Any], Any]]

ROWS: list[Row] = [
    ("arange, float", MI, lambda t, f, x, m, i: t.arange(0.0, MI / 2, 0.5)),
    ("linspace", MI, lambda t, f, x, m, i: t.linspace(0, 1, MI)),
    ("randn", MI, lambda t, f, x, m, i: t.randn(MI)),
    ("exponential_", MI, lambda t, f, x, m, i: t.empty(MI).exponential_()),
    ("randperm", 2 * MI, lambda t, f, x, m, i: t.randperm(MI)),
    ("multinomial 5 of 1024", MI, lambda t, f, x, m, i: t.multinomial(m, 5)),
    ("log", 2 * MI, lambda t, f, x, m, i: t.log(x)),
    ("sin", 2 * MI, lambda t, f, x, m, i: t.sin(x)),
    ("erfinv", 2 * MI, lambda t, f, x, m, i: t.erfinv(x - 0.7)),
    ("lgamma", 2 * MI, lambda t, f, x, m, i: t.lgamma(x)),
    ("digamma", 2 * MI, lambda t, f, x, m, i: t.digamma(x)),
    ("atan2", 3 * MI, lambda t, f, x, m, i: t.atan2(x, x)),
    ("pow 2.5", 2 * MI, lambda t, f, x, m, i: x**2.5),
    ("fmod", 2 * MI, lambda t, f, x, m, i: t.fmod(x, 0.3)),
    ("remainder", 2 * MI, lambda t, f, x, m, i: t.remainder(x, 0.3)),
    ("floor_divide", 2 * MI, lambda t, f, x, m, i: x // 0.3),
    ("elu", 2 * MI, lambda t, f, x, m, i: f.elu(x)),
    ("cumsum", 2 * MI, lambda t, f, x, m, i: x.cumsum(0)),
    ("cumprod", 2 * MI, lambda t, f, x, m, i: x.cumprod(0)),
    ("cummax", 4 * MI, lambda t, f, x, m, i: x.cummax(0).values),
    ("logcumsumexp, rows", 2 * MI, lambda t, f, x, m, i: t.logcumsumexp(m, 1)),
    ("logsumexp, rows", MI, lambda t, f, x, m, i: t.logsumexp(m, 1)),
    ("sum, columns", MI, lambda t, f, x, m, i: m.sum(0)),
    ("prod, rows", MI, lambda t, f, x, m, i: m.prod(1)),
    ("std", MI, lambda t, f, x, m, i: x.std()),
    ("norm", MI, lambda t, f, x, m, i: x.norm()),
    ("median", MI, lambda t, f, x, m, i: x.median()),
    ("quantile", MI, lambda t, f, x, m, i: x.quantile(0.3)),
    ("sort", 4 * MI, lambda t, f, x, m, i: x.sort().values),
    ("topk 10, rows", MI, lambda t, f, x, m, i: m.topk(10, 1).values),
    ("trapezoid", MI, lambda t, f, x, m, i: t.trapezoid(x)),
    ("histc", MI, lambda t, f, x, m, i: t.histc(x, 100)),
    ("searchsorted", 3 * MI, lambda t, f, x, m, i: t.searchsorted(t.linspace(0, 2, 1024), x)),
    ("masked select", 0, lambda t, f, x, m, i: x[x > 1]),
    ("nonzero", 0, lambda t, f, x, m, i: (x > 1).nonzero()),
    ("rows by index", 2 * MI, lambda t, f, x, m, i: m[i]),
    ("gather", 4 * MI, lambda t, f, x, m, i: m.gather(1, i.expand(1024, 1024))),
    ("scatter_add", 4 * MI, lambda t, f, x, m, i: t.zeros_like(m).scatter_add_(1, i.expand(1024, 1024), m)),
    ("index_add", 3 * MI, lambda t, f, x, m, i: t.zeros_like(m).index_add_(0, i, m)),
    ("transpose and copy", 2 * MI, lambda t, f, x, m, i: m.t().contiguous()),
    ("flip, rows", 2 * MI, lambda t, f, x, m, i: m.flip(1)),
    ("roll by 3", 2 * MI, lambda t, f, x, m, i: m.roll(3, 1)),
    ("chunk and hstack", 2 * MI, lambda t, f, x, m, i: t.hstack(m.chunk(10, 1))),
    ("reflect pad", 2 * MI, lambda t, f, x, m, i: f.pad(m[None, None], (3, 3, 3, 3), mode="reflect")),
    ("kron 32x32", 2 * MI, lambda t, f, x, m, i: t.kron(m[:32, :32], m[:32, :32])),
    ("cdist 256x256x1024", 0, lambda t, f, x, m, i: t.cdist(m[:256], m[-256:])),
    ("cosine_similarity, rows", 2 * MI, lambda t, f, x, m, i: f.cosine_similarity(m, m.flip(0))),
    ("smooth_l1_loss", 2 * MI, lambda t, f, x, m, i: f.smooth_l1_loss(x, 2 * x)),
    ("mse_loss", 2 * MI, lambda t, f, x, m, i: f.mse_loss(x, 2 * x)),
    ("group_norm", 2 * MI, lambda t, f, x, m, i: f.group_norm(m.view(8, 128, 1024), 8)),
    ("bilinear to 2048x2048", 5 * MI, lambda t, f, x, m, i: f.interpolate(m[None, None], size=2048, mode="bilinear")),
    ("grid_sample", 0, lambda t, f, x, m, i: f.grid_sample(m[None, None], x.view(1, -1, 1024, 2) - 1, "bilinear")),
]  # fmt: skip


def register(name: str, values: int, call: Callable[[Any, Any, Any, Any, Any], Any]) -> None:
    """Adds a row as a case."""

    @case("ops", name=name, bytes=F32 * values or None)
    def run(torch: Any) -> Call:
        x, m = torch.rand(MI) + 0.5, torch.rand(1024, 1024)
        i = torch.randint(0, 1024, (1024,))
        return lambda: call(torch, torch.nn.functional, x, m, i)


for row in ROWS:
    register(*row)
