"""Addresses: what is one, and what of it is shown."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus import connect
from imgvec.milvus.connecting import redacted

SECRET = "geheim-7"


def failure(uri: str, **options: object) -> BackendError:
    with pytest.raises(BackendUnavailable) as raised:
        connect(uri, **options)  # type: ignore[arg-type]
    return raised.value


@pytest.fixture
def silent_uri() -> Iterator[str]:
    """A host that takes connections and never says a word, as a stopped server's kernel does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("localhost:19530", "neither a Milvus Lite file"),
        ("photos", "neither a Milvus Lite file"),
        ("ftp://host:1", "not the address of a Milvus server"),
        ("http://", "not the address of a Milvus server"),
        ("http://host:abc", "the port must be a number"),
        ("http://host:99999", "the port must be a number"),
        ("http://[::1", "check the host"),
        ("http://127.0.0.1:1", "check that the server is running"),
        ("http://no.such.host.invalid:19530", "check its name"),
    ],
)
def test_each_wrong_address_has_its_own_sentence(uri: str, says: str) -> None:
    assert says in str(failure(uri, timeout=5))


@pytest.mark.alone
def test_a_server_that_does_not_answer_is_given_up_in_time(silent_uri: str) -> None:
    start = time.monotonic()
    error = failure(silent_uri, timeout=0.5)
    assert time.monotonic() - start < 3
    assert "did not answer within 0.5 s" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    "uri",
    [
        f"http://root:{SECRET}@127.0.0.1:1",
        f"http://root:{SECRET}@host:abc",
        f"http://root:{SECRET}@[::1",
        f"ftp://root:{SECRET}@host:1",
        f"http://root:a@{SECRET}@127.0.0.1:1",
    ],
)
def test_a_password_stands_in_no_message_and_no_traceback(uri: str) -> None:
    error = failure(uri, timeout=1)
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in redacted(uri)


def test_a_token_stands_in_no_traceback(silent_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    error = failure(silent_uri, token=SecretStr(SECRET), timeout=0.5)
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in caplog.text


def test_redacting_keeps_what_is_no_login() -> None:
    assert redacted("https://user:pw@host:1/db") == "https://host:1/db"
    assert redacted("http://host:1/a") == "http://host:1/a"
    # a password may hold a slash: rather half an address too little than half a password
    assert redacted("http://root:top/secret@host") == "http://host"
    assert redacted("root:secret@host:1") == "host:1"
    assert redacted("./a@b.db") == "./a@b.db"
