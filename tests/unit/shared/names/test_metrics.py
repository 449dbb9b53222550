"""Every metric, against the ecosystem's conventions."""

import re

import pytest

from shared.names import metrics
from shared.names.metrics import Kind, MetricDef

ALL = [value for value in vars(metrics).values() if isinstance(value, MetricDef)]
CLIENT_CONTROLLED = {"symbol", "user", "user_id", "sid", "client", "address", "ip", "token", "path", "id"}


def test_no_two_metrics_share_a_name():
    assert len({metric.name for metric in ALL}) == len(ALL) > 20


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
class TestEachMetric:
    def test_its_name_is_lower_case_under_one_of_our_prefixes(self, metric: MetricDef):
        assert re.fullmatch(r"(tickwire|websocket)_[a-z0-9]+(_[a-z0-9]+)*", metric.name)

    def test_only_a_counter_ends_in_total(self, metric: MetricDef):
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)

    def test_its_unit_is_a_base_unit(self, metric: MetricDef):
        assert not re.search(r"_(ms|milliseconds|us|minutes|kb|mb|megabytes|percent)(_|$)", metric.name)

    def test_its_help_is_a_sentence(self, metric: MetricDef):
        assert metric.help[0].isupper() or metric.help[0].isdigit()
        assert metric.help.endswith(".")

    def test_no_label_takes_a_value_that_a_client_chooses(self, metric: MetricDef):
        assert not CLIENT_CONTROLLED & set(metric.labels)
        assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)

    def test_only_a_histogram_has_buckets_and_they_rise(self, metric: MetricDef):
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_the_names_of_the_original_design_are_kept():
    names = {metric.name for metric in ALL}
    assert {"websocket_connections", "websocket_rooms", "websocket_events_total"} <= names
