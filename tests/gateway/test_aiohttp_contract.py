"""What proxy/gateway/listener.py takes for granted about aiohttp: one test for each fact.

When an update of aiohttp breaks one of these, the listener has to be looked at before the new
version may be used.
"""

from __future__ import annotations

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy


def test_the_parser_is_the_one_in_c() -> None:
    assert HttpRequestParser is not HttpRequestParserPy
