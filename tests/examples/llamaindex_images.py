"""Pictures in LlamaIndex: a folder as an image retriever, asked by a picture and, with a text side, by words.

    pip install 'imgvec[offline,llamaindex]'
    python llamaindex_images.py FOLDER QUERY.jpg [WORDS]

Words need an encoder with a text side, which IMGVEC_EXAMPLE_MODEL names: openai/clip-vit-base-patch32, for example.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from imgvec import ImageCollection
from imgvec.adapters.llamaindex import ImageRetriever


def main(folder: str, query: str, words: str = "") -> None:
    model = os.environ.get("IMGVEC_EXAMPLE_MODEL", "pypi:dinov2-small-11")
    with ImageCollection.create("example", definition={"encoder": {"model": model}}, uri="example.db") as photos:
        photos.ingest(folder)
        retriever = ImageRetriever(photos, limit=3)

        print("Most like the picture:")
        for found in retriever.image_to_image_retrieve(query):
            print(f"  {found.score:.3f} {Path(found.node.image_path).name} {found.node.image_mimetype}")

        if words:
            nodes = retriever.text_to_image_retrieve(words)
            print("Most like the words:", *(Path(found.node.image_path).name for found in nodes))


if __name__ == "__main__":
    main(*sys.argv[1:])
