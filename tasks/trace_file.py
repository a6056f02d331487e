"""Spans in local files, as OTLP's JSON: OpenTelemetry's collectors read them (receiver `otlpjsonfile`)."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

RUN_ID = "shotwise.run_id"
"""The attribute that every span has."""


class FileExporter(SpanExporter):
    """One file a run, one line a batch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        by_run: dict[str, list[ReadableSpan]] = defaultdict(list)
        for span in spans:
            by_run[str((span.attributes or {})[RUN_ID])].append(span)
        try:
            for run_id, of_run in by_run.items():
                line = json.dumps(
                    _with_hex_ids(MessageToDict(encode_spans(of_run), use_integers_for_enums=True))
                )
                _append(self.folder / f"{run_id}.jsonl", line + "\n")
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _with_hex_ids(message: Any) -> Any:
    """OTLP's JSON says ids in hexadecimal, where protobuf's JSON says base64."""
    if isinstance(message, list):
        return [_with_hex_ids(part) for part in message]
    if not isinstance(message, dict):
        return message
    return {
        key: b64decode(value).hex() if key in ("traceId", "spanId", "parentSpanId") else _with_hex_ids(value)
        for key, value in message.items()
    }


def _append(path: Path, text: str) -> None:
    """One write at the file's end, so that lines of several processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
