"""`gatelodge demo`: a web app that signs in, an API, and the gateway between them, on loopback."""
