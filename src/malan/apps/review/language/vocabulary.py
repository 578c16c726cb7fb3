"""The words of the rule language: names of facts and functions, each with its types. Start at `FACTS` and `FUNCTIONS`.

A new fact is a line here and a place in `facts.py` that tells it.
"""

from __future__ import annotations

from collections.abc import Mapping

M, T, N, W, X = "moments", "truth", "number", "words", "text"

FACTS: Mapping[str, tuple[str, str]] = {
    # what was read and said: name → kind, dimension
    "ocr": (M, ""), "ocr.captions": (M, ""), "ocr.persistent": (M, ""), "ocr.cards": (M, ""),
    "speech": (M, ""), "titles": (M, ""), "texts": (M, ""),
    # measured
    "qc.black": (M, ""), "qc.freeze": (M, ""), "qc.silence": (M, ""), "qc.clipping": (M, ""), "qc.flash": (M, ""),
    "qc.flash_long": (M, ""), "qc.red_flash": (M, ""), "qc.pattern": (M, ""), "qc.combing": (M, ""),
    "qc.damage": (M, ""),
    "qc.duration": (N, "s"), "qc.width": (N, "px"), "qc.height": (N, "px"), "qc.short_side": (N, "px"),
    "qc.aspect": (N, ""), "qc.pixel_aspect": (N, ""), "qc.rate": (N, "Hz"), "qc.loudness": (N, "dB"),
    "qc.loudness_range": (N, "dB"), "qc.true_peak": (N, "dB"), "qc.av_gap": (N, "s"), "qc.sample_rate": (N, "Hz"),
    "qc.channels": (N, ""), "qc.has_picture": (T, ""), "qc.has_sound": (T, ""), "qc.interlaced": (T, ""),
    # labels of AI-made files, footage of others
    "label.metadata": (T, ""), "library.matches": (M, ""),
    # told by whoever submits
    "meta.kind": (X, ""), "meta.title": (X, ""), "meta.class": (N, ""), "meta.platform": (X, ""),
    "meta.number": (X, ""), "meta.investment": (N, "yuan"), "meta.special": (T, ""), "meta.ai": (T, ""),
    "meta.animation": (T, ""), "meta.child": (T, ""), "meta.rerun": (T, ""), "meta.promo": (T, ""),
    "meta.filed": (T, ""), "meta.materials_complete": (T, ""), "meta.approved_digest": (X, ""),
    "meta.digest": (X, ""),
    # the other episodes
    "series.count": (N, ""), "series.episode": (N, ""), "series.is_first": (T, ""), "series.is_last": (T, ""),
    "series.missing": (M, ""), "series.duplicate": (M, ""), "series.number_differs": (M, ""),
    "series.same_number": (M, ""), "series.format_differs": (M, ""), "series.credits": (T, ""),
}  # fmt: skip

FUNCTIONS: Mapping[str, tuple[tuple[tuple[str, ...], str, str], ...]] = {
    # name → (kinds of the arguments, with dimension as kind:dim; kind and dimension of the result)
    "exists": (((M,), T, ""),),
    "none": (((M,), T, ""),),
    "count": (((M,), N, ""),),
    "total": (((M,), N, "s"),),
    "longest": (((M,), N, "s"),),
    "share": (((M,), N, "share"),),
    "opening": (((M, "number:s"), M, ""),),
    "closing": (((M, "number:s"), M, ""),),
    "at_least": (((M, "number:s"), M, ""),),
    "during": (((M, M), M, ""),),
    "without": (((M, M), M, ""),),
    "join": (((M, "number:s"), M, ""),),
    "any_of": (((M, M), M, ""),),
    "match": (((M, W), M, ""), ((X, W), T, "")),
    "unlike": (((M, W), M, ""),),
    "alike": (((M, W, W), M, ""),),
    "says": (((M, X), M, ""),),
    "taller": (((M, "number:share"), M, ""),),
    "shorter": (((M, "number:share"), M, ""),),
    "beyond": (((M, "number:share"), M, ""),),
    "chinese": (((M,), M, ""),),
    "foreign": (((M,), M, ""),),
    "length": (((X,), N, ""),),
    "known": (((N,), T, ""), ((X,), T, ""), ((T,), T, "")),
    "since": (((X,), T, ""),),
    "before": (((X,), T, ""),),
    "lexicon": (((X,), W, ""),),
    "pattern": (((X,), W, ""),),
    "vision": (((X,), M, ""),),
    "hearing": (((X,), M, ""),),
}
