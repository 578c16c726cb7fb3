"""Arithmetic on products of two thin matrices without ever building the product.

`up` is (m, r), `down` is (r, n), r small. Decompositions are done in float64 on what is r × r. Start reading at
`product_svd`. Deterministic on one machine with one build of BLAS; between machines the last digits differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Real = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Svd:
    """`left · diag(sigma) · rightᵀ`, sigma falling: (m, k), (k,), (n, k)."""

    left: Matrix
    sigma: Vector
    right: Matrix


def product_svd(up: Real, down: Real) -> Svd:
    """The singular value decomposition of `up · down`, of rank min(m, n, r). Cost (m + n) r² + r³.

    Signs are fixed: in every left vector the entry largest in size is positive, the first of equals.
    """
    left, upper = np.linalg.qr(up.astype(np.float64))
    right, lower = np.linalg.qr(down.T.astype(np.float64))
    inner_left, sigma, inner_right = np.linalg.svd(upper @ lower.T, full_matrices=False)
    kept = min(len(sigma), up.shape[0], down.shape[1])
    return _with_fixed_signs(left @ inner_left[:, :kept], sigma[:kept], right @ inner_right[:kept].T)


def frobenius(up: Real, down: Real) -> float:
    """The Frobenius norm of `up · down`, by the Gram matrices of the factors."""
    up, down = up.astype(np.float64), down.astype(np.float64)
    return float(np.sqrt(max(0.0, np.sum((up.T @ up) * (down @ down.T)))))


def distance(up: Real, down: Real, other_up: Real, other_down: Real) -> float:
    """The Frobenius norm of the difference of two products. Exact to about 1e-8 of their size."""
    return frobenius(np.hstack([up, -other_up]), np.vstack([down, other_down]))


def best_of_rank(up: Matrix, down: Matrix, rank: int) -> tuple[Matrix, Matrix, float]:
    """The product of that rank nearest to `up · down` (Eckart–Young), as two balanced factors, and how far it is off.

    The distance is relative, in the Frobenius norm, and that of the result at hand: exact to about 1e-8. Works on the
    smaller of the two sides or the inner rank, by an eigendecomposition of its Gram matrix.
    """
    outer = min(up.shape[0], down.shape[1])
    if 3 * up.shape[1] < outer:  # else the product itself is cheaper than a QR of its factor
        left, upper = np.linalg.qr(up)
        new_up, new_down, error = _nearest(upper @ down, rank)
        return left @ new_up, new_down, error
    return _nearest(up @ down, rank)


def _nearest(product: Matrix, rank: int) -> tuple[Matrix, Matrix, float]:
    if product.shape[0] > product.shape[1]:
        down, up, error = _nearest(product.T, rank)
        return up.T, down.T, error
    gram = product @ product.T
    _, vectors = np.linalg.eigh(gram)
    left = vectors[:, ::-1][:, :rank]
    right = left.T @ product
    sigma = np.linalg.norm(right, axis=1)
    whole = float(np.trace(gram))
    missed = max(0.0, whole - float(np.sum(np.square(sigma))))
    root = np.sqrt(sigma)
    balanced = np.divide(right, root[:, None], out=np.zeros_like(right), where=root[:, None] > 0)
    return left * root, balanced, float(np.sqrt(missed / whole)) if whole else 0.0


def random_rotation(size: int, rng: np.random.Generator) -> Matrix:
    """A rotation or reflection drawn evenly from all of them (Haar measure), by QR of a Gaussian matrix."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))


def _with_fixed_signs(left: Matrix, sigma: Vector, right: Matrix) -> Svd:
    if not sigma.size:
        return Svd(left, sigma, right)
    largest = left[np.argmax(np.abs(left), axis=0), np.arange(left.shape[1])]
    signs = np.where(largest < 0, -1.0, 1.0)
    return Svd(np.ascontiguousarray(left * signs), sigma, np.ascontiguousarray(right * signs))
