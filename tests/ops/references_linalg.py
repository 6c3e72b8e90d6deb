"""Independent references for factorisations, by SciPy's LAPACK and by reflections written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

Array = Any
__all__ = [
    "ref_geqrf",
    "ref_householder",
    "ref_index_reduce",
    "ref_lu",
    "ref_lu_factor",
    "ref_lu_solve",
    "ref_lu_unpack",
]


def _each(function: Any, a: Array, *more: Array) -> tuple[Array, ...]:
    """`function` on every matrix of a batch, results stacked."""
    lead = a.shape[:-2]
    if not lead:
        return tuple(np.asarray(r) for r in function(a, *more))
    flat = a.reshape(-1, *a.shape[-2:])
    rest = [m.reshape(len(flat), *m.shape[len(lead):]) for m in more]
    parts = [function(flat[i], *(m[i] for m in rest)) for i in range(len(flat))]
    return tuple(np.stack(p).reshape(*lead, *np.shape(p[0])) for p in zip(*parts, strict=True))


def ref_lu(a: Array) -> tuple[Array, ...]:
    """P, L and U."""
    if a.size == 0:
        return tuple(np.zeros(a.shape) for _ in range(3))
    return _each(scipy.linalg.lu, a)


def ref_lu_factor(a: Array) -> tuple[Array, ...]:
    """Packed factors and LAPACK's pivots, counted from 1."""

    def one(m: Array) -> tuple[Array, Array]:
        packed, pivots, _ = scipy.linalg.lapack.dgetrf(m)
        return packed, pivots + 1

    return _each(one, a)


def ref_lu_unpack(packed: Array, pivots: Array) -> tuple[Array, Array, Array]:
    """P, L and U of one matrix."""
    m, n = packed.shape
    k = min(m, n)
    order = list(range(m))
    for i, p in enumerate(pivots):
        order[i], order[p - 1] = order[p - 1], order[i]
    return np.eye(m)[:, order], np.tril(packed[:, :k], -1) + np.eye(m, k), np.triu(packed[:k])


def ref_lu_solve(packed: Array, pivots: Array, b: Array, left: bool, adjoint: bool) -> Array:
    """Solves with the matrix that the factors make."""

    def one(m: Array, p: Array) -> tuple[Array]:
        rows, lower, upper = ref_lu_unpack(m, p)
        a = rows @ lower @ upper
        a = a.T if adjoint else a
        return (np.linalg.solve(a, b) if left else np.linalg.solve(a.T, b.T).T,)

    return _each(one, packed, pivots)[0]


def ref_householder(a: Array, tau: Array) -> Array:
    """The whole product of reflections, multiplied out."""

    def one(m: Array, t: Array) -> tuple[Array]:
        q = np.eye(m.shape[0])
        for i, factor in enumerate(t):
            v = np.concatenate([np.zeros(i), [1.0], m[i + 1 :, i]])
            q = q @ (np.eye(len(v)) - factor * np.outer(v, v))
        return (q,)

    return _each(one, a, tau)[0]


def ref_geqrf(a: Array) -> tuple[Array, ...]:
    """LAPACK's packed QR."""

    def one(m: Array) -> tuple[Array, Array]:
        packed, tau, _, _ = scipy.linalg.lapack.dgeqrf(m)
        return packed, tau

    return _each(one, a)


def ref_index_reduce(x: Array, dim: int, index: Array, source: Array, reduce: str, include_self: bool) -> Array:
    """Slice by slice."""
    out = np.moveaxis(np.array(x), dim, 0)
    src = np.moveaxis(source, dim, 0)
    for place in set(index.tolist()):
        parts = [src[k] for k in range(len(index)) if index[k] == place]
        parts = [out[place].copy(), *parts] if include_self else parts
        join = {"prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
        out[place] = join(np.stack(parts), axis=0)
    return np.moveaxis(out, 0, dim)
