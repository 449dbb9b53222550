"""Plots are SVG that needs nothing else, whatever there is to plot."""

import importlib.util
import xml.etree.ElementTree as ET

import pytest

from services.launcher.errors import LauncherError
from services.launcher.load import plots
from tests.support.load_results import result_of, spread_of


@pytest.mark.parametrize(
    "svg",
    [
        lambda: plots.latency({"one": spread_of(0.001, 0.1), "other": spread_of(0.002)}),
        lambda: plots.latency({"one": spread_of(0.001)}),
        lambda: plots.latency_over_time(result_of().samples),
        lambda: plots.throughput(result_of().samples),
        lambda: plots.throughput([]),
        lambda: plots.cpu(result_of().samples),
        lambda: plots.memory([]),
        lambda: plots.clients(result_of().samples),
        lambda: plots.bars({"a": {"x": 1.0, "y": 2000.0}}, "ms", logarithmic=True),
        lambda: plots.bars({"a": {"x": 1.0, "y": 2.0}, "b": {"y": 3.0}}, "kB"),
    ],
)
def test_each_is_one_svg_without_size_or_address(svg):
    text = svg()
    root = ET.fromstring(text.replace("xlink:", ""))
    assert root.tag == "svg"
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert "http" not in text


def test_names_and_values_are_text_in_it():
    text = plots.bars({"idle": {"node": 22.8}}, "kB")
    assert "idle" in text
    assert "22.8" in text


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    plots.check_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LauncherError, match="matplotlib") as caught:
        plots.check_installed()
    assert "pip install 'tickwire[load]'" in caught.value.hint
