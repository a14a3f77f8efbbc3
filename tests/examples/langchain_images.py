"""Pictures in LangChain: a folder as a vector store, asked by a picture and, with a text side, by words.

    pip install 'imgvec[offline,langchain]'
    python langchain_images.py FOLDER QUERY.jpg [WORDS]

Words need an encoder with a text side, which IMGVEC_EXAMPLE_MODEL names: openai/clip-vit-base-patch32, for example.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from pathlib import Path

from langchain_core.runnables import RunnableLambda

from imgvec import ImageCollection
from imgvec.adapters.langchain import ImageRetriever, ImageVectorStore


def main(folder: str, query: str, words: str = "") -> None:
    model = os.environ.get("IMGVEC_EXAMPLE_MODEL", "pypi:dinov2-small-11")
    with ImageCollection.create("example", definition={"encoder": {"model": model}}, uri="example.db") as photos:
        store = ImageVectorStore(photos)
        store.add_images(sorted(Path(folder).iterdir()))

        print("Most like the picture:")
        for document, score in store.similarity_search_by_image_with_score(query, k=3):
            print(f"  {score:.3f} {Path(document.metadata['uri']).name} {document.metadata['width']} pixels wide")

        # a retriever is a Runnable: one more step of a chain, whose queries are pictures within a text
        retriever = ImageRetriever(store=store, query="image", k=3, options={"diversity": 0.5})
        names = RunnableLambda(lambda found: [Path(each.metadata["uri"]).name for each in found])
        sent = b64encode(Path(query).read_bytes()).decode()
        print("Like it, and unlike each other:", *(retriever | names).invoke(sent))

        if words:
            found = store.as_retriever(search_kwargs={"k": 3}).invoke(words)
            print("Most like the words:", *(Path(each.metadata["uri"]).name for each in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
