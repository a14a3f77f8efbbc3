"""Fetches one image over HTTP(S): from public addresses only, in bounded time and size.

The host is resolved here, each address is judged, and the connection is made to the judged address itself: a name that
answers otherwise the next time (DNS rebinding) leads nowhere else. TLS names and verifies the host of the URL. Proxies
of the environment are not used, because behind one there is no telling which address is reached. Where a source gives
its `Connections`, the next image from the same host comes over a connection that is there.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import ssl
import time
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from imgvec import __version__
from imgvec.errors import Reason, UnreadableImage
from imgvec.images.addresses import may_connect, parse_networks
from imgvec.images.connections import Connections, Place, Wire
from imgvec.plurals import counted

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may not meet again."""
_BACKOFF = 0.25
"""Seconds before the second try, doubled for each one after it; the real wait is random between half and all of it."""
_CHUNK = 64 * 2**10


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What a fetch may do."""

    allowed_networks: tuple[str, ...] = ()
    """CIDR blocks that may be connected to although they are not public."""
    timeout: float = 30.0
    """Seconds for everything: every try and redirect, from the first connection to the last byte. The system's own
    resolver, which cannot be interrupted, may add its patience."""
    max_redirects: int = 3
    retries: int = 3
    """Tries after the first, of what may pass: 5xx, 429, broken and refused connections."""

    def __post_init__(self) -> None:
        parse_networks(self.allowed_networks)


@dataclass(frozen=True, slots=True)
class UrlReader:
    """The image at `url`; opens a connection of its own for each read where `connections` keeps none."""

    url: str
    policy: FetchPolicy = FetchPolicy()
    connections: Connections | None = field(default=None, compare=False, repr=False)
    """All fetches with these have the same policy. Another process has its own or none."""

    def read(self, max_bytes: int) -> bytes:
        """The body; raises `UnreadableImage`: missing, permission denied, read failed, empty, too large."""
        data = _Fetch(self.url, self.policy, max_bytes, self.connections).run()
        if not data:
            raise UnreadableImage(self.url, "empty")
        return data

    def __reduce__(self) -> tuple[type[UrlReader], tuple[str, FetchPolicy]]:
        return UrlReader, (self.url, self.policy)


def url_trouble(url: str) -> str | None:
    """Why `url` cannot be fetched, None if it can be tried."""
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url) or "\\" in url:
        return "a URL must not contain spaces or control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        return str(exc)
    if parts.scheme not in ("http", "https"):
        return "only http and https are supported"
    if "@" in parts.netloc:
        return "a stored URL must not contain a user name or password"
    if not parts.hostname or port == 0:
        return "it has no host"
    return None


def without_userinfo(url: str) -> str:
    """`url` as it may be printed and stored."""
    head, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return head + slashes + host.rpartition("@")[2] + slash + path


class _PassingError(Exception):
    """What another try may not meet again; `wait` is what the server asked for, in seconds."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class _Fetch:
    """One read of one URL."""

    def __init__(self, url: str, policy: FetchPolicy, max_bytes: int, connections: Connections | None) -> None:
        self._url, self._policy, self._max_bytes, self._connections = url, policy, max_bytes, connections
        self._deadline = time.monotonic() + policy.timeout
        self._networks = parse_networks(policy.allowed_networks)

    def run(self) -> bytes:
        for attempt in range(self._policy.retries + 1):
            try:
                return self._follow()
            except _PassingError as exc:
                backoff = _BACKOFF * 2**attempt
                wait = max(exc.wait, random.uniform(backoff / 2, backoff))  # noqa: S311 - jitter is not secret
                if attempt == self._policy.retries or wait >= self._left():
                    raise self._refusal("read failed", f"{exc}; tried {counted(attempt + 1, 'time')}") from exc
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _follow(self) -> bytes:
        url = self._url
        for _ in range(self._policy.max_redirects + 1):
            if problem := url_trouble(url):
                raise self._refusal("unusable name" if url == self._url else "permission denied", problem)
            answer = self._get(urlsplit(url))
            if isinstance(answer, bytes):
                return answer
            try:
                url = urljoin(url, answer)
            except ValueError as exc:
                raise self._refusal("read failed", f"it redirects to an invalid address: {exc}") from exc
        raise self._refusal("read failed", f"more than {self._policy.max_redirects} redirects")

    def _get(self, parts: SplitResult) -> bytes | str:
        """The body, or where a redirect leads."""
        place = (parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            if self._connections and (idle := self._connections.take(place)):
                # the server may close what is idle at any moment: that is not a failed try
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    return self._asked(idle, place, parts)
            return self._asked(self._connected(place), place, parts)
        except TimeoutError as exc:
            raise self._late() from exc
        except ssl.SSLCertVerificationError as exc:
            raise self._refusal("read failed", f"invalid certificate: {exc.verify_message}") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise _PassingError(f"the connection was lost: {str(exc) or type(exc).__name__}") from exc

    def _asked(self, sock: socket.socket, place: Place, parts: SplitResult) -> bytes | str:
        """One request and its answer; the connection is kept or closed after it."""
        scheme, host, port = place
        keep = False
        try:
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = _PORTS[scheme]  # a usual port is not in `Host`
            connection.sock = cast("socket.socket", Wire(sock, self._deadline))
            target = urlunsplit(("", "", quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"), parts.query, ""))
            headers = {"User-Agent": f"imgvec/{__version__}", "Accept": "image/*, */*;q=0.5"}
            headers |= {"Accept-Encoding": "identity"}
            if self._connections is None:
                headers["Connection"] = "close"
            connection.request("GET", quote(target, safe="/%:@!$&'()*+,;=~?[]"), headers=headers)
            with connection.getresponse() as response:
                answer = self._answer(response)
                # read to its end, and the server waits for the next
                keep = response.isclosed() and not response.will_close
            return answer
        finally:
            if keep and self._connections:
                self._connections.give_back(place, sock)
            else:
                sock.close()

    def _connected(self, place: Place) -> socket.socket:
        """A connection to the first address that may be connected to and answers."""
        scheme, host, port = place
        refused, failure = "", None
        for address in self._addresses(host, port):
            if not may_connect(address, self._networks):
                refused = address
                continue
            try:
                sock = socket.create_connection((address, port), timeout=self._left())
            except OSError as exc:
                failure = exc
                continue
            try:
                sock.settimeout(self._left())
                return _tls().wrap_socket(sock, server_hostname=host) if scheme == "https" else sock
            except BaseException:
                sock.close()
                raise
        if failure is not None:
            raise failure
        raise self._refusal("permission denied", f"{host} is at {refused}, which is not a public address")

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as exc:
            raise self._refusal("unusable name", "the host name is invalid") from exc
        except socket.gaierror as exc:
            if exc.errno == socket.EAI_AGAIN:
                raise _PassingError(f"{host} cannot be resolved: {exc.strerror}") from exc
            raise self._refusal("read failed", f"{host} cannot be resolved: {exc.strerror}") from exc
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def _answer(self, response: http.client.HTTPResponse) -> bytes | str:
        status, location = response.status, response.getheader("Location")
        said = f"{status} {response.reason}"[:100]
        if status in _REDIRECTS and location:
            return location
        if status in _PASSING:
            asked = response.getheader("Retry-After", "")
            raise _PassingError(said, float(asked) if asked.isascii() and asked.isdigit() else 0.0)
        if status in (404, 410):
            raise self._refusal("missing", said)
        if status in (401, 403):
            raise self._refusal("permission denied", said)
        if status != 200:
            raise self._refusal("read failed", said)
        if response.length is not None and response.length > self._max_bytes:
            raise self._too_large()
        return self._decoded(self._body(response), response.getheader("Content-Encoding", "identity").strip().lower())

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := response.read(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_large()
        if response.length:  # what `Content-Length` promised and did not come
            raise _PassingError(f"the connection was lost with {counted(response.length, 'byte')} missing")
        return bytes(body)

    def _decoded(self, body: bytes, encoding: str) -> bytes:
        """A body that was compressed although it was asked for as it is; what it expands to is bounded too."""
        if encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "x-gzip"):
            raise self._refusal(
                "read failed", f"the server sent content-encoding {encoding[:40]!r} without being asked"
            )
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            data = decoder.decompress(body, self._max_bytes + 1)
        except zlib.error as exc:
            raise self._refusal("read failed", f"not gzip, as its header says: {exc}") from exc
        if len(data) > self._max_bytes:
            raise self._too_large()
        if not decoder.eof:
            raise self._refusal("read failed", "its gzip encoding is cut off")
        return data

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> UnreadableImage:
        return self._refusal("read failed", f"timed out after {self._policy.timeout:g} s")

    def _too_large(self) -> UnreadableImage:
        return self._refusal("too large", f"the limit is {self._max_bytes:,} bytes")

    def _refusal(self, reason: Reason, detail: str) -> UnreadableImage:
        return UnreadableImage(without_userinfo(self._url), reason, detail)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
