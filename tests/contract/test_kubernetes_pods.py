"""k8s/README.md shows the pods that each pattern starts."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.contract.manifests import KUBERNETES
from tools import pods_table


@pytest.mark.skipif(not (shutil.which("kubectl") or os.environ.get("CI")), reason="kubectl is not installed")
def test_the_table_of_expected_pods_is_that_of_the_manifests() -> None:
    page = (KUBERNETES / "README.md").read_text()
    assert pods_table.table() in page, f"run: python -m tools.pods_table k8s/README.md; expected\n{pods_table.table()}"
