"""docker-compose.yml and the images keep what docs/operations.md promises, with an engine or without."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from customer_status.settings import ApiSettings as CustomerStatusApi
from customer_status.settings import WorkerSettings as CustomerStatusWorker
from loyalty.settings import ApiSettings as LoyaltyApi
from loyalty.settings import WorkerSettings as LoyaltyWorker

ROOT = Path(__file__).resolve().parents[2]
OWN = ("loyalty", "customer-status")
PROBE_PORTS = {
    "loyalty-api": LoyaltyApi.model_fields["http_port"].default,
    "loyalty-worker": LoyaltyWorker.model_fields["worker_metrics_port"].default,
    "customer-status-api": CustomerStatusApi.model_fields["http_port"].default,
    "customer-status-worker": CustomerStatusWorker.model_fields["worker_metrics_port"].default,
}
SECRET_NAME = re.compile(r"PASSWORD|_KEYS?$|DATABASE_URL$")
REQUIRED = re.compile(r"\$\{(\w+):\?set (\w+) in \.env, see \.env\.example\}")

Compose = dict[str, Any]
Rule = Callable[[Compose], list[str]]


def compose() -> Compose:
    document: Compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def services(document: Compose) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def open_ports(document: Compose) -> list[str]:
    ports = [(name, port) for name, service in services(document).items() for port in service.get("ports", [])]
    return [f"{name}: {port}" for name, port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+(-\d+)?:\d+", str(port))]


def unbounded(document: Compose) -> list[str]:
    """Memory, logs and the time to stop have an upper bound everywhere."""
    bounds = ("mem_limit", "logging", "stop_grace_period")
    return [f"{name}: {key}" for name, service in services(document).items() for key in bounds if key not in service]


def unhardened(document: Compose) -> list[str]:
    wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    own = {name: service for name, service in services(document).items() if service["image"].startswith("kundenclub/")}
    return [f"{name}: {key}" for name, service in own.items() for key in wanted if service.get(key) != wanted[key]]


def unpinned_images(document: Compose) -> list[str]:
    images = {name: service["image"] for name, service in services(document).items()}
    return [f"{name}: {image}" for name, image in images.items() if not re.match(r"kundenclub/|.+:v?\d", image)]


def written_secrets(document: Compose) -> list[str]:
    """A secret is always a required variable with a message that says where to set it, never a text or a default."""
    found = []
    for name, service in services(document).items():
        for key, value in service.get("environment", {}).items():
            variables = REQUIRED.findall(str(value))
            if SECRET_NAME.search(key) and (not variables or any(name != said for name, said in variables)):
                found.append(f"{name}: {key}")
    return found


def unprobed(document: Compose) -> list[str]:
    """What runs for long is probed, at the port it really has; what runs once is not started again."""
    found = []
    for name, service in services(document).items():
        probe = service.get("healthcheck")
        if service["restart"] == "no":
            found += [name] if probe else []
        elif not probe or "start_interval" not in probe:
            found.append(name)
        elif name in PROBE_PORTS and f"127.0.0.1:{PROBE_PORTS[name]}/readyz" not in probe["test"][-1]:
            found.append(f"{name}: port")
    return found


def unordered(document: Compose) -> list[str]:
    """Nothing starts before what it needs is ready or done."""
    done, ready = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}
    wanted: dict[str, dict[str, Any]] = {"postgres": {}, "kafka": {}, "topics": {"kafka": ready}}
    wanted |= {"prometheus": {}, "grafana": {"prometheus": ready}, "kafka-ui": {"kafka": ready}}
    for own in OWN:
        wanted[f"{own}-migrate"] = {"postgres": ready}
        wanted[f"{own}-api"] = {f"{own}-migrate": done}
        wanted[f"{own}-worker"] = {f"{own}-migrate": done, "topics": done}
    actual = {name: service.get("depends_on", {}) for name, service in services(document).items()}
    return sorted(name for name in wanted | actual if wanted.get(name) != actual.get(name))


def leaked_owners(document: Compose) -> list[str]:
    """The role that may change the schema is known to PostgreSQL and the migrations only."""
    texts = {name: str(service.get("environment")) for name, service in services(document).items()}
    return [name for name, text in texts.items() if "_OWNER_" in text and name != "postgres" and "migrate" not in name]


def always_on(document: Compose) -> list[str]:
    """What only watches starts when it is asked for."""
    wanted = {"prometheus": ["observability"], "grafana": ["observability"], "kafka-ui": ["tools"]}
    actual = {name: service.get("profiles") for name, service in services(document).items()}
    return [name for name, profiles in actual.items() if profiles != wanted.get(name)]


def missing_files(document: Compose) -> list[str]:
    paths = [service["build"]["dockerfile"] for service in services(document).values() if "build" in service]
    mounts = [mount for service in services(document).values() for mount in service.get("volumes", [])]
    paths += [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    return [path for path in paths if not (ROOT / path).is_file()]


RULES: list[Rule] = [
    open_ports,
    unbounded,
    unhardened,
    unpinned_images,
    written_secrets,
    unprobed,
    unordered,
    leaked_owners,
    always_on,
    missing_files,
]


@pytest.mark.parametrize("rule", RULES)
def test_compose_keeps_its_rules(rule: Rule) -> None:
    assert rule(compose()) == []


BREAKS: list[tuple[Rule, str, str, Any]] = [
    (open_ports, "postgres", "ports", ["5432:5432"]),
    (open_ports, "loyalty-api", "ports", ["0.0.0.0:8001:8001"]),
    (unbounded, "kafka", "mem_limit", None),
    (unbounded, "loyalty-worker", "logging", None),
    (unhardened, "loyalty-api", "read_only", False),
    (unhardened, "topics", "cap_drop", None),
    (unpinned_images, "postgres", "image", "postgres:latest"),
    (unpinned_images, "kafka", "image", "apache/kafka"),
    (written_secrets, "postgres", "environment", {"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-postgres}"}),
    (written_secrets, "loyalty-api", "environment", {"LOYALTY_DATABASE_URL": "postgresql://loyalty_app:x@postgres/x"}),
    (
        written_secrets,
        "postgres",
        "environment",
        {"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:?set X in .env, see .env.example}"},
    ),
    (unprobed, "loyalty-worker", "healthcheck", None),
    (unprobed, "loyalty-worker", "healthcheck", {"start_interval": "1s", "test": ["http://127.0.0.1:9999/readyz"]}),
    (unprobed, "topics", "restart", "always"),
    (unordered, "loyalty-worker", "depends_on", {"loyalty-migrate": {"condition": "service_started"}}),
    (unordered, "customer-status-api", "depends_on", None),
    (leaked_owners, "loyalty-api", "environment", {"X": "${LOYALTY_OWNER_PASSWORD}"}),
    (always_on, "prometheus", "profiles", None),
    (always_on, "loyalty-worker", "profiles", ["observability"]),
    (missing_files, "postgres", "volumes", ["./deploy/nothing.sh:/a.sh:ro"]),
    (missing_files, "loyalty-migrate", "build", {"dockerfile": "services/loyalty/Containerfile"}),
]


@pytest.mark.parametrize(("rule", "service", "key", "value"), BREAKS)
def test_every_rule_bites(rule: Rule, service: str, key: str, value: Any) -> None:
    document = copy.deepcopy(compose())
    if value is None:
        del document["services"][service][key]
    else:
        document["services"][service][key] = value
    assert len(rule(document)) == 1


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, *_ in BREAKS} == set(RULES)


def example_variables() -> list[str]:
    return re.findall(r"^(\w+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_the_example_of_env_names_every_variable_and_no_other() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(example_variables()) == {name for name, _ in REQUIRED.findall(text)}
    optional = re.findall(r"^# (\w+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(optional) == set(re.findall(r"\$\{(\w+):-\}", text)) != set()


@pytest.mark.parametrize("service", OWN)
def test_images_hold_what_the_service_needs_and_run_as_nobody_special(service: str) -> None:
    text = (ROOT / "services" / service / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.13-slim"] * 2
    [user] = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) >= 10_000
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
    needed = {name.removeprefix("kundenclub-") for name in project["dependencies"] if name.startswith("kundenclub-")}
    [installed] = re.findall(r"^ +(libs/.+)$", text, re.MULTILINE)
    assert set(installed.split()) == {f"libs/{name}" for name in needed} | {f"./services/{service}"}
    assert f'ENTRYPOINT ["{next(iter(project["scripts"]))}"]' in text


def docker_compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "DOCKER_CONFIG") if key in os.environ} | variables
    command = ["docker", "compose", "--env-file", os.devnull, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def variables() -> dict[str, str]:
    if not shutil.which("docker") or docker_compose("version").returncode != 0:
        pytest.skip("there is no docker compose here: the file's content was checked all the same")
    return dict.fromkeys(example_variables(), "x")


def test_compose_reads_it(variables: dict[str, str]) -> None:
    result = docker_compose("config", "--quiet", **variables)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("missing", example_variables())
def test_compose_says_what_is_missing(missing: str, variables: dict[str, str]) -> None:
    result = docker_compose("config", "--quiet", **(variables | {missing: ""}))
    assert result.returncode != 0
    assert f"set {missing} in .env, see .env.example" in result.stderr
