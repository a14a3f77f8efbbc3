"""`imgvec calibrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from typing_extensions import Unpack

from imgvec.cli.options import collection_option, notice, opened, output_option
from imgvec.cli.output import named, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.plurals import counted
from imgvec.quality.options import CalibrateOptions

if TYPE_CHECKING:
    from imgvec.quality.calibration import Calibration


@click.command()
@collection_option
@options_of(CalibrateOptions)
@output_option("table", "json")
@click.pass_context
def calibrate(ctx: click.Context, name: str, output: str, **options: Unpack[CalibrateOptions]) -> None:
    """Measure from which score on a hit is a match.

    The collection's own pictures, each searched for without itself, are queries without a match; edited copies of them,
    or with --label pictures of the same label, are matches. It is kept with the collection: from then on every answer
    has a verdict, every hit a p-value and a probability, and search --only-matches leaves out what is no match. Prints
    for each false-match rate an upper 95 % bound of it, and how many of the matches are found.
    """
    import imgvec

    told: list[str] = []
    options["on_notice"] = told.append
    with opened(ctx, name) as collection:
        with bar() as options["on_progress"]:
            found = imgvec.calibrate(collection, **options)
        for each in told:  # once the bar is gone
            notice(each)
        if output == "json":
            print_json(found.to_dict())
        else:
            _print(named(collection.name, found.vector), found)


def _print(name: str, found: Calibration) -> None:
    half = counted(len(found.negatives), "picture")
    click.echo(f"{name}: {counted(found.pictures, 'picture')} searched for without themselves, {half} to promise by")
    said = found.to_dict()
    # the best row of a stranger has so high a score at most: what duplicates are looked for from
    columns = ["false matches", "at most", "from T", "from score"]
    print_table(
        columns,
        [
            dict(zip(columns, (f"{each['rate']:.2%}", f"{each['bound']:.2%}", each["threshold"], each["least_score"]),
                     strict=True))
            for each in said["rates"]
        ],
    )  # fmt: skip
    if said["found"]:
        every = said["found_of_all"] if len({each["kind"] for each in said["found"]}) > 1 else []
        print_table(["matches", "false matches", "found", "low", "high", "of"], map(_row, [*said["found"], *every]))
    if found.label is not None:
        click.echo(
            f"The rate is promised for pictures whose {found.label} is not stored, as far as these are like the "
            "others; how many matches are found is measured above, and not promised."
        )
    if found.twins:
        notice(f"{counted(found.twins, 'hit')} left out as the same picture, stored more than once")
    if found.alike > max(found.pictures * 0.01, 1):
        notice(
            f"{counted(found.alike, 'picture')} with another that is as near as a known match: where these are copies, "
            "delete them and calibrate again, to find more"
        )


def _row(each: dict[str, Any]) -> dict[str, Any]:
    return {
        "matches": each["kind"],
        "false matches": f"{each['rate']:.2%}",
        "found": each["share"],
        "low": each["low"],
        "high": each["high"],
        "of": each["of"],
    }
