"""Every service starts, says that it is ready, describes itself, and is reachable from this machine alone."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psutil
import pytest

from common import RELEASE
from runtimes import containers
from tests.conformance.served import Served
from tests.support import client

PROBES = ("/livez", "/readyz", "/metrics")


def test_every_service_is_there_and_ready(served: Served) -> None:
    assert {one.service: one.state for one in served.stack.status()} == dict.fromkeys(served.row.services, "ready")


def test_every_service_of_ours_says_that_it_lives_and_is_ready(served: Served) -> None:
    for name, base in served.own_instances().items():
        for path in PROBES:
            assert client().get(base + path).status_code == 200, f"{name}{path}"


def test_metadata_names_pattern_service_release_and_routes(served: Served) -> None:
    told = served.get("/metadata").json()
    assert (told["pattern"], told["service"], told["release"]) == (served.row.pattern, served.row.answering, RELEASE)
    assert {served.row.route, "/v2/models/{model}/infer", "/readyz", "/metrics"} <= set(told["routes"])
    for name in told["samples"]:
        assert served.get(f"/samples/{name}").status_code == 200


def test_the_documentation_is_served_by_the_service_itself(served: Served) -> None:
    page = served.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text


def test_only_the_entry_is_published_and_only_on_loopback(served: Served) -> None:
    if served.stack.runtime == "kubernetes":
        pytest.skip("a cluster publishes the ports of its nodes; its manifests are checked by the contract tests")
    if served.stack.runtime == "compose":
        published = {
            one.name: [binding["HostIp"] for bindings in ports(one.id).values() for binding in bindings or []]
            for one in containers.of_project(f"sp-{served.stack.name}")
        }
        assert published.pop(served.row.entry) == ["127.0.0.1", "127.0.0.1"]
        assert not any(published.values()), published
        return
    wanted = {int(base.rpartition(":")[2]) for base in served.own_instances().values()}
    found = [tuple(one.laddr) for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    addresses = [host for host, port in found if port in wanted]
    assert len(addresses) >= len(wanted)
    assert set(addresses) == {"127.0.0.1"}


def inspected(container: str) -> dict[str, Any]:
    """What the engine says of a container."""
    done = subprocess.run(["docker", "inspect", container], capture_output=True, check=True)
    (found,) = json.loads(done.stdout)
    return dict(found)


def ports(container: str) -> dict[str, Any]:
    return dict(inspected(container)["NetworkSettings"]["Ports"])


def test_containers_run_without_root_and_write_nowhere(served: Served) -> None:
    if served.stack.runtime != "compose":
        pytest.skip("only for containers; the contract tests check the manifests of the cluster")
    for one in containers.of_project(f"sp-{served.stack.name}"):
        found = inspected(one.id)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001", one.name
        assert host["ReadonlyRootfs"] is True, one.name
        assert host["CapDrop"] == ["ALL"], one.name
        assert not host["CapAdd"], one.name
        assert not host["Privileged"], one.name
        assert "no-new-privileges" in " ".join(host["SecurityOpt"]), one.name
        assert host["Memory"] > 0, one.name
        assert host["PidsLimit"] > 0, one.name
