"""What every number of a file must be: finite, and of a size that weights have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from malan.core.errors import Rejected
from malan.inference.adapters import find_pairs, fold_pair
from malan.inference.lowrank import product_svd
from malan.inference.tensors import Tensor
from malan.training.gate.declared import Declared


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises:
    Rejected: A tensor holds infinity or not-a-number (whose 2²² spellings could carry anything).
    """
    for name, tensor in tensors.items():
        if not np.isfinite(tensor.values()).all():
            raise Rejected("gate.not_finite", name=name)


def check_norms(tensors: Mapping[str, Tensor], declared: Declared) -> float:
    """The largest norm that was found: of a pair's scaled product its first singular value, else the RMS.

    Raises:
        Rejected: A norm above what was declared.
    """
    pairs, others = find_pairs(tensors)
    worst = 0.0
    for pair in pairs:
        folded = fold_pair(tensors[pair.up].values(), tensors[pair.down].values())
        sigma = product_svd(folded.up, folded.down).sigma
        worst = max(worst, _within(pair.module, abs(declared.scale) * float(sigma[0]), declared.max_norm))
    for name in others:
        level = float(np.sqrt(np.mean(np.square(tensors[name].values(), dtype=np.float64))))
        worst = max(worst, _within(name, level, declared.max_norm))
    return worst


def _within(name: str, norm: float, most: float) -> float:
    if not norm <= most:
        raise Rejected("gate.norm", name=name, norm=f"{norm:.3g}", most=f"{most:.3g}")
    return norm
