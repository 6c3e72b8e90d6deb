"""Approximate decompositions of matrices of low rank, from products with random vectors (Halko et al., 2009)."""

from __future__ import annotations

from typing import Any

from rustnn import _C, linalg

__all__ = ["get_approximate_basis", "pca_lowrank", "svd_lowrank"]

Tensor = Any


def get_approximate_basis(A: Tensor, q: int, niter: int | None = 2, M: Tensor | None = None) -> Tensor:
    """An orthonormal basis Q (..., m, q) of most of the range of A (..., m, n), or of A - M.

    Args:
        A: the matrix.
        q: the number of columns.
        niter: how often A and its transpose are applied.
        M: what is subtracted from A.
    """
    steps = 2 if niter is None else niter
    R = _C.randn(A.shape[-1], q, dtype=A.dtype)

    def forward(x: Tensor) -> Tensor:
        return A.matmul(x) if M is None else A.matmul(x) - M.matmul(x)

    def backward(x: Tensor) -> Tensor:
        return A.mT.matmul(x) if M is None else A.mT.matmul(x) - M.mT.matmul(x)

    Q = linalg.qr(forward(R))[0]
    for _ in range(steps):
        Q = linalg.qr(backward(Q))[0]
        Q = linalg.qr(forward(Q))[0]
    return Q


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., m, q), S (..., q) and V (..., n, q) with A (or A - M) near U diag(S) V^T.

    Args:
        A: (..., m, n).
        q: a little more than the rank that is expected.
        niter: subspace iterations.
        M: what is subtracted from A.
    """
    rank = 6 if q is None else q
    m, n = A.shape[-2:]
    if not 0 <= rank <= min(m, n):
        raise ValueError(f"q(={rank}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if M is not None:
        M = M.broadcast_to(A.shape)
    if m < n:
        flipped = None if M is None else M.mT
        Q = get_approximate_basis(A.mT, rank, niter, flipped)
        B = Q.mT.matmul(A.mT if flipped is None else A.mT - flipped)
        U, S, Vh = linalg.svd(B, full_matrices=False)
        return Vh.mT, S, Q.matmul(U)
    Q = get_approximate_basis(A, rank, niter, M)
    U, S, Vh = linalg.svd(Q.mT.matmul(A if M is None else A - M), full_matrices=False)
    return Q.matmul(U), S, Vh.mT


def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """As `svd_lowrank` of A (..., m, n) with the mean of each column subtracted: V's columns are principal axes."""
    m, n = A.shape[-2:]
    rank = min(6, m, n) if q is None else q
    if not 0 <= rank <= min(m, n):
        raise ValueError(f"q(={rank}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, rank, niter)
