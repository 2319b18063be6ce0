"""Commands of the container engine, and what is said when they fail."""

from __future__ import annotations

import pytest

from runtimes import engine
from runtimes.errors import CommandFailed


def test_a_build_that_fails_says_why_with_the_end_of_its_output() -> None:
    script = "i=0; while [ $i -lt 200 ]; do echo step $i; i=$((i + 1)); done; echo 'no such model' >&2; exit 3"
    with pytest.raises(CommandFailed) as caught:
        engine.build(["sh", "-c", script])
    lines = str(caught.value).splitlines()
    assert "failed with exit code 3" in lines[0]
    assert lines[-2:] == ["step 199", "no such model"]
    assert len(lines) < 100
