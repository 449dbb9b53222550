"""Upstream prices and trades in; validated, sequenced, conflated prices out."""
