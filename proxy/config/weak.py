"""Whether a secret could be guessed. Whoever knows it can be anybody."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from itertools import pairwise
from typing import Final

MIN_BYTES: Final = 32
# Of 32 random hexadecimal digits, fewer than 8 are different once in 28 million times.
_MIN_DISTINCT: Final = 8

_ADVICE: Final = "make a new one, for example with: openssl rand -base64 32"

# Secrets that look random and are printed in documentation, so that scanners try them first.
_WELL_KNOWN: Final = frozenset(
    {
        "INp8IvdIyeMcoGAgFGoA61DdBglwwSqnXJZkgz8PSnw",  # NextAuth v3, options.jwt.secret
        "Ey7nTKnggBc0bRN8WUjyShw2qzOZ6KW4fUyqcKBePxY=",
        "b93lEEnK3VQZDR3NhNnryZzQYJ/8J3zpMO+9rN+ziTc=",
        "Kx2vN8pQ7mR9sT1uV3wX5yZ8aB4cD6eF9gH2jK5lM8nP",
    }
)
# Parts of what people write who mean to come back to it. Of the random secrets that generators
# make, one in a million holds one.
_WORDS: Final = re.compile(
    r"at[-_ ]least|authjs|change|characters|default|development|example|generat|nextauth|openssl"
    r"|passphrase|password|placeholder|production|qwerty|random|replace|secret|secure|string"
    r"|testing|your[-_ ]"
)
_WORD: Final = re.compile(r"[a-z]{4,}|[A-Z]{4,}|[A-Z][a-z]{3,}|[^A-Za-z0-9]")
_REST_MIN: Final = 13
"""Letters and digits that a secret with one of those parts must have outside of words: behind a
prefix like `prod-secret-` it may be random.
"""

# Hashes of a guess are no better than the guess: they stand in the same lists.
_GUESSES: Final = ("", "admin", "changeme", "nextauth", "password", "secret", "test", "123456")


def weakness(secret: str) -> str | None:
    """Say why a secret is weak, in a clause that ends with what to do, or return None."""
    reason = _reason(secret)
    return f"{reason}; {_ADVICE}" if reason else None


def weak_key(key: bytes) -> str | None:
    """Say why a symmetric key is weak, or return None."""
    if len(key) < MIN_BYTES:
        return f"it is shorter than {MIN_BYTES} bytes"
    return _reason(key.decode("latin-1"))  # it may be a text's bytes


def _reason(secret: str) -> str | None:
    if len(secret.encode(errors="surrogatepass")) < MIN_BYTES:
        return f"it is shorter than {MIN_BYTES} bytes"
    if len(set(secret)) < _MIN_DISTINCT:
        return "it has few different characters"
    if secret in _WELL_KNOWN or secret in _hashes_of_guesses():
        return "it is a well-known example"
    if _WORDS.search(secret.lower()) and len(_WORD.sub("", secret)) < _REST_MIN:
        return "it reads like the placeholder of an example"
    if _repeats(secret):
        return "it repeats itself"
    if _counts_up(secret):
        return "it is a sequence"
    return None


def _repeats(secret: str) -> bool:
    """Whether it is one piece over and over, the last time perhaps not to its end."""
    return any(secret.startswith(secret[period:]) for period in range(1, len(secret) // 2 + 1))


def _counts_up(secret: str) -> bool:
    """Whether most characters are neighbours of the one before. Of random hexadecimal digits, which
    have the fewest kinds of characters, every sixth is.
    """
    steps = [abs(ord(one) - ord(other)) for one, other in pairwise(secret)]
    return sum(step <= 1 for step in steps) * 3 > len(steps) * 2


@cache
def _hashes_of_guesses() -> frozenset[str]:
    known: set[str] = set()
    for guess in _GUESSES:
        for name in ("md5", "sha256", "sha512"):
            digest = hashlib.new(name, guess.encode(), usedforsecurity=False).digest()
            base64 = b64encode(digest).decode()
            known |= {digest.hex(), digest.hex().upper(), base64, base64.rstrip("=")}
    return frozenset(known)
