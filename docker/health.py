"""The image's health check: exits with 0 if what runs in the container does its work.

`imgvec serve` is asked whether it is ready, where its own command says that it listens. Any other command is well as
long as it runs: it ends by itself, and its exit status says how it went. Started by a shell or another entry point,
serve is not recognised.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from imgvec.cli import main

PATIENCE = 12.0
"""Seconds for an answer: `/readyz` gives a Milvus that has just gone ten, and then says no."""
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what serve is told, not what this listens on


def listens(command: Sequence[str]) -> tuple[str, int] | None:
    """Where `imgvec serve` of this command line listens; None for any other command."""
    names = [Path(word).name for word in command]
    if "imgvec" not in names:
        return None
    before = click.Command("imgvec", params=main.params, context_settings={"ignore_unknown_options": True})
    before.allow_extra_args, before.allow_interspersed_args = True, False
    outer = before.make_context("imgvec", list(command[names.index("imgvec") + 1 :]))
    if outer.args[:1] != ["serve"]:
        return None
    serve = main.get_command(outer, "serve")
    assert serve is not None
    given = serve.make_context("serve", outer.args[1:], parent=outer).params
    return (ANY.get(given["host"], given["host"]), given["port"]) if given["new_token"] is None else None


def check(command: Sequence[str]) -> int:
    """The exit status; says on stdout what was answered, which `docker inspect` shows."""
    where = listens(command)
    if where is None:
        return 0
    # not urllib, which would ask a proxy that the environment names
    connection = http.client.HTTPConnection(*where, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        found = connection.getresponse()
        click.echo(f"{found.status} {found.read().decode()}")
        return int(found.status != 200)
    except (OSError, http.client.HTTPException) as exc:
        click.echo(f"imgvec serve does not answer at {where[0]}, port {where[1]}: {exc}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(check(Path("/proc/1/cmdline").read_text().rstrip("\0").split("\0")))
