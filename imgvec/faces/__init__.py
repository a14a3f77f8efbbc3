"""Faces in pictures, and the people they belong to.

    model.py     what finds, aligns and encodes faces: the protocol that other libraries plug in by
    dlib_model.py   dlib's: HOG or CNN detector, 5-point predictor, recognition network
    finding.py   a model's faces of a picture, at a bounded size;  encoder.py  a model as a collection's encoder
    people.py    who is enrolled, kept beside the collection
    matching.py  whose face it is;  rates.py  at which distance, and how often that is wrong
    groups.py    faces that nobody has a name for, together

A model is chosen by the encoder of a collection whose definition has `views: {faces: N}`. Distances between faces are
Euclidean, d(a, b) = sqrt(sum((a_i - b_i)^2)), whatever the model: smaller is more alike.
"""

from __future__ import annotations

from imgvec.faces.encoder import FaceEncoder
from imgvec.faces.finding import Face, Finder, check_encoder, finder_of
from imgvec.faces.model import Detected, FaceModel

__all__ = ["Detected", "Face", "FaceEncoder", "FaceModel", "Finder", "check_encoder", "finder_of"]
