"""Run the sandbox: `python -m backends.sandbox.serve --folder DIR [--port 0] [--queue-scale 1]`.

Listens on this machine only, with the API key from SHOTWISE_SANDBOX_KEY. Its address is printed and written
to `DIR/address`. A folder serves one process at a time.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys
import threading
from decimal import Decimal
from pathlib import Path

import uvicorn

from backends.sandbox.cloud import Cloud
from backends.sandbox.connection import ADDRESS_FILE, KEY_VARIABLE
from backends.sandbox.devices import DEFAULT_DEVICES, load_devices
from backends.sandbox.service import create_app
from backends.sandbox.store import Store
from shotwise.errors import CannotRunError, ShotwiseError

KEY_LENGTH_MIN = 16
_BACKLOG = 256
_GRACE_S = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; 3 where it cannot."""
    options = _parser().parse_args(arguments)
    try:
        serve(options.folder, options.port, options.devices, options.queue_scale, options.until_stdin_closes)
    except ShotwiseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve(
    folder: Path, port: int, devices_file: Path, queue_scale: Decimal, until_stdin_closes: bool
) -> None:
    """Serve the folder until SIGTERM or SIGINT.

    Raises:
        CannotRunError: no usable key, folder served already, port taken, or a bad device file.
    """
    key = _key()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    devices = load_devices(devices_file)
    devices = {name: device.with_waits_scaled(queue_scale) for name, device in devices.items()}
    with (folder / "lock").open("w") as lock, _listen(port) as listener:
        _take(lock.fileno(), folder)
        store = Store(folder / "sandbox.db")
        try:
            _announce(folder, listener)
            if until_stdin_closes:
                threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()
            config = uvicorn.Config(
                create_app(Cloud(devices, store), key),
                http="h11",
                loop="asyncio",
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("backends.sandbox.serve", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where jobs and bill are kept")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--devices", type=Path, default=DEFAULT_DEVICES, help="TOML file of devices")
    parser.add_argument(
        "--queue-scale", type=_scale, default=Decimal(1), help="multiplies every wait; 0 for none"
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started this one"
    )
    return parser


def _scale(text: str) -> Decimal:
    try:
        scale = Decimal(text)
    except ArithmeticError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not scale.is_finite() or not 0 <= scale <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000")
    return scale


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if len(key) < KEY_LENGTH_MIN:
        raise CannotRunError(
            KEY_VARIABLE,
            f"{len(key)} characters",
            "no usable API key",
            f"set it to at least {KEY_LENGTH_MIN} random characters",
        )
    return key


def _listen(port: int) -> socket.socket:
    # the protocol is named because asyncio turns Nagle's delay, 40 ms an answer, off only where it is
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # a killed predecessor's connections must not keep its port from us
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise CannotRunError("--port", port, str(error), "choose another, or 0 for any") from None
    listener.listen(_BACKLOG)
    return listener


def _take(lock: int, folder: Path) -> None:
    """Hold the folder until this process ends, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotRunError(
            "--folder", folder, "another sandbox serves it", "use it, or choose another folder"
        ) from None


def _announce(folder: Path, listener: socket.socket) -> None:
    host, port = listener.getsockname()
    address = f"http://{host}:{port}"
    written = folder / f"{ADDRESS_FILE}.new"
    written.write_text(address + "\n")
    written.replace(folder / ADDRESS_FILE)
    print(address, flush=True)


def _stop_at_end_of_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
