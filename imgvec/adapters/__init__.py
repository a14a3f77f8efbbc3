"""Other programs' interfaces to a collection: thin leaves over the public names, an extra each.

    langchain/     ImageVectorStore and ImageRetriever (extra `langchain`)
    llamaindex.py  ImageRetriever (extra `llamaindex`)
    mcp/           a server for agents (extra `mcp`)
    inline.py      pictures that come within a text

What they are given by others is never guessed at: a query is words, a picture or an id by the method that takes it, and
no text is opened as a path.
"""
