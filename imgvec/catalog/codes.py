"""Build and search parameters of whatever keeps codes instead of whole vectors."""

from __future__ import annotations

from imgvec.catalog.entries import MAX_LIMIT, Parameter

NBITS = Parameter("nbits", "bits a code has", low=1, high=24, default=8)
REFINE = Parameter("refine", "keep finer vectors to rerank the candidates", kind="bool", default=False)
REFINE_TYPE = Parameter(
    "refine_type", "precision of those finer vectors", kind="choice", choices=("SQ6", "SQ8", "FP16", "BF16", "FP32")
)
REFINE_K = Parameter(
    "refine_k", "multiple of `limit` candidates to rerank", kind="float", low=1, high=float(MAX_LIMIT), default=1
)
