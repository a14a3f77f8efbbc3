"""How good a collection's hits are, by the labels of its rows; and two collections side by side.

`metrics` has the definitions of the measures and their sources.
"""

from imgvec.quality.comparison import Comparison, Difference, compare, paired
from imgvec.quality.evaluation import ClassResult, Evaluation, evaluate

__all__ = ["ClassResult", "Comparison", "Difference", "Evaluation", "compare", "evaluate", "paired"]
