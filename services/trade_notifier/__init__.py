"""Upstream trades in; a trade log without duplicates, in order per symbol, out."""
