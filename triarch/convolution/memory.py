"""How much is worked on at a time: what the memories of common machines hold."""

from __future__ import annotations

BLOCK = 2048  # places of the output that stay in the first-level cache while all taps pass over them
CHUNK = 1 << 18  # numbers that stay in the caches while they are transformed
MAPPED = 32 << 20  # bytes from which the C library asks the system for new pages for each array
