"""Which processes the local runtime plans, and with which addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtimes import composefile, instances
from runtimes.errors import StackError
from runtimes.instances import Instance

SERVICES = """
services:
  api:
    image: serving-patterns/api:0.1.0
    build: {target: api}
    environment: {PREDICTORS: "one=http://one:8000"}
    depends_on: {one: {condition: service_healthy}}
    ports: ["${BIND:-127.0.0.1}:9100:8000", "${BIND:-127.0.0.1}:9101:8001"]
  one:
    image: serving-patterns/model:0.1.0
    build: {target: model}
  store:
    image: redis:8
"""


def planned(folder: Path, replicas: dict[str, int], **variables: str) -> dict[str, Instance]:
    (folder / "case.yaml").write_text(SERVICES)
    file = composefile.load(folder, "case", None, variables)
    return {one.name: one for one in instances.plan(file, folder, replicas)}


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_replicas_that_are_called_by_name_get_a_balancer(tmp_path: Path) -> None:
    found = planned(tmp_path, {"one": 2})
    assert set(found) == {"store", "one-1", "one-2", "one-balancer", "api"}
    balancer, api = found["one-balancer"], found["api"]
    targets = ",".join(f"127.0.0.1:{found[name].ports[8000]}" for name in ("one-1", "one-2"))
    assert option(balancer.command, "--http") == f"{balancer.port}={targets}"
    assert api.environment["PREDICTORS"] == f"one=http://127.0.0.1:{balancer.port}"
    assert api.waits_for == ["one", "one-balancer"]


def test_the_balancer_of_an_entry_listens_on_its_published_ports(tmp_path: Path) -> None:
    found = planned(tmp_path, {"api": 3})
    balancer = found["api-balancer"]
    assert (balancer.ports[8000], balancer.ports[8001]) == (9100, 9101)
    assert [name for name, one in found.items() if one.published] == ["api-balancer"]
    assert 9100 not in [found[f"api-{number}"].port for number in (1, 2, 3)]


def test_one_replica_needs_no_balancer(tmp_path: Path) -> None:
    assert set(planned(tmp_path, {"one": 1})) == {"api", "one", "store"}


def test_an_image_that_is_not_ours_has_one_replica(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="store cannot have 2 replicas: it runs redis:8"):
        planned(tmp_path, {"store": 2})


@pytest.mark.parametrize(
    ("bind", "listens", "reached"),
    [
        (None, "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("[::]", "::", "127.0.0.1"),
    ],
)
def test_only_the_entry_listens_where_it_is_bound(tmp_path: Path, bind: str | None, listens: str, reached: str) -> None:
    variables: dict[str, Any] = {"BIND": bind} if bind else {}
    found = planned(tmp_path, {}, **variables)
    assert (found["api"].environment["HOST"], found["api"].host) == (listens, reached)
    assert (found["one"].environment["HOST"], found["one"].host) == ("127.0.0.1", "127.0.0.1")
