"""Generates the table of expected pods in k8s/README.md from the manifests, as kustomize renders them.

The table is between `<!-- pods -->` and `<!-- end of pods -->`; `python -m tools.pods_table PAGE...` updates it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

PATTERNS = Path(__file__).parents[1] / "k8s" / "patterns"
_BLOCK = re.compile(r"(<!-- pods -->\n).*?(<!-- end of pods -->)", re.DOTALL)


def table(patterns: Path = PATTERNS) -> str:
    """A Markdown table with a row for each pattern and variant. Needs kubectl."""
    rows = [f"| `{folder.name}` | {', '.join(_pods(_render(folder)))} |" for folder in sorted(patterns.iterdir())]
    return "\n".join(("| pattern | pods |", "|---|---|", *rows)) + "\n"


def _render(folder: Path) -> list[Any]:
    command = ["kubectl", "kustomize", str(folder)]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def _pods(objects: list[Any]) -> list[str]:
    """The pods of the workloads, by name. Kubernetes replaces `*` by a random part."""
    names = []
    for tree in objects:
        name, replicas = tree["metadata"]["name"], tree["spec"].get("replicas", 1) if "spec" in tree else 0
        if tree["kind"] == "Deployment":
            names.append(f"`{name}-*`" + (f" ({replicas} pods)" if replicas > 1 else ""))
        elif tree["kind"] == "StatefulSet":
            names += [f"`{name}-{number}`" for number in range(replicas)]
        elif tree["kind"] == "Job":
            names.append(f"`{name}-*` (a Job: `Completed`, then deleted)")
    return sorted(names)


def filled(page: str) -> str:
    """A page with the table as the manifests require it."""
    return _BLOCK.sub(lambda block: f"{block[1]}{table()}{block[2]}", page) if _BLOCK.search(page) else page


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main()
