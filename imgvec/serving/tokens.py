"""Tokens: who may ask, and what. A file keeps their hashes; the token itself is shown once, when it is made.

A line of the file is `name:scopes:hash`, such as `page:read:9f86d0…`, with a SHA-256 in hex. A token holds 256 random
bits, so that a fast hash without salt gives nothing away: there is no guessing to slow down.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.requests import HTTPConnection

from imgvec.errors import SettingsError, TargetError, UsageError

SCOPES = ("read", "write", "admin")
"""Each may do what those before it may."""
OPEN = frozenset({"/livez", "/readyz"})
"""Paths that anybody may ask, as often as they like: they say yes or no."""
_PREFIX = "imgvec_"
_LINE = re.compile(r"([A-Za-z0-9_.-]{1,64}):([a-z,]+):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Token:
    """One that is known by its hash."""

    name: str
    scope: str
    digest: bytes

    @property
    def scopes(self) -> tuple[str, ...]:
        return SCOPES[: SCOPES.index(self.scope) + 1]


class BrokenTokens(SettingsError):
    """The token file cannot be used. What it says holds no token, so that a log may have it."""

    loggable = True


class Tokens:
    """The tokens of a file, read again when it changes: a line that is taken out ends its token at once."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._lock = Path(path), threading.Lock()
        self._state = self._stat()
        self._tokens = self._read()

    def find(self, given: str) -> Token | None:
        """The token, compared with each known hash in constant time; raises `BrokenTokens`."""
        with self._lock:
            if (state := self._stat()) != self._state:
                self._tokens, self._state = self._read(), state
            tokens = self._tokens
        digest, found = _digest(given), None
        for token in tokens:  # all of them, whichever it is
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as exc:
            raise BrokenTokens(f"the token file {self._path} cannot be read: {exc.strerror}") from exc
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BrokenTokens(f"the token file {self._path} can be written by others: chmod go-w it")
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Token, ...]:
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise BrokenTokens(f"the token file {self._path} cannot be read: {exc}") from exc
        tokens = tuple(self._token(number, line) for number, line in enumerate(lines, 1) if _says(line))
        if not tokens:
            raise BrokenTokens(f"the token file {self._path} has no token: add one with --new-token")
        return tokens

    def _token(self, number: int, line: str) -> Token:
        found = _LINE.fullmatch(line.strip())
        scopes = found[2].split(",") if found else []
        if not found or not set(scopes) <= set(SCOPES):
            # without the line, which may be a token that somebody has put there as it is
            raise BrokenTokens(f"{self._path}:{number} is not name:scopes:hash, as --new-token writes it")
        return Token(found[1], max(scopes, key=SCOPES.index), bytes.fromhex(found[3]))


def new_token(path: str | Path, name: str, scopes: Iterable[str] = ("read",)) -> str:
    """A new token, whose hash is added to the file, which is made if it is not there; nobody can read it from there.

    Raises `UsageError` for a name that is taken or odd, or an unknown scope, and `TargetError`.
    """
    path, given = Path(path), list(dict.fromkeys(scopes))
    if not given or not set(given) <= set(SCOPES):
        raise UsageError(f"a token's scopes are of {', '.join(SCOPES)}, not {', '.join(given) or 'none'}")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise UsageError("a token's name has letters, digits, dots, dashes and underscores, 64 at most")
    token = _PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{','.join(given)}:{_digest(token).hex()}\n".encode()
    try:
        before = path.read_bytes() if path.exists() else b""
        if any(each.startswith(f"{name}:".encode()) for each in before.splitlines()):
            raise UsageError(f"{path} has a token called {name!r} already: take its line out first")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as file:
            # an editor may have left the last line without an end
            file.write(b"\n" + line if before and not before.endswith(b"\n") else line)
    except OSError as exc:
        raise TargetError(f"the token file {path} cannot be written: {exc.strerror}") from exc
    return token


class Bearer(AuthenticationBackend):
    """Who asks, by `Authorization: Bearer …`; without tokens, anybody on this machine may do anything."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        if self._tokens is None:
            return AuthCredentials(SCOPES), SimpleUser("")
        if is_public(conn.url.path):
            return None
        given = conn.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or (found := self._tokens.find(token.strip())) is None:
            raise AuthenticationError("a token is needed: Authorization: Bearer …")
        return AuthCredentials(found.scopes), SimpleUser(found.name)


def is_public(path: str) -> bool:
    """Whether a path takes no token: those of `OPEN`, and the page, which asks its visitor for one."""
    return path in OPEN or path == "/" or path.startswith("/page/")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
