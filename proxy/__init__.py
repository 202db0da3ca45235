"""Gatelodge, an authenticating reverse-proxy sidecar.

Imports nothing, so that small commands start fast.
"""

__version__ = "0.1.0"
