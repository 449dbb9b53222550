"""The HTML report stands by itself: whole, safe, and without any address but the server's."""

import re
from html.parser import HTMLParser

from services.launcher.load.crew import Counts
from services.launcher.load.page import framed, html_table, page
from services.launcher.load.scenario import Scenario
from tests.support.load_results import result_of, spread_of

VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, _attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_shows_figures_and_plots_and_closes_what_it_opens():
    text = page(result_of())
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert text.count("<svg") == len(re.findall('class="plot"', text)) >= 5
    assert "p99, tick to client" in text


def test_it_names_no_address_outside():
    text = page(result_of())
    assert "http" not in text
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "<script" not in text


def test_what_was_wrong_stands_on_top():
    assert "2 clients lost their connection" in page(result_of(counts=Counts(served=10, lost=2)))
    assert 'class="remarks"' not in page(result_of())


def test_names_are_text_not_markup():
    text = page(result_of(scenario=Scenario(name="x", summary="<script>", clients=10)))
    assert "<script" not in text
    assert "&lt;b&gt;" in html_table(["a"], [["<b>"]])
    assert "<title>&amp;</title>" in framed("&", "", [])


def test_a_stall_is_plotted_beside_the_time_before():
    text = page(result_of(before=spread_of(0.001, 0.002)))
    assert "before the stall" in text
    assert "while some stall" in text
