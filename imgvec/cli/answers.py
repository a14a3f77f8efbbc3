"""Answers on stdout, and on stderr what they lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from imgvec.cli.matching import tell_meant
from imgvec.cli.options import notice
from imgvec.cli.output import json_text, print_csv, print_json, print_paths, print_table, with_dates
from imgvec.plurals import counted
from imgvec.search.request import MOST_KEPT

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.filters import FieldType
    from imgvec.search.answer import Answer, Hit, Verdict
    from imgvec.search.pages import Pages

    Kinds = Mapping[str, FieldType]
    Row = dict[str, Any]


def print_answer(collection: ImageCollection, answer: Answer, output: str) -> None:
    """One answer, as `table`, `json`, `csv`, `paths` or `html`."""
    kinds = collection.store.fields
    short = answer.shortfall if output == "table" else None  # before anything is printed: it may be counted
    if output == "paths":
        print_paths(hit.uri for hit in answer)
    elif output == "json":
        print_json(_rows(answer, kinds))
    elif output == "csv":
        _print_csv(_rows(answer, kinds), [])
    elif output == "html":
        from imgvec.search.shown import page

        click.echo(page(answer), nl=False)
    else:
        _print_table(answer, kinds, answer.request.options["group_by"] or ())
    for name, facet in answer.facets.items():
        click.echo(f"{name}: {facet}", err=True)  # stdout is for hits
    for name in dict.fromkeys([*(answer.request.options["group_by"] or ()), *answer.facets]):
        tell_meant(name, kinds)
    _tell_incomplete(answer.complete)
    _tell_verdict(answer.verdict, output, f", {counted(len(answer.matches), 'hit')} of {len(answer):,}")
    if short is None:
        return
    if short.reason in ("index", "candidates", "collapse"):
        notice(str(short))
    elif short.reason == "rows" and not answer:
        notice("no more rows match" if answer.request.options["offset"] else "no rows match")
    elif short.reason == "matches" and not answer:
        notice("no more hits are matches" if answer.request.options["offset"] else "no hit is a match")
    elif short.reason == "min_score" and not answer:
        notice("no more hits reach min_score" if answer.request.options["offset"] else "no hit reaches min_score")


def print_answers(collection: ImageCollection, answers: Iterable[Answer], output: str) -> None:
    """Many answers, each with its query: printed as they come, but for CSV, whose header needs all of them.

    JSON is a list of objects with `query`, `error` and `hits`. What could not be asked is named on stderr.
    """
    kinds = collection.store.fields
    asked, failed, complete = 0, 0, True
    gathered: list[Row] = []
    for answer in answers:
        asked, complete = asked + 1, complete and answer.complete
        query = _name(answer)
        if answer.error is not None:
            failed += 1
            notice(str(answer.error))
        if output == "json":
            shown = {"query": query, "error": answer.error and str(answer.error), "hits": _rows(answer, kinds)}
            click.echo(("[\n" if asked == 1 else ",\n") + json_text(shown), nl=False)
        elif output == "csv":
            gathered += ({"query": query, **row} for row in _rows(answer, kinds))
        elif output == "paths":
            print_paths(hit.uri for hit in answer)
        elif answer.error is None:
            click.echo(query)
            _print_table(answer, kinds, answer.request.options["group_by"] or ())
    if output == "json":
        click.echo("\n]" if asked else "[]")
    elif output == "csv":
        _print_csv(gathered, ["query"])
    _tell_incomplete(complete)
    if failed:
        notice(f"{failed:,} of {counted(asked, 'query', 'queries')} could not be asked")


def print_pages(
    collection: ImageCollection, pages: Pages, number: int | None, output: str, *, only_matches: bool = False
) -> None:
    """The first `number` pages, or all, each as it is read: as `table`, `jsonl` (a line a hit) or `paths`."""
    kinds = collection.store.fields
    for page in islice(pages, number):
        if output == "paths":
            print_paths(hit.uri for hit in page)
        elif output == "jsonl":
            for row in _rows(page, kinds):
                click.echo(json_text(row))
        else:
            _print_table(page, kinds)
    _tell_incomplete(pages.complete)
    _tell_verdict(pages.verdict, output)
    if not pages.kept:
        notice("no hit is a match" if only_matches else "no rows match")
    elif number is None and pages.truncated:
        notice(f"the pages end after the best {counted(pages.kept, 'hit')}: --most keeps more, up to {MOST_KEPT:,}")


def _name(answer: Answer) -> str:
    """The query of a source: its path, or its place in an archive."""
    said = answer.request.form.to_dict()
    return str(said.get("image", said.get("name", "")))


def _rows(answer: Iterable[Hit], kinds: Kinds) -> list[Row]:
    return [{**hit.to_dict(), "fields": with_dates(hit.fields, kinds)} for hit in answer]


def _print_csv(rows: Sequence[Row], before: Sequence[str]) -> None:
    place = ["image_id", "view", "box", "at_ms"] if any(row["box"] for row in rows) else []
    own = [*before, "id", "score", "distance", "uri", *place]
    # a dynamic field may be called like one of these
    columns = {name: f"fields.{name}" if name in own else name for row in rows for name in row["fields"]}
    named = ({**row, **{columns[name]: value for name, value in row["fields"].items()}} for row in rows)
    print_csv([*own, *columns.values()], named)


def _print_table(answer: Sequence[Hit], kinds: Kinds, group_by: Sequence[str] = ()) -> None:
    if not answer:
        return
    grouped = [name for name in group_by if name not in ("id", "uri", "score")]
    dated = [name for name, kind in kinds.items() if kind.is_date and name != "ingested_at"]
    named = [*dict.fromkeys([*grouped, *dated])]
    shorter = ({**{name: row["fields"].get(name) for name in named}, **row} for row in _rows(answer, kinds))
    box = ["box"] if any(hit.box for hit in answer) else []
    print_table(["score", *named, "uri", *box, "id"], shorter)


def _tell_verdict(verdict: Verdict | None, output: str, many: str = "") -> None:
    """In a table's place alone: JSON has it with each hit, and who pipes paths wants paths."""
    if verdict is None:
        return
    if output == "table":
        many = many if verdict.match else ""
        click.echo(f"{verdict} at a false-match rate of {verdict.false_match_rate:.3g}{many}", err=True)
    if verdict.note:
        notice(verdict.note)


def _tell_incomplete(complete: bool) -> None:
    if not complete:
        notice("the answer may lack rows: the server's query nodes changed a moment ago; ask again in a minute")
