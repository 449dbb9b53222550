"""The Grafana dashboard, from code: `make dashboard` writes `dashboard.json` beside this file.

Every name comes from `shared.names.metrics` or from the rules that record it, so a metric that is renamed takes its
panels along. It asks for a Prometheus whose scrapes carry the label `pod`, and `namespace` on Kubernetes.
"""

from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableOption, VariableRefresh

from deploy.observability import panels
from deploy.observability.panels import Panel

FILE: Final = Path(__file__).with_name("dashboard.json")
UID: Final = "tickwire"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT: Final = 8
"""Of a panel, in Grafana's grid; a row is 24 wide."""

PER_ROW: Final = 3


class Section(NamedTuple):
    """One row of the dashboard."""

    title: str
    panels: tuple[Panel, ...]


SECTIONS: Final = (
    Section("What users see", panels.USERS),
    Section("Prices, hop by hop", panels.PRICES),
    Section("Trades", panels.TRADES),
    Section("Slow, shed and refused", panels.CLIENTS),
    Section("Redis", panels.REDIS),
    Section("Processes", panels.PROCESSES),
)


def build() -> str:
    """The dashboard as Grafana imports it; the same text each time."""
    board = (
        Dashboard("Tickwire")
        .uid(UID)
        .tags(["tickwire"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .editable()
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_namespaces())
    )
    numbers = count(1)
    for section in SECTIONS:
        board.with_row(Row(section.title).id(next(numbers)))
        for panel in section.panels:
            board.with_panel(_draw(panel).id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _namespaces() -> QueryVariable:
    """All, until somebody chooses; where scrapes have no namespace there is nothing to choose."""
    return (
        QueryVariable("namespace")
        .label("Namespace")
        .datasource(SOURCE)
        .query(panels.NAMESPACES)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all"))
    )


def _draw(panel: Panel) -> TimeSeries:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    drawn = (
        TimeSeries()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(24 // PER_ROW)
        .min(0)
        .legend(legend)
    )
    for query in _queries(panel):
        drawn.with_target(query)
    return drawn


def _queries(panel: Panel) -> Iterable[Dataquery]:
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        yield Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).range().datasource(SOURCE)


if __name__ == "__main__":
    FILE.write_text(build(), encoding="utf-8")
