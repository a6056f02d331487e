"""The command about telemetry: metrics."""

from __future__ import annotations

import signal

import click

from flows.cli_options import open_database


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Serve them there, on loopback, until Ctrl-C.")
def metrics(port: int | None) -> None:
    """Print the journal's metrics in Prometheus' text format, or serve them."""
    from prometheus_client import CollectorRegistry, generate_latest

    from tasks.metrics import JournalCollector

    registry = CollectorRegistry()
    served = port is not None  # which runs may be entered after
    registry.register(JournalCollector(open_database(make=served)))
    if port is None:
        click.echo(generate_latest(registry), nl=False)
        return
    _serve(registry, port)


def _serve(registry: object, port: int) -> None:
    from prometheus_client import start_http_server

    from shotwise.errors import CannotRunError

    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)  # pyright: ignore
    except OSError as error:
        reason = error.strerror or "cannot be listened on"
        raise CannotRunError("--port", port, reason.lower(), "end what uses it or give another") from None
    click.echo(f"metrics    http://127.0.0.1:{server.server_port}/metrics")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        server.shutdown()


COMMANDS = (metrics,)
