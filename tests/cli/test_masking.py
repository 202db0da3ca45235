"""A head that may be shown."""

from __future__ import annotations

import pytest

from proxy.cli.masking import masked
from proxy.core.cookies import CookieNames

NAMES = CookieNames(["session"])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization: Bearer secret", "Authorization: Bearer (hidden)"),
        ("authorization: secret", "authorization: (hidden)"),
        ("AUTHORIZATION: Basic a b c", "AUTHORIZATION: Basic (hidden)"),
        ("Authorization: ", "Authorization: (hidden)"),
        ("Cookie: a=1; session=secret; b=2", "Cookie: a=1; session=(hidden); b=2"),
        (
            "Cookie: session.0=sec; session.12=ret",
            "Cookie: session.0=(hidden); session.12=(hidden)",
        ),
        ("cookie:  session =secret", "cookie:  session =(hidden)"),
        ("Cookie: session=a=b=c", "Cookie: session=(hidden)"),
        ("X-Other: session=1", "X-Other: session=1"),
    ],
)
def test_tokens_are_hidden_and_nothing_else(line: str, shown: str) -> None:
    head = f"GET / HTTP/1.1\r\n{line}\r\nX-Last: 1\r\n\r\n".encode()
    assert masked(head, NAMES) == ["GET / HTTP/1.1", shown, "X-Last: 1"]


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert masked(b"X: \xff\xc3\xab\r\n\r\n", NAMES) == ["X: \\xffë"]
