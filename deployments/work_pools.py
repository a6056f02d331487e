"""The template of a Docker or Kubernetes work pool: `python -m deployments.work_pools docker|kubernetes`.

Prefect's own, with our defaults. The integration (`prefect-docker`, `prefect-kubernetes`) must be installed.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

OVERRIDES = Path(__file__).parent / "scale" / "work-pools" / "overrides.yaml"
_WORKERS = {
    "docker": ("prefect_docker.worker", "DockerWorker"),
    "kubernetes": ("prefect_kubernetes.worker", "KubernetesWorker"),
}


def template(kind: str) -> dict[str, Any]:
    """The base job template of a kind of work pool."""
    module, name = _WORKERS[kind]
    return with_defaults(
        getattr(import_module(module), name).get_default_base_job_template(),
        yaml.safe_load(OVERRIDES.read_text())[kind],
    )


def with_defaults(base: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A template whose variables have these defaults.

    Raises:
        KeyError: the template has no such variable.
    """
    properties = base["variables"]["properties"]
    for name, value in defaults.items():
        properties[name]["default"] = value
    return base


if __name__ == "__main__":
    parser = argparse.ArgumentParser("deployments.work_pools", description=__doc__)
    parser.add_argument("kind", choices=sorted(_WORKERS))
    print(json.dumps(template(parser.parse_args().kind), indent=1))
