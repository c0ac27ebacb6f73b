"""What operators are woken for: rules and panels over metrics that there are, as docs/operations.md tells them."""

import json
import re
from pathlib import Path
from typing import Any

import eventing.metrics
import pytest
import webapi.access
import webapi.auth
import yaml
from prometheus_client import Counter, Gauge, Histogram

ROOT = Path(__file__).resolve().parents[2]
METRIC = re.compile(r"\b((?:eventing|http)_[a-z_]+)")
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def known_metrics() -> set[str]:
    """The names of all samples that our processes expose."""
    found = set()
    for module in (eventing.metrics, webapi.access, webapi.auth):
        for metric in vars(module).values():
            if isinstance(metric, Counter | Gauge | Histogram):
                [family] = metric.describe()
                ends = {Counter: ["_total"], Gauge: [""], Histogram: ["_bucket", "_sum", "_count"]}[type(metric)]
                found |= {family.name + end for end in ends}
    return found


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    [group] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> list[str]:
    """Everything that is asked of Prometheus."""
    panels = json.loads((ROOT / "deploy/grafana/kundenclub.json").read_text())["panels"]
    return [rule["expr"] for rule in rules()] + [panel["targets"][0]["expr"] for panel in panels]


@pytest.mark.parametrize("expression", expressions())
def test_only_metrics_that_there_are_are_asked_for(expression: str) -> None:
    assert set(METRIC.findall(expression)) <= known_metrics()


def test_every_metric_that_operators_shall_look_at_has_an_alert() -> None:
    table = OPERATIONS.split("## What to look at")[1].split("\n## ")[0]
    told = {
        name for line in table.splitlines() if line.startswith("| `") for name in METRIC.findall(line.split("|")[1])
    }
    watched = {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert len(told) > 7
    assert told <= watched


def test_every_alert_names_a_chapter_for_operators() -> None:
    chapters = set(re.findall(r"^## (.+)$", OPERATIONS, re.MULTILINE))
    assert {rule["annotations"]["chapter"] for rule in rules()} <= chapters


def test_all_processes_are_asked() -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in jobs}
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    published = {name: {int(port.rsplit(":", 1)[1]) for port in services[name]["ports"]} for name in ports}
    assert set(ports) == {
        f"{service}-{part}" for service in ("loyalty", "customer-status") for part in ("api", "worker")
    }
    assert all(port in published[name] for name, port in ports.items())
