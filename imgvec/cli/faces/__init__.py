"""`imgvec faces`: enrol, people, identify, verify, cluster, forget; a file a command."""

from __future__ import annotations

import click

from imgvec.cli.lazy import LazyGroup


class _Faces(LazyGroup):
    package = "imgvec.cli.faces"
    names = frozenset({"cluster", "enrol", "forget", "identify", "people", "verify"})


@click.group(cls=_Faces)
def faces() -> None:
    """Say whose faces they are, in a collection of faces.

    Consent and law come first: the README says what this must not be used for.
    """
