"""Starts the services of a pattern in a runtime (local, compose or kubernetes), behind one interface: `Stack`."""

from runtimes.base import ServiceStatus, Stack
from runtimes.errors import StackError

__all__ = ["ServiceStatus", "Stack", "StackError"]
