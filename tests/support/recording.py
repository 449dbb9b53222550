"""The recorded market: 78,638 Binance trades of six symbols. It lies beside the project, where it is there at all."""

from typing import Final

import pytest

from tests.support.source_tree import ROOT

RECORDED: Final = ROOT.parent / "shared" / "data" / "binance-20240809" / "trades.csv.gz"

needs_recording: Final = pytest.mark.skipif(
    not RECORDED.exists(), reason=f"the recorded trades are not beside the project: {RECORDED.name}"
)

QUOTES: Final = RECORDED.with_name("quotes-spot.csv.gz")
"""Of two of them: 131,932 best bids and asks, by a clock that is 1.27 s slow."""
