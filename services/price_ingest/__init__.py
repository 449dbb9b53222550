"""Prices: what upstream streams say becomes one numbered, conflated, published last price per symbol."""
