"""Starts a pattern's services in one of several runtimes, behind one interface: `Stack`."""

from runtimes.base import ServiceStatus, Stack
from runtimes.errors import StackError

__all__ = ["ServiceStatus", "Stack", "StackError"]
