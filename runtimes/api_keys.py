"""API_KEYS_FILE, a file of this machine, for services in containers and pods: they see it in a folder of their own."""

from __future__ import annotations

from pathlib import Path

from runtimes.composefile import ComposeFile
from runtimes.errors import StackError

SETTING = "API_KEYS_FILE"


def given(file: ComposeFile) -> Path | None:
    """The file that the services of a stack are given, or None. Raises StackError if it cannot be read."""
    name = next(filter(None, (one.environment.get(SETTING) for one in file.services.values())), None)
    if name is None:
        return None
    path = Path(name).expanduser().resolve()
    try:
        path.read_bytes()
    except OSError as error:
        expected = "expected a file that you may read, with a line name:sha256 for each key"
        raise StackError(f"{SETTING}={name}: {expected}; {error.strerror}") from None
    return path


def options(file: ComposeFile) -> list[Path]:
    """The further compose files that mount the folder of the keys into the services that are given them."""
    keyed = [name for name, one in file.services.items() if one.environment.get(SETTING)]
    return [file.directory / "options" / f"api_keys.{name}.yaml" for name in keyed]


def variables(file: ComposeFile) -> dict[str, str]:
    """The variables of these compose files."""
    path = given(file)
    return {"API_KEYS_FOLDER": str(path.parent), "API_KEYS_NAME": path.name} if path else {}
