"""Command line: `python -m runtimes up|down|demo|logs|status|images PATTERN`, `image MODEL`. The Makefile calls it."""

import importlib
import importlib.util
import re
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from runtimes import composefile, own_models
from runtimes.base import COMPOSE_DIRECTORY, ServiceStatus, Stack, print_progress
from runtimes.errors import StackError, StackNotRunning, variables_of

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Pattern = Annotated[str, typer.Argument(help="Name of a pattern, such as web_single.")]
Runtime = Annotated[
    str, typer.Option(help="auto, local, compose or kubernetes. auto is compose if Docker is running, else local.")
]
Port = Annotated[
    int,
    typer.Option(
        parser=lambda given: _port(given, 65534),
        help="HTTP port of the entry; gRPC uses the next port. 0 uses free ports.",
    ),
]
GrpcPort = Annotated[int | None, typer.Option(parser=lambda given: _port(given, 65535), help="gRPC port of the entry.")]
Bind = Annotated[
    str, typer.Option(help="Address on which the entry listens; 0.0.0.0 is every address of this machine.")
]
Scale = Annotated[
    list[str] | None,
    typer.Option(help="SERVICE=NUMBER of replicas, repeatable or several in one, separated by spaces."),
]
Variant = Annotated[str | None, typer.Option(help="A variant of the pattern, from compose/<pattern>.<variant>.yaml.")]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the stack; stacks of different names run side by side. Without one, that of its pattern.",
        callback=lambda given: _checked_name(given),
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait until all services are ready.")]


@app.command()
def up(
    pattern: Pattern,
    runtime: Runtime = "auto",
    port: Port = 8000,
    variant: Variant = None,
    timeout: Timeout = 120,
    grpc_port: GrpcPort = None,
    bind: Bind = "127.0.0.1",
    scale: Scale = None,
    name: Name = None,
) -> None:
    """Start PATTERN. The last line is its URL."""
    stack = Stack.create(
        pattern, runtime, variant, port, name, grpc_port=grpc_port, bind=bind, replicas=_numbers(scale or [])
    )
    typer.echo(_start(stack, timeout))


@app.command()
def down(pattern: Pattern, runtime: Runtime = "auto", name: Name = None) -> None:
    """Stop PATTERN and remove its containers, processes and data."""
    stack = Stack.find(pattern, runtime, name)
    running, origin = stack.is_up(), stack.origin()
    stack.down()
    print_progress(f"{stack.name}{origin} is {'stopped and removed' if running else 'not running; nothing to stop'}")


@app.command()
def logs(
    pattern: Pattern,
    runtime: Runtime = "auto",
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    follow: Annotated[bool, typer.Option(help="Keep printing new lines until PATTERN is stopped.")] = False,
    name: Name = None,
) -> None:
    """Print the logs of PATTERN."""
    for line in Stack.find(pattern, runtime, name).logs(service, follow):
        typer.echo(line)


@app.command()
def status(pattern: Pattern, runtime: Runtime = "auto", name: Name = None) -> None:
    """Show the services of PATTERN: state, URL, uptime and memory."""
    stack = Stack.find(pattern, runtime, name)
    services = stack.status()
    if not services:
        raise StackNotRunning(stack.name, pattern)
    Console(soft_wrap=True).print(
        _table(f"{stack.name}{stack.origin()} ({stack.runtime}), entry {_entry(stack)}", services)
    )
    if said := advice(stack, services):
        print_progress(said)


@app.command()
def images(pattern: Pattern) -> None:
    """Build the container images of PATTERN and its variants. The last lines are their names."""
    names: set[str] = set()
    for variant in (None, *composefile.variants(COMPOSE_DIRECTORY, pattern)):
        stack = Stack.create(pattern, "compose", variant)
        stack.build()
        names |= set(stack.options.compose_file().built_images)
    typer.echo("\n".join(sorted(names)))


