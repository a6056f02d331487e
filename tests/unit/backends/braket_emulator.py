"""Braket's REST API and S3, emulated over HTTP; tasks run on the SDK's local simulator."""

import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

from braket.default_simulator import StateVectorSimulator
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program, ProgramSet

KEY = "AKIASECRETSECRETSECR"
SECRET = "very/secret/aws/key"
ARN = "arn:aws:braket:eu-north-1:123456789012:quantum-task/"


class Emulator(ThreadingHTTPServer):
    """Braket's REST API and S3 in one; runs tasks on the SDK's local simulator at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tasks: dict[str, dict] = {}
        self.results: dict[str, str] = {}
        self.by_token: dict[str, str] = {}
        self.faults: list[str] = []
        self.posts = 0
        self.retry_after = "7"
        self.hold_as: str | None = None
        self.run_ms = 90
        self.forgets_results = 0
        self.inlines_results = False
        self.tells_probabilities = False
        self.failing: set[tuple[int, int]] = set()
        """Programs and executables of a program set that fail."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are dropped on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Emulator

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(
        self, status: int, body: object, error: str = "", headers: dict[str, str] | None = None
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if error:
            self.send_header("x-amzn-ErrorType", error)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

    def do_POST(self) -> None:
        body = self.body()
        assert KEY in self.headers["Authorization"]
        assert SECRET not in str(self.headers)
        if self.path == "/quantum-tasks":
            return self.search(body)
        self.server.posts += 1
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.startswith("refuse"):
            _, status, name = fault.split()
            headers = {"Retry-After": self.server.retry_after} if status == "429" else {}
            return self.reply(int(status), {"message": "refused"}, name, headers)
        arn = self.accept(body)
        if fault == "drop":
            return self.connection.close()
        if fault == "late":
            time.sleep(2.5)
        if fault.startswith("accept"):
            return self.reply(int(fault[-3:]), {"message": "internal"}, "InternalServiceException")
        if fault == "nameless":
            return self.reply(201, {})
        return self.reply(201, {"quantumTaskArn": arn})

    def search(self, body: dict) -> None:
        if self.server.faults and self.server.faults[0] == "ask":
            self.server.faults.pop(0)
            return self.reply(500, {"message": "internal"}, "InternalServiceException")
        (device,) = [f["values"] for f in body["filters"] if f["name"] == "deviceArn"]
        found = [task for task in self.server.tasks.values() if task["deviceArn"] in device]
        skip = int(body.get("nextToken") or 0)
        page: dict = {"quantumTasks": found[skip : skip + 2]}
        if skip + 2 < len(found):
            page["nextToken"] = str(skip + 2)
        return self.reply(200, page)

    def accept(self, body: dict) -> str:
        token = body["clientToken"]
        if token in self.server.by_token:
            return self.server.by_token[token]
        arn = self.server.by_token[token] = f"{ARN}{len(self.server.tasks)}"
        folder = f"{body['outputS3KeyPrefix']}/{len(self.server.tasks)}"
        place = f"/{body['outputS3Bucket']}/{folder}"
        kept = {f"{place}/{name}": text for name, text in self.files(body, arn, place).items()}
        if self.server.forgets_results:
            self.server.forgets_results -= 1
        else:
            self.server.results |= kept
        self.server.tasks[arn] = {
            "quantumTaskArn": arn,
            "status": self.server.hold_as or "COMPLETED",
            "deviceArn": body["deviceArn"],
            "deviceParameters": "{}",
            "shots": body["shots"],
            "outputS3Bucket": body["outputS3Bucket"],
            "outputS3Directory": folder,
            "createdAt": "2026-11-21T08:00:00Z",
            "tags": body["tags"],
        }
        return arn

    def files(self, body: dict, arn: str, place: str) -> dict[str, str]:
        """The result's files: one for a program, one for each part of a program set."""
        if "programs" in json.loads(body["action"]):
            return self.program_set(body, place)
        program = Program.parse_raw(body["action"])
        result = LocalSimulator().run(program, shots=body["shots"]).result()
        metadata = {
            "taskMetadata": {"id": arn, "shots": body["shots"], "deviceId": body["deviceArn"]},
            "additionalMetadata": {
                "action": json.loads(body["action"]),
                "simulatorMetadata": {"executionDuration": self.server.run_ms},
            },
        }
        whole = {
            "braketSchemaHeader": {"name": "braket.task_result.gate_model_task_result", "version": "1"},
            "measurements": result.measurements.tolist(),
            "measuredQubits": result.measured_qubits,
            **metadata,
        }
        return {"results.json": json.dumps(whole)}

    def program_set(self, body: dict, place: str) -> dict[str, str]:
        """As Braket lays them out: programs and executables by paths relative to what names them."""
        programs = ProgramSet.parse_raw(body["action"])
        whole = json.loads(StateVectorSimulator().run(programs, shots=body["shots"]).json())
        if self.server.inlines_results:
            return {"results.json": json.dumps(whole)}
        files = {}
        for at, program in enumerate(whole["programResults"]):
            for index, executable in enumerate(program["executableResults"]):
                if (at, index) in self.server.failing:
                    executable = failure(index)
                elif self.server.tells_probabilities:
                    executable |= frequencies(executable)
                files[f"programs/{at}/executables/{index}.json"] = json.dumps(executable)
            count = len(program["executableResults"])
            program["executableResults"] = [f"executables/{index}.json" for index in range(count)]
            program["source"] = "program.json"
            files[f"programs/{at}/results.json"] = json.dumps(program)
        names = [f"programs/{at}/results.json" for at in range(len(whole["programResults"]))]
        _, bucket, *folder = place.split("/")
        whole |= {"programResults": names, "taskMetadata": "metadata.json"}
        whole["s3Location"] = [bucket, "/".join(folder)]
        return files | {"results.json": json.dumps(whole)}

    def do_PUT(self) -> None:
        arn = unquote(self.path).removeprefix("/quantum-task/").removesuffix("/cancel")
        task = self.server.tasks.get(arn)
        if task is None:
            return self.reply(404, {"message": "no such task"}, "ResourceNotFoundException")
        if task["status"] == "COMPLETED":
            return self.reply(409, {"message": "ended"}, "ConflictException")
        task["status"] = "CANCELLED"
        return self.reply(200, {"quantumTaskArn": task["quantumTaskArn"], "cancellationStatus": "CANCELLING"})

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        if path.startswith("/quantum-task/"):
            task = self.server.tasks.get(path.removeprefix("/quantum-task/"))
            if task is None:
                return self.reply(404, {"message": "no such task"}, "ResourceNotFoundException")
            return self.reply(200, task)
        if path.startswith("/device/"):
            queue = [{"queue": "QUANTUM_TASKS_QUEUE", "queueSize": ">4000", "queuePriority": "Normal"}]
            capabilities = json.dumps(CAPABILITIES)
            return self.reply(
                200, {"deviceStatus": "ONLINE", "deviceQueueInfo": queue, "deviceCapabilities": capabilities}
            )
        if path not in self.server.results:
            return self.reply(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        return self.reply(200, self.server.results[path])


def failure(index: int) -> dict:
    return {
        "braketSchemaHeader": {
            "name": "braket.task_result.program_set_executable_failure",
            "version": "1",
        },
        "inputsIndex": index,
        "failureMetadata": {"failureReason": "lost", "retryable": True, "category": "DEVICE"},
    }


def frequencies(executable: dict) -> dict:
    rows = ["".join(map(str, row)) for row in executable["measurements"]]
    shares = {states: count / len(rows) for states, count in Counter(rows).items()}
    return {"measurements": None, "measurementProbabilities": shares}


def one_qubit(readout: float) -> dict:
    return {
        "T1": {"value": 30.0, "unit": "us"},
        "T2": {"value": 20.0, "unit": "us"},
        "oneQubitFidelity": [
            {"fidelityType": {"name": "RANDOMIZED_BENCHMARKING"}, "fidelity": 0.999},
            {"fidelityType": {"name": "READOUT"}, "fidelity": readout},
        ],
    }


CAPABILITIES = {
    "service": {"updatedAt": "2026-11-21T07:00:00"},
    "standardized": {
        "oneQubitProperties": {"1": one_qubit(0.97), "2": one_qubit(0.98), "10": one_qubit(0.96)},
        "twoQubitProperties": {"1-2": {"twoQubitGateFidelity": [{"gateName": "CZ", "fidelity": 0.99}]}},
    },
}
