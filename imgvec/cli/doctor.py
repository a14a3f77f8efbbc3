"""`imgvec doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from imgvec.cli.options import output_option, settings
from imgvec.cli.output import print_json

_MARKS = {"ok": "ok", "warning": "!", "wrong": "WRONG"}


@click.command()
@output_option("text", "json")
@click.pass_context
def doctor(ctx: click.Context, output: str) -> None:
    """Check what is reachable, what it supports and what is wrong; exits with 1 if anything is.

    Names each known fault of the Milvus server's release that touches it or one of its collections, with the release
    that mends it and a link.
    """
    from imgvec.doctor import examine

    findings = []
    for finding in examine(settings(ctx)):
        findings.append(finding)
        if output == "text":
            click.echo(f"{_MARKS[finding.state]:<6} {finding.subject}: {finding.said}")
    if output == "json":
        # what only a fault has is left out of the others
        print_json([{name: value for name, value in asdict(each).items() if value} for each in findings])
    if any(finding.state == "wrong" for finding in findings):
        ctx.exit(1)
