"""What was seen before is known again, however the table grows."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from imgvec.sources.seen import Seen, hash64


def test_the_first_claim_counts() -> None:
    seen = Seen()
    assert (seen.claim(5, 7), seen.claim(5, 8), seen.claim(5)) == (None, 7, 7)
    assert (seen.claim(6), seen.claim(6, 9)) == (None, 1)
    assert len(seen) == 2


def test_zero_is_a_key_and_the_same_as_one() -> None:
    seen = Seen()
    assert (seen.claim(0, 3), seen.claim(0, 4), seen.claim(1, 5), len(seen)) == (None, 3, 3, 1)


@pytest.mark.parametrize("step", [1, 4, 1024, 1 << 40])
def test_every_key_is_found_again_while_it_grows(step: int) -> None:
    seen = Seen(slots=4)
    for n in range(1, 200):
        assert seen.claim(n * step, n) is None
        assert len(seen) == n
        assert [seen.claim(m * step) for m in range(1, n + 1)] == list(range(1, n + 1))
    assert seen.claim((1 << 64) - 1, (1 << 64) - 1) is None
    assert seen.claim((1 << 64) - 1) == (1 << 64) - 1


def test_it_grows_when_two_thirds_are_full_and_doubles() -> None:
    seen = Seen()
    slots = []
    for n in range(1, 1367):
        seen.claim(n)
        slots.append(len(seen._keys))
        assert len(seen._keys) == len(seen._marks)
    assert slots == [1024] * 682 + [2048] * (1365 - 682) + [4096]


def test_keys_of_one_slot_lie_one_after_another_and_around_the_end() -> None:
    seen = Seen(slots=8)
    for n, key in enumerate((7, 15, 23, 8, 31)):
        assert seen.claim(key, n + 1) is None
    assert list(seen._keys) == [15, 23, 8, 31, 0, 0, 0, 7]
    assert [seen.claim(key) for key in (7, 15, 23, 8, 31)] == [1, 2, 3, 4, 5]


def test_a_hash_of_texts() -> None:
    def by_hand(*texts: bytes) -> int:
        data = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

    assert hash64("ab", "c") == by_hand(b"ab", b"c") != hash64("a", "bc")
    assert hash64() == by_hand()
    assert hash64("ä\udc80") == by_hand("ä".encode() + b"\xed\xb2\x80")
