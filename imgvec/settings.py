"""Settings: the only reader of the environment.

Every setting is an environment variable `IMGVEC_…` (`IMGVEC_URI`, `IMGVEC_TOKEN`, …); arguments in Python and
command-line options override it.
"""

from __future__ import annotations

import os
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from imgvec.errors import SettingsError
from imgvec.formats import FORMATS, allow_list
from imgvec.home import at_home


class Settings(BaseSettings):
    """Values from the environment, or defaults."""

    model_config = SettingsConfigDict(env_prefix="IMGVEC_", frozen=True, extra="forbid")

    uri: str = Field(default="./imgvec.db", repr=False)  # it may hold a login
    """Where Milvus is: a file path for Milvus Lite, `http(s)://host:port` for a server or a cluster."""
    token: SecretStr | None = None
    """`user:password` or an API key."""
    db_name: str = ""
    """Database on the server; empty for the default one."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds that one call to Milvus may take."""
    retry_seconds: float = Field(default=60.0, ge=0)
    """How long an ingest retries while Milvus is busy, starting or unreachable, in seconds."""

    read_retry_seconds: float = Field(default=10.0, ge=0)
    """How long a search, or another read, of a server is repeated while Milvus is busy, starting or unreachable, in
    seconds from its start; not longer than `retry_seconds`. 0 for never.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    cache_dir: Path | None = None
    """Folder for converted weights; None for the platform's cache folder."""

    max_pixels: int = Field(default=50_000_000, ge=1)
    """Images with more pixels are refused by their header."""
    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    """Files with more bytes are refused."""
    formats: Annotated[tuple[str, ...], NoDecode] = FORMATS
    """Formats to decode: names separated by commas, or `+NAME` and `-NAME` to change the usual list."""
    decode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that read and decode; 0 for one per processor, at most 16."""

    allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Non-public networks from which images may be fetched: CIDR blocks, separated by commas."""
    roots: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Folders from which stored pictures may be reopened, separated by colons; relative uris start there. None for
    everything the process may read.
    """
    fetch_timeout: float = Field(default=30.0, gt=0)
    """Seconds to fetch an image from a URL, including retries and redirects."""

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _networks(cls, given: Any) -> tuple[str, ...]:
        texts = given.split(",") if isinstance(given, str) else given
        return tuple(str(ip_network(text.strip())) for text in texts if text.strip())

    @field_validator("roots", mode="before")
    @classmethod
    def _folders(cls, given: Any) -> Any:
        if isinstance(given, str):
            return tuple(at_home(one) for one in given.split(os.pathsep) if one) or None
        return given

    @field_validator("formats", mode="before")
    @classmethod
    def _allow_list(cls, given: Any) -> tuple[str, ...]:
        return allow_list(given)

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """The settings; those `given` that are not None override the environment. Raises `SettingsError`."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as exc:
            first = exc.errors(include_input=False)[0]  # the input may be a secret
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise SettingsError(f"IMGVEC_{name.upper()}: {first['msg']}") from None

    decode_processes: int = Field(default=0, ge=0, le=256)
    """Decode in this many processes instead, if threads cannot keep up or images crash their decoder."""

    @cached_property
    def threads(self) -> int:
        return self.decode_threads or min(16, os.cpu_count() or 1)
