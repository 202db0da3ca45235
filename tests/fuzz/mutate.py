"""Changes inputs as an attacker would: words and pieces of other inputs put in, cut out, doubled,
respelt.

libFuzzer's own mutations know bytes alone; these know what stands between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

_EDITS_MAX: Final = 4
_PIECE_MAX: Final = 24


class Mutator:
    """Makes new inputs of `pool`, which it only reads, with `words`. `head`: leading bytes that
    choose, and are changed as numbers.
    """

    def __init__(self, pool: Sequence[bytes], words: Sequence[bytes], *, head: int = 1) -> None:
        self._pool = pool
        self._words = words
        self._head = head

    def __call__(self, data: bytes, size: int, random: Random) -> bytes:
        """Return another input of at most `size` bytes, made from `data`."""
        head, rest = bytearray(data[: self._head].ljust(self._head, b"\0")), data[self._head :]
        if head and random.random() < 0.1:
            head[random.randrange(self._head)] = random.randrange(256)
        for _ in range(random.randint(1, _EDITS_MAX)):
            rest = random.choice(_EDITS)(self, rest, random)
        return bytes(head) + rest[: max(0, size - len(head))]

    def insert(self, data: bytes, random: Random) -> bytes:
        """Put in a word."""
        at = random.randint(0, len(data))
        return data[:at] + random.choice(self._words) + data[at:]

    def replace(self, data: bytes, random: Random) -> bytes:
        """Put a word in the place of a piece, or of another word."""
        word, other = random.choice(self._words), random.choice(self._words)
        at = data.find(other)
        if at >= 0:
            return data[:at] + word + data[at + len(other) :]
        start, end = _span(data, random)
        return data[:start] + word + data[end:]

    def cut(self, data: bytes, random: Random) -> bytes:
        """Take out a piece."""
        start, end = _span(data, random)
        return data[:start] + data[end:]

    def double(self, data: bytes, random: Random) -> bytes:
        """Put in a piece a second time, somewhere."""
        start, end = _span(data, random)
        at = random.randint(0, len(data))
        return data[:at] + data[start:end] + data[at:]

    def splice(self, data: bytes, random: Random) -> bytes:
        """Put in a piece of another input."""
        other = random.choice(self._pool)[self._head :]
        start, end = _span(other, random, len(other))
        at, to = _span(data, random) if random.random() < 0.5 else (len(data), len(data))
        return data[:at] + other[start:end] + data[to:]

    def flip(self, data: bytes, random: Random) -> bytes:
        """Change one byte."""
        if not data:
            return bytes([random.randrange(256)])
        at = random.randrange(len(data))
        byte = data[at] ^ (1 << random.randrange(8)) if random.random() < 0.5 else 0
        return data[:at] + bytes([byte or random.randrange(256)]) + data[at + 1 :]

    def respell(self, data: bytes, random: Random) -> bytes:
        """Write one byte as an escape, or in the other case."""
        if not data:
            return data
        at = random.randrange(len(data))
        one = data[at : at + 1]
        spelt = one.swapcase() if random.random() < 0.5 else b"%%%02x" % one[0]
        return data[:at] + spelt + data[at + 1 :]


_EDITS: Final[tuple[Callable[[Mutator, bytes, Random], bytes], ...]] = (
    Mutator.insert,
    Mutator.insert,
    Mutator.replace,
    Mutator.cut,
    Mutator.double,
    Mutator.splice,
    Mutator.flip,
    Mutator.respell,
)


def _span(data: bytes, random: Random, most: int = _PIECE_MAX) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.randint(0, most))