@app.command()
def image(
    model: Annotated[str, typer.Argument(help="Name of a model, or the folder with its model.onnx and model.yaml.")],
    tag: Annotated[
        str, typer.Option(help="Name and tag of the image; empty: serving-patterns/<model>:<version>.")
    ] = "",
) -> None:
    """Build an image that serves one model, with or without a recipe. The last line is its name."""
    stack = Stack.create("web_single", "compose")
    if "/" not in model and own_models.has_recipe(model):
        Stack.create("web_single", "local", env={"MODEL": model}).build()
    found = own_models.find(model)
    name = own_models.image_name(found, tag)
    own_models.build_image(stack.options.compose_file().services["api"], found, name)
    print_progress(f"run it: docker run --rm --publish 127.0.0.1:8000:8000 {name}")
    typer.echo(name)


@app.command()
def demo(
    pattern: Pattern,
    runtime: Runtime = "auto",
    port: Port = 8000,
    variant: Variant = None,
    timeout: Timeout = 120,
    grpc_port: GrpcPort = None,
    bind: Bind = "127.0.0.1",
    scale: Scale = None,
    name: Name = None,
) -> None:
    """Start PATTERN, send example requests and leave it running."""
    stack = Stack.create(
        pattern, runtime, variant, port, name, grpc_port=grpc_port, bind=bind, replicas=_numbers(scale or [])
    )
    url = _start(stack, timeout)
    module = f"patterns.{pattern}.demo"
    if importlib.util.find_spec(module):
        importlib.import_module(module).main(url)
    of = variables_of(pattern, stack.name)
    typer.echo(f"\n{pattern} is running. Next:")
    for label, value in (
        ("page", f"{url}/"),
        ("API documentation", f"{url}/docs"),
        ("metrics", f"{url}/metrics"),
        ("logs", f"make logs {of}"),
        ("stop it", f"make down {of}"),
    ):
        typer.echo(f"  {label:18} {value}")


def _start(stack: Stack, timeout: float) -> str:
    variant = f" (variant {stack.options.variant})" if stack.options.variant else ""
    print_progress(f"starting {stack.options.pattern}{variant} with RUNTIME={stack.runtime}")
    return stack.up(timeout)


def _numbers(scale: list[str]) -> dict[str, int]:
    """The numbers of replicas by service, from words such as `api=2`."""
    pairs = [word.partition("=") for text in scale for word in text.split()]
    wrong = [
        f"{name}{sign}{number}" for name, sign, number in pairs if not name or not re.fullmatch(r"[1-9]\d?", number)
    ]
    if wrong:
        raise typer.BadParameter(f"expected SERVICE=NUMBER, with a number from 1 to 99, got {wrong[0]!r}")
    return {name: int(number) for name, _, number in pairs}


def _port(given: str | int, highest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", str(given)) or int(given) > highest:
        raise typer.BadParameter(f"expected a port from 0 to {highest}, got {str(given)!r}")
    return int(given)


def _checked_name(given: str | None) -> str | None:
    if given and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?", given):
        raise typer.BadParameter(
            f"expected at most 50 lower-case letters, digits and hyphens, such as second, got {given!r}"
        )
    return given or None


def _entry(stack: Stack) -> str:
    """The address that `up` has printed, and that of gRPC."""
    try:
        return f"{stack.url()}, gRPC {stack.grpc()}"
    except StackError as error:
        return f"not reachable: {error}"


def advice(stack: Stack, services: list[ServiceStatus]) -> str:
    """What to do about services that have exited; "" if none has."""
    exited = [one.service for one in services if one.state == "exited"]
    if not exited:
        return ""
    of = variables_of(stack.options.pattern, stack.name)
    return (
        f"{', '.join(exited)} exited; the reason: make logs {of} SERVICE={exited[0]}; "
        f"to start the stack again: make up {of}, with the same further variables"
    )


def _table(title: str, services: list[ServiceStatus]) -> Table:
    table = Table("service", "state", "url", "uptime", "memory", title=title, title_justify="left")
    for one in services:
        uptime = "" if one.uptime_seconds is None else f"{one.uptime_seconds:.0f} s"
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f} MB"
        table.add_row(one.service, one.state, one.url or "", uptime, memory)
    return table


def main() -> None:
    """Run the command line. A StackError is printed as one message, without a traceback; the exit code is 1."""
    try:
        app()
    except StackError as error:
        patterns = composefile.patterns(COMPOSE_DIRECTORY) if isinstance(error, StackNotRunning) else []
        running = [one for one in patterns if Stack.find(one).is_up()]
        print_progress(f"error: {error}" + "".join(f"\n{one} is running: use PATTERN={one}" for one in running))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
