"""IBM's token service and REST API, emulated over HTTP with the SDK's own encodings."""

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from qiskit.primitives import StatevectorSampler
from qiskit_ibm_runtime import fake_provider
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

KEY = "very-secret-api-key"
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/0123456789abcdef:11111111-2222:secret-instance:"
BACKEND = "ibm_manila"
FOLDER = Path(fake_provider.__file__).parent / "backends" / "manila"


class Emulator(ThreadingHTTPServer):
    """IBM's token service and REST API in one, with a job store; runs jobs without noise at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.jobs: dict[str, dict] = {}
        self.faults: list[str] = []
        self.posts = 0
        self.retry_after = "7"
        self.hold_as: str | None = None
        self.result: str | None = None
        self.seconds = 3
        self.counts_in = 0
        """Questions for a job's usage that are answered with "pending" first."""
        self.between_pages: Callable[[], object] | None = None

    def end_all(self, status: str) -> None:
        """Every job has ended so."""
        for job in self.jobs.values():
            job["state"] = {"status": status}

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are dropped on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Emulator

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        text = body if isinstance(body, str) else json.dumps(body, cls=RuntimeEncoder)
        data = b"" if body is None else text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/identity/token":
            if KEY.encode() not in body:
                return self.reply(400, {"errorMessage": "bad key"})
            claims = {"iat": int(time.time()), "exp": int(time.time()) + 3600}
            parts = [{"alg": "HS256", "typ": "JWT"}, claims]
            encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
            return self.reply(200, {"access_token": ".".join([*encoded, "c2ln"]), "expires_in": 3600})
        assert self.headers["Service-CRN"] == CRN
        assert self.headers["Authorization"].startswith("Bearer ")
        if self.path.endswith("/cancel"):
            job = self.server.jobs.get(self.path.split("/")[2])
            if job is None:
                return self.reply(404, {"errors": [{"message": "job not found"}]})
            if job["state"]["status"] == "Completed":
                return self.reply(409, {"errors": [{"message": "job has ended"}]})
            job["state"] = {"status": "Cancelled"}
            return self.reply(204)
        self.server.posts += 1
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.startswith("refuse"):
            headers = {"Retry-After": self.server.retry_after} if fault.endswith("429") else {}
            return self.reply(int(fault[-3:]), {"errors": [{"message": f"refused {KEY}"}]}, headers)
        job_id = self.accept(json.loads(body))
        if fault == "drop":
            return self.connection.close()
        if fault == "late":
            time.sleep(4.0)
        if fault.startswith("accept"):
            return self.reply(int(fault[-3:]), {"errors": [{"message": "gateway"}]})
        if fault == "garbage":
            return self.reply(200, "<html>")
        return self.reply(200, {"id": job_id, "backend": BACKEND})

    def accept(self, payload: dict) -> str:
        job_id = f"job{len(self.server.jobs)}"
        params = json.loads(json.dumps(payload["params"]), cls=RuntimeDecoder)
        pubs = [(circuit, values, shots) for circuit, values, shots in params["pubs"]]
        result = StatevectorSampler(seed=1).run(pubs).result()
        self.server.jobs[job_id] = {
            "id": job_id,
            "tags": payload["tags"],
            "backend": payload["backend"],
            "cost": payload.get("cost"),  # without it nothing ends the job
            "program": {"id": payload["program_id"]},
            "state": {"status": self.server.hold_as or "Completed"},
            "result": json.dumps(result, cls=RuntimeEncoder),
        }
        return job_id

    def do_GET(self) -> None:
        url = urlparse(self.path)
        parts, query = url.path.strip("/").split("/"), parse_qs(url.query)
        if self.server.faults and self.server.faults[0].startswith("ask"):
            return self.reply(int(self.server.faults.pop(0)[-3:]), {"errors": []})
        if parts[0] == "backends":
            if parts[2] == "status":
                return self.reply(200, {"state": True, "status": "active", "length_queue": 12})
            kind = {"configuration": "conf", "properties": "props"}[parts[2]]
            return self.reply(200, (FOLDER / f"{kind}_manila.json").read_text())
        if len(parts) == 1:
            tags = set(query.get("tags", ()))
            newest_first = reversed(self.server.jobs.values())
            found = [self.told(job) for job in newest_first if tags <= set(job["tags"])]
            skip = int(query.get("offset", ["0"])[0])
            if skip == 0 and self.server.between_pages:
                happens, self.server.between_pages = self.server.between_pages, None
                threading.Thread(target=happens).start()
                time.sleep(0.5)
            return self.reply(200, {"jobs": found[skip : skip + 2], "count": len(found)})
        job = self.server.jobs.get(parts[1])
        if job is None:
            return self.reply(404, {"errors": [{"message": "job not found"}]})
        if len(parts) == 2:
            return self.reply(200, self.told(job))
        if parts[2] == "metrics":
            ended = job["state"]["status"] in ("Completed", "Failed", "Cancelled")
            if ended and self.server.counts_in:
                self.server.counts_in -= 1
                ended = False
            usage = {
                "qpu_charge_time_seconds": self.server.seconds if ended else 0,
                "status": "complete" if ended else "pending",
            }
            return self.reply(200, {"usage": usage})
        if self.server.result == "404":
            return self.reply(404, {"errors": []})
        return self.reply(200, job["result"] if self.server.result is None else self.server.result)

    def told(self, job: dict) -> dict:
        return {key: job[key] for key in ("id", "tags", "backend", "program", "state")}
