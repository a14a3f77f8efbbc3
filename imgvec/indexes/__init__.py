"""The index room: what plans, verifies, tunes and compares indexes, whose types are data in `imgvec.catalog`."""
