"""A moment on the command line: what `--at` takes."""

from __future__ import annotations

import argparse


def unix_time(text: str) -> float:
    """Return the seconds since 1970 in `text`. Raises ArgumentTypeError for what is none."""
    # Beyond the year 9999 nothing can be printed. NaN is neither before nor after any expiry.
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 253_402_300_800:
        raise argparse.ArgumentTypeError("must be seconds since 1970")
    return seconds
