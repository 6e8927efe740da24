"""Load by wrk: each request a body of its own, for a bounded time, on the loopback.

Where wrk is missing the bench says so and makes the load itself (``_flow``), which
takes more of the processor and so leaves less to what is measured.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench._programs import HOST, NotStarted

CONNECTIONS = 64
TIMEOUT_SECONDS = 10

_SCRIPT = """
-- Bodies, one a line; each is sent once, in order.
local bodies, sent = {}, 0
accepted, refused, repeated = 0, 0, 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args)
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
end
function request()
  if sent == #bodies then
    sent = 0
    repeated = repeated + 1
  end
  sent = sent + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[sent])
end
function response(status)
  if status == 200 then accepted = accepted + 1 else refused = refused + 1 end
end
function done(summary, latency, requests)
  local total = {accepted = 0, refused = 0, repeated = 0}
  for _, thread in ipairs(threads) do
    for name in pairs(total) do total[name] = total[name] + thread:get(name) end
  end
  local errors = summary.errors
  io.write(string.format(
    '\\n{"accepted":%d,"refused":%d,"repeated":%d,"seconds":%.6f,"p50_ms":%.3f,' ..
    '"p99_ms":%.3f,"broken":%d,"late":%d}\\n',
    total.accepted, total.refused, total.repeated, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write, errors.timeout))
end
"""

_GET_SCRIPT = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"accepted":%d,"refused":%d,"repeated":0,"seconds":%.6f,"p50_ms":%.3f,' ..
    '"p99_ms":%.3f,"broken":%d,"late":%d}\\n',
    summary.requests - errors.status, errors.status, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write, errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw. ``repeated``: how often the bodies began anew."""

    accepted: int
    refused: int
    repeated: int
    seconds: float
    p50_ms: float
    p99_ms: float
    broken: int = 0
    late: int = 0

    @property
    def rate(self) -> float:
        """Accepted requests a second."""
        return self.accepted / self.seconds

    def require_clean(self, what: str) -> None:
        """Raise NotStarted where requests failed, or bodies were sent twice."""
        if self.refused or self.late or self.repeated or not self.accepted:
            raise NotStarted(f"{what}: {self}")


def is_there() -> bool:
    """Say whether wrk is installed."""
    return shutil.which("wrk") is not None


def post_bodies(
    *, port: int, path: str, bodies: Path, folder: Path, seconds: float
) -> Load:
    """Post the bodies of a file, one a line, over 64 connections."""
    script = folder / "post.lua"
    script.write_text(_SCRIPT, "utf-8")
    return _run(script, f"http://{HOST}:{port}{path}", seconds, [str(bodies)])


def get(
    *,
    port: int,
    path: str,
    folder: Path,
    seconds: float,
    connections: int = 16,
    tag: str = "",
    pause_ms: int = 0,
) -> Load:
    """Read one address again and again.

    ``tag``: asked for on condition that it is another by now. ``pause_ms``: what each
    connection waits between an answer and its next request.
    """
    script = folder / "get.lua"
    # A load that does not grow with what the server can bear.
    pause = f"function delay() return {pause_ms} end" if pause_ms else ""
    script.write_text(pause + _GET_SCRIPT, "utf-8")
    url = f"http://{HOST}:{port}{path}"
    headers = {"If-None-Match": tag} if tag else {}
    return _run(script, url, seconds, [], connections=connections, headers=headers)


def _run(
    script: Path,
    url: str,
    seconds: float,
    words: list[str],
    connections: int = CONNECTIONS,
    headers: Mapping[str, str] | None = None,
) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    command += [f"--timeout={TIMEOUT_SECONDS}s", "-s", str(script), url]
    if words:
        command += ["--", *words]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise NotStarted(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    return Load(**json.loads(lines[-1]))
