"""The dashboards: files as the script writes them, and every query of what is really exported."""

import json
import re
from pathlib import Path

import pytest

from scripts import dashboards
from scripts.dashboards import DASHBOARDS, FOLDER, Dashboard
from tests.monitoring.exported import Labels, exported
from tests.monitoring.written import ROOT, metrics_in, read, rules

Exported = dict[str, list[Labels]]
# Prometheus and Alertmanager tell these of themselves.
THEIRS = ("prometheus_", "alertmanager_")
UNITS = {"none", "short", "s", "bytes", "percentunit", "ops", "opm"}
GRAFANA = ROOT / "monitoring" / "grafana"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(tmp_path_factory.mktemp("exported"))


each = pytest.mark.parametrize("made", DASHBOARDS, ids=[made.uid for made in DASHBOARDS])


@each
def test_a_file_is_what_the_script_writes(made: Dashboard):
    assert (FOLDER / f"{made.uid}.json").read_text(encoding="utf-8") == dashboards.text(made)


def test_there_is_no_other_file():
    assert {path.stem for path in FOLDER.iterdir()} == {made.uid for made in DASHBOARDS}


@each
def test_every_panel_has_a_unit_legends_and_a_place_of_its_own(made: Dashboard):
    panels = json.loads(dashboards.text(made))["panels"]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels) > 5
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends) and len(set(legends)) == len(legends), panel["title"]


@each
def test_every_query_reads_figures_that_the_services_export(made: Dashboard, known: Exported):
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    for panel in made.panels:
        for query, legend in panel.queries:
            query = re.sub(r"hft:[a-z0-9_:]+", lambda found: recorded[found[0]], query)
            read_here = metrics_in(query)
            assert read_here, query
            for name in read_here:
                assert name in known, f"{panel.title}: nobody exports {name}"
            labels = set().union(*(each for name in read_here for each in known[name]))
            asked = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert asked <= labels, f"{panel.title}: {query} has no {asked - labels}"


def test_every_rule_reads_figures_that_the_services_export(known: Exported):
    for rule in rules():
        for name in metrics_in(rule["expr"]):
            if not name.startswith(THEIRS):
                said = rule.get("alert", rule.get("record"))
                assert name in known, f"{said}: nobody exports {name}"


def test_labels_that_a_rule_asks_for_are_there(known: Exported):
    asks = re.compile(r'(hft_\w+)\{(\w+)="([^"]+)"')
    looked = 0
    for rule in rules():
        for name, label, value in asks.findall(rule["expr"]):
            values = {labels.get(label) for labels in known[name]}
            assert value in values, f"{rule}: {name} has no {label} {value}, but {values}"
            looked += 1
    assert looked > 10


def test_grafana_finds_source_and_files():
    (source,) = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert source["uid"] == dashboards.SOURCE["uid"]
    (provider,) = read(GRAFANA / "provisioning" / "dashboards" / "hft.yml")["providers"]
    assert Path(provider["options"]["path"]).name == FOLDER.name
