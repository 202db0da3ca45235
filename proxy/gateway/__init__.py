"""The data path: from a client's connection through the decision to an endpoint, and back."""
