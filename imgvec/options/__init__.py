"""Options are stated once: a `TypedDict` whose fields are `Annotated[T, Option(default, help=…)]`.

    class SearchOptions(TypedDict, total=False):
        limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="How many hits.")]

    @documented(SearchOptions)
    def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer:
        return self._search(query, settled(SearchOptions, options))

From that one declaration come the keywords of the public method (PEP 692, which type checkers follow), the checked
value with every default filled in (`settled`), the options of the command (`imgvec.cli.stated`), the body of a request
to a server and its JSON schema (`json_model`), and what `help()` and a notebook show (`documented`).

The TypedDict is that of `typing_extensions`, which pydantic asks for on Python 3.11. Its types are looked up when the
program runs, so what they name is imported, and not only under TYPE_CHECKING.
"""

from imgvec.options.outward import documented, json_model
from imgvec.options.settling import altered, settled, taken
from imgvec.options.statement import Option, Stated, python_only, stated

__all__ = ["Option", "Stated", "altered", "documented", "json_model", "python_only", "settled", "stated", "taken"]
