"""Counting requests in their rate limits: in this process, or in Redis together with others."""
