"""Vectors in and out: import files of other tools, export collections.

source.py     what a file of vectors is, whatever its format
npy.py        NumPy arrays             parquet.py    Parquet files and folders
faiss.py      Faiss indexes            annoy.py      Annoy files
beside.py     ids and metadata in a file of their own, row by row
reading.py    which format a file has
importing.py  a source into a collection
exporting.py  a collection into Parquet parts, and those into one file; arrow.py: rows as Arrow tables
unbound.py    a new collection for existing vectors
"""

from imgvec.exchange.exporting import ExportReport, export_vectors
from imgvec.exchange.importing import ImportReport, import_vectors
from imgvec.exchange.reading import open_source
from imgvec.exchange.source import Chunk, VectorSource
from imgvec.exchange.unbound import NoEncoder, made_for, no_encoders, unbound, unbound_binding

__all__ = [
    "Chunk",
    "ExportReport",
    "ImportReport",
    "NoEncoder",
    "VectorSource",
    "export_vectors",
    "import_vectors",
    "made_for",
    "no_encoders",
    "open_source",
    "unbound",
    "unbound_binding",
]
