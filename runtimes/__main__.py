"""Command line of the runtimes: `python -m runtimes up|down|demo|logs|status|images PATTERN`; the Makefile calls it."""

import importlib
import importlib.util
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY, ServiceStatus, Stack, say
from runtimes.errors import NotUp, StackError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Pattern = Annotated[str, typer.Argument(help="A pattern: a compose file's name, such as web_single.")]
Runtime = Annotated[str, typer.Option(help="auto, local, compose or kubernetes; auto: compose if an engine answers.")]
Port = Annotated[int, typer.Option(help="The entry's HTTP port; gRPC is the next one; 0 takes free ones.")]
Variant = Annotated[
    str | None, typer.Option(help="A variant: the part after the dot in compose/<pattern>.<variant>.yaml.")
]
Timeout = Annotated[float, typer.Option(help="Seconds that the services may take to become ready.")]


@app.command()
def up(
    pattern: Pattern, runtime: Runtime = "auto", port: Port = 8000, variant: Variant = None, timeout: Timeout = 120
) -> None:
    """Start PATTERN; the entry's URL is the last line."""
    typer.echo(_started(pattern, runtime, port, variant, timeout))


@app.command()
def down(pattern: Pattern, runtime: Runtime = "auto") -> None:
    """End PATTERN and remove what it left."""
    Stack.find(pattern, runtime).down()


@app.command()
def logs(
    pattern: Pattern,
    runtime: Runtime = "auto",
    service: Annotated[str | None, typer.Option(help="One service alone.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on until the stack is down.")] = False,
) -> None:
    """Print what the services of PATTERN wrote."""
    for line in Stack.find(pattern, runtime).logs(service, follow):
        typer.echo(line)


@app.command()
def status(pattern: Pattern, runtime: Runtime = "auto") -> None:
    """Show the services of PATTERN: state, URL, uptime, memory."""
    stack = Stack.find(pattern, runtime)
    services = stack.status()
    if not services:
        raise NotUp(stack.name, pattern)
    Console(soft_wrap=True).print(_table(f"{stack.name} ({stack.runtime})", services))


@app.command()
def images(pattern: Pattern) -> None:
    """Build the images of PATTERN and its variants."""
    for variant in (None, *composefile.variants(COMPOSE_DIRECTORY, pattern)):
        Stack.create(pattern, "compose", variant).build()


@app.command()
def demo(
    pattern: Pattern, runtime: Runtime = "auto", port: Port = 8000, variant: Variant = None, timeout: Timeout = 120
) -> None:
    """Start PATTERN, show what it does and leave it running."""
    url = _started(pattern, runtime, port, variant, timeout)
    module = f"patterns.{pattern}.demo"
    if importlib.util.find_spec(module):
        importlib.import_module(module).main(url)
    typer.echo(f"\n{pattern} is running. Look at it, then end it:")
    for what, where in (
        ("page", f"{url}/"),
        ("API documentation", f"{url}/docs"),
        ("metrics", f"{url}/metrics"),
        ("logs", f"make logs PATTERN={pattern}"),
        ("end it", f"make down PATTERN={pattern}"),
    ):
        typer.echo(f"  {what:18} {where}")


def _started(pattern: str, runtime: str, port: int, variant: str | None, timeout: float) -> str:
    stack = Stack.create(pattern, runtime, variant, port)
    say(f"starting {pattern}{f' ({variant})' if variant else ''} with the {stack.runtime} runtime")
    return stack.up(timeout)


def _table(title: str, services: list[ServiceStatus]) -> Table:
    table = Table("service", "state", "url", "uptime", "memory", title=title, title_justify="left")
    for one in services:
        uptime = "" if one.uptime_seconds is None else f"{one.uptime_seconds:.0f} s"
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f} MB"
        table.add_row(one.service, one.state, one.url or "", uptime, memory)
    return table


def main() -> None:
    """Runs the command line; what goes wrong is one message and exit code 1, without a traceback."""
    try:
        app()
    except StackError as error:
        asked = composefile.patterns(COMPOSE_DIRECTORY) if isinstance(error, NotUp) else []
        there = [one for one in asked if Stack.find(one).is_up()]
        say(f"error: {error}" + "".join(f"\nup is {one}: PATTERN={one}" for one in there))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
