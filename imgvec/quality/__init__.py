"""Measures search quality by the labels of the rows, and compares two collections.

`metrics` has the definitions of the measures and their sources.
"""

from imgvec.quality.comparison import Comparison, Difference, compare, paired
from imgvec.quality.evaluation import ClassResult, Evaluation, evaluate

__all__ = ["ClassResult", "Comparison", "Difference", "Evaluation", "compare", "evaluate", "paired"]
