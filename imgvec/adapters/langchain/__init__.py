"""LangChain's vector store and retriever over a collection (extra `langchain`, which is langchain-core alone).

    from imgvec import ImageCollection
    from imgvec.adapters.langchain import ImageVectorStore

    store = ImageVectorStore(ImageCollection.open("photos"))
    store.similarity_search_by_image("query.jpg", k=3)
    store.as_retriever(search_kwargs={"k": 3, "where": "width >= 800"}).invoke("a red dress")  # with a CLIP or SigLIP

A document is a stored picture: its `id` is the row's, its `page_content` the picture's uri or a text field
(`content="caption"`), its `metadata` the row's fields. A query is always words, whatever file has such a name.
"""

from imgvec.errors import MissingExtra

try:
    import langchain_core  # noqa: F401 - whether it is there
except ImportError as exc:
    raise MissingExtra("langchain", "imgvec.adapters.langchain needs langchain-core") from exc

from imgvec.adapters.langchain.retriever import ImageRetriever
from imgvec.adapters.langchain.vectorstore import ImageVectorStore

__all__ = ["ImageRetriever", "ImageVectorStore"]
