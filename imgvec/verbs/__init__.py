"""What is done to a collection as a whole: functions of an `ImageCollection`, which `imgvec` exports.

index.py     build_index, plan_index, index_status, set_search_defaults: the vector index as it is; scratch_copy
tuning.py    verify, tune, compare_indexes, apply_tuning: what it answers, and how it is best searched
queries.py   what tuning asks with: a folder of images, or an .npy file
quality.py   evaluate, compare: how good the hits are, by labels
calibration.py  calibrate: from which score on a hit is a match
recommendation.py  recommend, refine: what is like examples, and like the hits that were right
curation.py  duplicates, contact_sheet, delete_duplicates
names.py     set_alias, drop_alias, rename
exchange.py  import_vectors, export_vectors, and collections for vectors that were made elsewhere

Each renders filters, takes the collection's settings for its own, and calls a room that knows no collection.
"""
