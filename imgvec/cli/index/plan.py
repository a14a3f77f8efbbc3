"""`imgvec index plan`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from imgvec import catalog
from imgvec.cli.options import opened, output_option
from imgvec.cli.output import print_json, print_table
from imgvec.cli.stated import options_of
from imgvec.definition import ViewsSection
from imgvec.indexes.plan import Proposal, size
from imgvec.indexes.plan import plan as ranked
from imgvec.indexes.workload import PlanOptions
from imgvec.options.vector import VectorOptions
from imgvec.plurals import counted
from imgvec.rows import VECTOR

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)(B?)\Z", re.IGNORECASE)


def _bytes(text: str) -> int:
    """KB, MB, GB and TB are powers of 1000; KiB to TiB, and plain K to T, are powers of 1024."""
    found = _SIZE.match(text.strip())
    if not found or (found[3] and not found[2]):
        raise click.BadParameter(f"{text!r} is not a size such as 8GiB, 512MB or 8G.")
    step = 1000 if found[4] and not found[3] else 1024
    count = int(float(found[1]) * step ** " KMGT".index(found[2].upper() or " "))
    if count < 1:
        raise click.BadParameter(f"{text!r} is zero: give a size such as 8GiB.")
    return count


@click.command()
@click.option(
    "-c", "--collection", "name", metavar="NAME", help="Take rows, dimension and vector type from this collection."
)
@options_of(VectorOptions)
@click.option("--rows", type=click.IntRange(min=1), metavar="N", help="Number of vectors, now or later.")
@click.option("--pictures", type=click.IntRange(min=1), metavar="N", help="With -c: number of pictures instead.")
@click.option("--dim", type=click.IntRange(1, catalog.MAX_DIM), metavar="D", help="Dimension of the vectors.")
@click.option(
    "--vector-type",
    type=click.Choice(list(catalog.VECTOR_TYPES)),
    help="How vectors are stored.  [default: FLOAT_VECTOR]",
)
@click.option(
    "--memory", type=_bytes, metavar="SIZE", help="Memory of one query node, such as 8GiB.  [default: unlimited]"
)
@click.option("--gpu-memory", type=_bytes, metavar="SIZE", help="Memory of one GPU on the server.  [default: no GPU]")
@options_of(PlanOptions)
@output_option("table", "json", "yaml")
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    name: str | None,
    vector: str,
    rows: int | None,
    pictures: int | None,
    dim: int | None,
    vector_type: str | None,
    output: str,
    **wanted: Any,
) -> None:
    """Rank the index types for a collection or a number of vectors.

    Shows the memory and build cost of each, and why it has its rank. With -c, index types that the backend lacks come
    last, with the reason; without it, no backend is contacted. -o yaml prints the best proposal as sections of a
    definition. Sizes cover the vector field of one replica. The search parameters are a starting point for `index
    tune`.
    """
    metric, cost = "COSINE", ""
    if name is not None:
        import imgvec

        if dim or vector_type:
            raise click.UsageError("-c already determines --dim and --vector-type: leave them out.")
        with opened(ctx, name) as collection:
            metric = collection.store.vector(vector).metric_type
            proposals = imgvec.plan_index(collection, vector=vector, rows=rows, pictures=pictures, **wanted)
            if views := collection.definition.views:
                cost = _cost(views, pictures)
    elif pictures is not None:
        raise click.UsageError("--pictures needs -c, which says how many rows each has: use --rows.")
    elif vector != VECTOR:
        raise click.UsageError("--vector needs -c.")
    elif rows is None or dim is None:
        raise click.UsageError("Say what the index is for: use --rows and --dim, or -c.")
    else:
        proposals = ranked(rows, dim, vector_type=vector_type or "FLOAT_VECTOR", **wanted)
    if output == "json":
        print_json([{**asdict(each), "since": ".".join(map(str, each.since))} for each in proposals])
    elif output == "yaml":
        click.echo(_sections(proposals, metric), nl=False)
    else:
        _print(proposals, gpu=wanted["gpu_memory"] is not None)
        if cost:
            click.echo(cost)


def _cost(views: ViewsSection, pictures: int | None) -> str:
    """What a collection's views cost, of so many pictures."""
    many = "" if pictures is None else f": {counted(pictures, 'picture')} have {pictures * views.most:,} at most"
    passes = f"encoded up to {views.most:,} times"
    if views.passes > views.most:
        passes += ", and looked at once more by an encoder with patch tokens"
    return f"Views: up to {views.most:,} rows a picture{many}. Each picture is decoded once, {passes}."


