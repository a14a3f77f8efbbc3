"""`imgvec serve`: collections over HTTP, for other programs and for strangers.

    from imgvec.serving.running import create_app, run

    app = create_app({"photos": photos})   # any ASGI server takes it
    run({"photos": photos}, port=8000)     # uvicorn, until Ctrl-C or SIGTERM

What comes in passes `door` (ids, origins, headers, logs), `tokens` and `limits`; `bodies` and `questions` make forms of
it, never by guessing, so that nobody's text is opened as a path; `lanes` run the work in threads, so that what needs no
encoder never waits for it. `asking`, `browsing`, `pictures`, `reading` and `health` are the routes, and `front`
the page at /, whose files lie in the folder `page`. The extra `serve` is needed for all but the options.
"""

from imgvec.serving.options import ServeOptions

__all__ = ["ServeOptions"]
