"""Settings: the only reader of the environment.

Every setting is an environment variable `IMGVEC_…` (`IMGVEC_URI`, `IMGVEC_TOKEN`, …); arguments of the Python API and
options of the command line go before it.
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


class Settings(BaseSettings):
    """What the environment says, and the defaults where it says nothing."""

    model_config = SettingsConfigDict(env_prefix="IMGVEC_", frozen=True, extra="forbid")

    uri: str = Field(default="./imgvec.db", repr=False)  # it may hold a login
    """Where Milvus is: a file path for Milvus Lite, `http(s)://host:port` for a server or a cluster."""
    token: SecretStr | None = None
    """`user:password` or an API key."""
    db_name: str = ""
    """A database of the server; empty for its default one."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds that one call to Milvus may take."""
    retry_seconds: float = Field(default=60.0, ge=0)
    """For how long an ingest tries again what Milvus refuses for the moment: busy, starting, out of reach."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    cache_dir: Path | None = None
    """Where converted weights are kept; None for the platform's cache folder."""

    max_pixels: int = Field(default=50_000_000, ge=1)
    """An image with more pixels is refused from its header."""
    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    """A file with more bytes is refused."""
    formats: Annotated[tuple[str, ...], NoDecode] = FORMATS
    """Formats that are decoded: names between commas, or `+NAME` and `-NAME` to change the usual list."""
    decode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that read and decode; 0 for one a processor, 16 at most."""

    allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks that images may be fetched from although they are not public: CIDR blocks, between commas."""
    roots: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Folders that stored pictures are opened again below, between colons; relative uris start from them. None for all
    that the process may read."""
    fetch_timeout: float = Field(default=30.0, gt=0)
    """Seconds that an image at a URL may take, with every retry and redirect."""

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _networks(cls, given: Any) -> tuple[str, ...]:
        texts = given.split(",") if isinstance(given, str) else given
        return tuple(str(ip_network(text.strip())) for text in texts if text.strip())

    @field_validator("roots", mode="before")
    @classmethod
    def _folders(cls, given: Any) -> Any:
        if isinstance(given, str):
            return tuple(Path(one).expanduser() for one in given.split(os.pathsep) if one) or None
        return given

    @field_validator("formats", mode="before")
    @classmethod
    def _allow_list(cls, given: Any) -> tuple[str, ...]:
        return allow_list(given)

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """The settings, with those `given` that are not None in place of the environment's; raises `SettingsError`."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as exc:
            first = exc.errors(include_input=False)[0]  # the input may be a secret
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise SettingsError(f"IMGVEC_{name.upper()}: {first['msg']}") from None

    decode_processes: int = Field(default=0, ge=0, le=256)
    """Decode in so many processes instead: where threads cannot keep up, or images crash their decoder."""

    @cached_property
    def threads(self) -> int:
        return self.decode_threads or min(16, os.cpu_count() or 1)
