"""A collection for agents, by the Model Context Protocol (extra `mcp`, the official SDK).

    imgvec mcp -c photos            # over stdio: an agent's program starts it

    from imgvec.adapters.mcp.server import make_server

    make_server(AsyncImageCollection(photos)).streamable_http_app(stateless_http=True)  # for an application of yours

    server.py     the server: what it says of itself, its tools and resources
    tools.py      the tools, a method each
    answers.py    what they answer: the schemas of their structured content
    arguments.py  their arguments, as the collection's options state them, and what is said of wrong ones
    pictures.py   thumbnails of bounded bytes, and links to the other pictures

An agent passes on what strangers wrote. So forms are made here and never guessed: words are searched for as words, an
id is looked up as an id, a picture is base64 and nothing is opened or fetched for it; filters are parsed, an argument
that no tool has is refused, and everything that is sent back is bounded.
"""
