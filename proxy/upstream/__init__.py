"""Connections to the services behind the gateway: one protocol, one pool an endpoint."""
