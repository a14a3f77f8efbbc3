"""`python -m imgvec`: the `imgvec` command, where the folder of its script is not on the path."""

from __future__ import annotations

from imgvec.cli import main

if __name__ == "__main__":
    main(prog_name="imgvec")
