"""Make the pictures in docs/images from real runs on a fresh state folder: `make screenshots`.

Needs Chromium (Debian's package `chromium`). Everything is served on loopback; the browser is given a new,
empty profile and no network beyond that.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from websockets.sync.client import ClientConnection, connect

from backends.fleet import SANDBOX_URL
from backends.sandbox import KEY_VARIABLE, SandboxProcess

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
BYTES_MAX = 300_000
WAIT_S_MAX = 180.0
RUNS = {
    "h2-ideal": {"shots": 1000, "device": "sandbox-ideal"},
    "h2-lean": {"shots": 250, "device": "sandbox-ideal"},
    "h2-slow": {"shots": 1000, "device": "sandbox-slow"},
}
"""Executions of the same molecule with the same optimizer, on the sandbox's priced devices."""
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Page:
    """One tab, driven over the browser's debugging protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.numbers = connection, itertools.count(1)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.connection.recv(timeout=WAIT_S_MAX))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, url: str, *, shows: str, width: int = 1280, height: int = 800) -> None:
        """Open a page and wait until it shows a text, and then until it has come to rest."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + WAIT_S_MAX
        while shows not in (self.value("document.body ? document.body.innerText : ''") or ""):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url} never showed {shows!r}")
            time.sleep(0.2)
        time.sleep(4)

    def save(self, name: str, **clip: int) -> None:
        """The visible part, or a rectangle of it, as PNG in as few colours as make it small enough."""
        path = IMAGES / f"{name}.png"
        shown = {"clip": {**clip, "scale": 1}} if clip else {}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png", **shown)["data"]))
        for colours in (256, 128, 64):
            if path.stat().st_size < BYTES_MAX:
                break
            picture = Image.open(path).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
            picture.save(path, optimize=True)
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def browser() -> Iterator[Page]:
    """Chromium with one empty tab."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [chromium, *CHROMIUM, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            found = next(m for line in process.stderr if (m := re.search(r"ws://([\d.]+:\d+)/", line)))
            with urllib.request.urlopen(f"http://{found[1]}/json") as answer:
                (tab,) = [t for t in json.load(answer) if t["type"] == "page"]
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def served(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """`shotwise ui`: the addresses that it prints, by name."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "ui"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        addresses: dict[str, str] = {}
        for line in process.stdout:
            name, _, address = line.partition(" ")
            if "http" not in address:
                break
            addresses[name] = address.strip()
        yield addresses
    finally:
        process.terminate()
        process.wait()


def shotwise(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "flows.cli", *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def runs(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Run everything that is not there yet; the runs in order."""
    known = {row["name"] for row in completed(environment)}
    for name, execution in RUNS.items():
        if name not in known:
            sections = {
                "name": name,
                "optimizer": {"name": "spsa", "learning_rate": 0.1, "max_iterations": 60},
                "execution": {"mode": "shots", **execution},
                "budget": {"usd": 400},
            }
            options = [
                part for key, value in sections.items() for part in ("--set", f"{key}={json.dumps(value)}")
            ]
            shotwise(environment, "run", str(ROOT / "examples" / "h2_shots.yaml"), "--quiet", *options)
    found = completed(environment)
    return [json.loads(shotwise(environment, "show", row["run_id"], "--json")) for row in found]


def completed(environment: dict[str, str]) -> list[dict[str, Any]]:
    every = json.loads(shotwise(environment, "runs", "--json"))
    return [row for row in every if row["state"] == "completed"]


def pictures(page: Page, addresses: dict[str, str], found: list[dict[str, Any]], report: Path) -> None:
    page.open(report.as_uri(), shows="Side by side", width=1120, height=1330)
    page.save("report")
    sampled = found[-1]
    page.open(
        f"{addresses['Prefect']}/runs/flow-run/{sampled['prefect_flow_run_id']}",
        shows="classical-update",
        width=1440,
        height=900,
    )
    page.save("prefect-run")
    ids = quote(json.dumps([run["mlflow_run_id"] for run in found]))
    page.open(
        f"{addresses['MLflow']}/#/compare-runs?runs={ids}&experiments=%5B%221%22%5D",
        shows=sampled["run_id"],
        width=1440,
        height=1000,
    )
    page.save("mlflow-compare", x=195, y=0, width=875, height=945)  # without the panels beside it


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures in docs/images.")
    parser.add_argument("--home", type=Path, help="State folder to use and keep; default a fresh one.")
    home = parser.parse_args().home
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        folder = (home or Path(fresh) / "home").resolve()
        environment = {**os.environ, "SHOTWISE_HOME": str(folder), "PYTHONPATH": str(ROOT)}
        with SandboxProcess(folder.parent / "sandbox", queue_scale=0) as sandbox:
            key = sandbox.key.get_secret_value()
            found = runs(environment | {KEY_VARIABLE: key, SANDBOX_URL: sandbox.url})
        report = Path(fresh) / "report.html"
        shotwise(environment, "compare", *(run["run_id"] for run in found), "--html", str(report))
        with served(environment) as addresses, browser() as page:
            pictures(page, addresses, found, report)


if __name__ == "__main__":
    main()