def _print(proposals: Sequence[Proposal], gpu: bool) -> None:
    # without a GPU, the GPU indexes are a long tail that all say the same
    shown = [each for each in proposals if gpu or catalog.index_type(each.type).device != "gpu"]
    said = Counter(reason.says for each in shown for reason in each.reasons)
    rows = [_row(number, each, said) for number, each in enumerate(shown, start=1)]
    print_table([column for column in rows[0] if any(row[column] for row in rows)], rows)
    for number, each in enumerate(shown[:3], start=1):
        click.echo(f"{number}. {_label(each)}: {each.expected}")
        for reason in each.reasons:
            click.echo(f"   - {reason.says} ({reason.source})")
        if each.settings:
            click.echo(f"   - server setting needed: {_pairs(each.settings)}")
        if each.build_cost:
            click.echo(f"   - build cost: {each.build_formula}")
    click.echo("For all reasons and sources: -o json." + ("" if gpu else " For GPU indexes: --gpu-memory."))


def _row(number: int, each: Proposal, said: Mapping[str, int]) -> dict[str, str]:
    problem = each.reasons[0].says if not (each.fits and each.reaches) else None
    own = min((reason.says for reason in each.reasons), key=lambda says: said[says])  # what the fewest others share
    return {
        "": str(number),
        "index": _label(each),
        "parameters": f"{_pairs(each.build)} {_pairs(each.search)}".strip(),
        "memory": size(each.memory),
        "disk": size(each.disk) if each.disk else "",
        "gpu": size(each.gpu) if each.gpu else "",
        "nodes": str(each.nodes),
        "build cost": f"{each.build_cost:.1e}" if each.build_cost else "",
        "why": f"not available: {each.why_not}" if each.why_not else problem or own,
    }


def _label(each: Proposal) -> str:
    short = each.vector_type.removesuffix("_VECTOR")
    return each.type if short in ("FLOAT", "BINARY") else f"{each.type} {short}"


def _pairs(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={str(value).lower() if value is True else value}" for key, value in params.items())


def _sections(proposals: Sequence[Proposal], metric: str) -> str:
    """The first proposal as the sections `vector`, `index` (and `num_shards`) of a definition."""
    import yaml

    best = proposals[0]
    if best.vector_type == "BINARY_VECTOR":
        raise click.UsageError("Definitions do not support binary vectors: use -o table or json.")
    on_gpu = catalog.index_type(best.type).device == "gpu"
    chosen = {"gpu" if on_gpu else "cpu": best}
    if on_gpu:  # what the same definition makes of a backend without one
        others = (each for each in proposals if catalog.index_type(each.type).device == "cpu")
        chosen["cpu"] = next(each for each in others if each.vector_type == best.vector_type)
        # not every GPU version has COSINE, and imgvec's vectors have unit length
        metric = "IP" if metric == "COSINE" else metric
    sections: dict[str, Any] = {
        "vector": {"type": best.vector_type, "metric_type": metric},
        "index": {
            device: {"type": each.type, "params": dict(each.build), "search": dict(each.search)}
            for device, each in sorted(chosen.items())
        },
    }
    if best.shards > 1:
        sections["num_shards"] = best.shards
    notes = [f"{_label(best)}: {best.expected}", *(f"{reason.says} ({reason.source})" for reason in best.reasons)]
    if best.why_not:
        notes.append(f"not available on this backend: {best.why_not}")
    if best.settings:
        notes.append(f"server setting needed: {_pairs(best.settings)}")
    text: str = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None)
    return "".join(f"# {note}\n" for note in notes) + text
