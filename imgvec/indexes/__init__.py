"""The index rooms: every Milvus index type as data, and what chooses, builds, verifies and tunes them."""
