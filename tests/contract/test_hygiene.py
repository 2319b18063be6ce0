"""Nothing in the repository belongs to one machine, one registry or one person, and nothing is left for later."""

from __future__ import annotations

import re
import subprocess

from tests.contract.sources import ROOT, named, rule, tracked

THIS = "tests/contract/test_hygiene.py"
LARGEST_BYTES = 1_000_000
BUILT = (".onnx", ".pyc", ".whl", ".log", ".pid")
# What no file may hold: what is found, what is expected, and the one file that is excepted. Paths of a container are
# no machine's: a Dockerfile's build caches.
FORBIDDEN = {
    "path of a machine": (
        re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work|mnt|private)/(?!\.cache/)\S+"),
        "a path inside the repository",
        None,
    ),
    "registry": (
        re.compile(r"(--(?:extra-)?index-url|--find-links|--trusted-host)[ =]\S+|(?<=\S)/simple/?(?=\s|$)"),
        "the default registry",
        None,
    ),
    "person": (
        re.compile(r"(?<=[\w.+-])@(?!users\.noreply\.|example\.)[\w-]+\.(?:com|net|org|io|dev)\b"),
        "no mail address",
        "LICENSE",
    ),
    "secret": (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bxox[abp]-\w{10,}"
        ),
        "no secret",
        None,
    ),
    "left for later": (
        re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b"),
        "finished code, or an issue",
        None,
    ),
    "swallowed error": (
        re.compile(r"^\s*except(?: \w+)?(?: as \w+)?:\s*\n\s*pass\b", re.M),
        "contextlib.suppress of one error, or its handling",
        None,
    ),
}


def test_no_file_holds_what_does_not_belong_in_it() -> None:
    with rule("no file belongs to a machine, a registry or a person, or is unfinished") as offenders:
        for source in (one for one in tracked() if one.name != THIS):
            for what, (pattern, expected, excepted) in FORBIDDEN.items():
                if source.name != excepted:
                    for where, found in source.find(pattern):
                        offenders.add(where, f"{what}: {found.strip()!r}", expected)


def test_only_the_run_of_ci_names_what_lies_beside_the_repository() -> None:
    with rule("the repository stands alone") as offenders:
        for source in (one for one in tracked() if one.name not in (".ci/run", THIS)):
            for where, found in source.find(re.compile(r"(?<![\w/.])(?:\.\./)+shared\b")):
                offenders.add(where, found, "a path inside the repository")


def test_what_is_built_is_not_committed() -> None:
    committed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    with rule("what is built stays out of the repository") as offenders:
        for name in committed:
            built = name.endswith(BUILT) or name.startswith(("models/build/", ".venv/", ".run/"))
            offenders.require(not built, name, "a built file", "sources only")


def test_no_file_is_large() -> None:
    with rule("a clone stays small") as offenders:
        for source in tracked():
            size = source.path.stat().st_size
            offenders.require(size <= LARGEST_BYTES, source.name, f"{size} bytes", f"at most {LARGEST_BYTES}")


def test_lock_files_pin_every_package_by_its_hash() -> None:
    with rule("an image is built from exactly the packages that were tested") as offenders:
        for lock in (one for one in named(".txt") if one.name.startswith("requirements/")):
            blocks = re.split(r"\n(?=\S)", lock.text.strip())
            packages = [block for block in blocks if not block.startswith(("#", "-"))]
            offenders.require(bool(packages), lock.name, "no package", "at least one")
            for block in packages:
                offenders.require("--hash=sha256:" in block, lock.name, block.splitlines()[0], "--hash=sha256:...")
