"""Bytes that an index takes in memory: the formulas of Milvus's documentation, behind the catalogue's types.

Each takes rows, dimensions, bytes an element and the build parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def raw(rows: int, dim: int, width: float, _: Mapping[str, Any]) -> float:
    return rows * dim * width


_BITS = MappingProxyType({"SQ4": 4, "SQ4U": 4, "SQ6": 6, "SQ8": 8, "BF16": 16, "FP16": 16, "FP32": 32, "FLAT": 32})


def refined(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    """What the finer vectors take that `refine` keeps beside the codes; the raw ones where no type is named."""
    if not params.get("refine"):
        return 0
    return float(rows * dim * _BITS.get(str(params.get("refine_type")), width * 8)) / 8


def scalar_quantized(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    return rows * dim * _BITS[str(params.get("sq_type", "SQ8"))] / 8 + refined(rows, dim, width, params)


def product_quantized(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    pieces = params.get("m") or max(1, dim // 8)
    codes = float(rows * pieces * params.get("nbits", 8) * params.get("nrq", 1)) / 8
    return codes + refined(rows, dim, width, params)


def links(rows: int, params: Mapping[str, Any]) -> float:
    return float(rows * 2 * params.get("M", 30) * 4)


def scann(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    codes = rows * (dim / params.get("sub_dim", 2)) / 2  # 4 bits for each piece of sub_dim elements
    return float(codes + (rows * dim * width if params.get("with_raw_data", True) else 0))


def cagra(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    return float(rows * dim * width + rows * params.get("graph_degree", 64) * 4)
