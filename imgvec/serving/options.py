"""The options of `imgvec serve`, stated once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from typing_extensions import TypedDict

from imgvec.options import Option


class ServeOptions(TypedDict, total=False):
    """Where it listens, whom it lets in, and how much it takes on."""

    host: Annotated[
        str,
        Option("127.0.0.1", json=False, metavar="ADDRESS", help="Address to listen on; any but loopback needs tokens."),
    ]
    port: Annotated[
        int, Option(8000, at_least=0, at_most=65_535, json=False, help="Port to listen on; 0 is a free one.")
    ]
    token_file: Annotated[
        str | None,
        Option(
            json=False, metavar="FILE", help="Only requests with a token of this file are answered; see --new-token."
        ),
    ]
    root: Annotated[
        Sequence[str] | None,
        Option(
            json=False,
            metavar="DIR",
            help="Folder from which stored pictures are shown, and sources ingested; repeatable. By default "
            "IMGVEC_ROOTS, else none is.",
        ),
    ]
    upload_dir: Annotated[
        str | None,
        Option(
            json=False,
            metavar="DIR",
            help="Take pictures that are uploaded into collections, and keep them here, named by their content; "
            "they are shown from here. By default none is taken.",
        ),
    ]
    upload_space: Annotated[
        int,
        Option(
            10 * 2**30,
            at_least=0,
            json=False,
            metavar="BYTES",
            help="Space that uploads may take up in all; what is beyond is refused with 507; 0 for any.",
        ),
    ]
    jobs_dir: Annotated[
        str | None,
        Option(
            json=False,
            metavar="DIR",
            help="Folder that remembers jobs, such as ingests, so that they go on after a stop. By default beside "
            "Milvus Lite's file, else in the user's state folder.",
        ),
    ]
    job_queue: Annotated[
        int,
        Option(16, at_least=0, json=False, help="Jobs of a collection that wait for one that runs; others get 503."),
    ]
    allow_host: Annotated[
        Sequence[str] | None,
        Option(
            json=False,
            metavar="NAME",
            help="Also answer requests for this host; repeatable. By default loopback names, or any name with tokens.",
        ),
    ]
    allow_origin: Annotated[
        Sequence[str] | None,
        Option(json=False, metavar="ORIGIN", help="Let pages of this origin ask, as https://example.org; repeatable."),
    ]
    rate: Annotated[
        float,
        Option(
            100.0,
            at_least=0,
            json=False,
            metavar="N",
            help="Requests a second of one client, twice that at once; 0 for any.",
        ),
    ]
    max_body: Annotated[
        int, Option(32 * 2**20, at_least=1024, json=False, metavar="BYTES", help="A larger request is refused unread.")
    ]
    at_once: Annotated[
        int,
        Option(32, at_least=1, at_most=1024, json=False, help="Requests of one kind that are worked on at once."),
    ]
    queue: Annotated[
        int, Option(64, at_least=0, json=False, help="Requests of one kind that wait beyond these; others get 503.")
    ]
    deadline: Annotated[
        float,
        Option(60.0, above=0, json=False, metavar="SECONDS", help="Longest time to read a request, or to answer it."),
    ]
    mcp: Annotated[
        bool,
        Option(
            False,
            json=False,
            help="Also let agents search, by the Model Context Protocol at /mcp/NAME; an only one also at /mcp.",
        ),
    ]
