"""wrk in place of our own clients, where it is installed: ``--generator wrk``.

It looks at statuses alone: what is in an answer, and whether a row is there, only our own clients check.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.applications.store import ITEMS
from benchmarks.applications.workloads import ELSEWHERE, SHARES, Load

__all__ = ["is_there", "measure"]

PATHS = {
    "read-one": ("GET", '"/items/" .. math.random({items})'),
    "list-100": ("GET", '"/items"'),
    "write-one": ("POST", '"/orders/w" .. math.random(1e15)'),
    "sell": ("POST", '"/sell/" .. math.random({items}) .. "/w" .. math.random(1e15)'),
    "read-call-read": ("GET", '"/call/" .. math.random({items}) .. "/{elsewhere}"'),
}

SCRIPT = """\
math.randomseed({seed})
local below = {{ {below} }}
local acts = {{ {acts} }}
function request()
  local dice = math.random(100)
  for number, most in ipairs(below) do
    if dice <= most then
      local method, path = acts[number]()
      return wrk.format(method, path, {{ ["Content-Length"] = method == "POST" and "0" or nil }})
    end
  end
end
function done(summary, latency, requests)
  local bad = summary.errors
  io.write(string.format('\\n{{"requests": %d, "us": %d, "errors": %d, "p50": %f, "p99": %f, "max": %f}}\\n',
    summary.requests, summary.duration, bad.connect + bad.read + bad.write + bad.status + bad.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def is_there() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def measure(port: int, load: Load, seconds: float) -> dict[str, float]:
    """One slice: rates and waits.

    Args:
        port: the application's.
        load: what is asked for.
        seconds: for how long, at least a second.
    """
    shares = SHARES if load.name == "shop" else {load.name: 100}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "load.lua")
        script.write_text(_script(shares))
        command = ["wrk", "-t1", f"-c{load.clients}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    right = found["requests"] - found["errors"]
    took = found["us"] / 1e6
    return {
        "requests": found["requests"],
        "rate": right / took,
        "slowdown": took / max(right, 1) * 1e3,
        "p50": found["p50"] / 1e3,
        "p99": found["p99"] / 1e3,
        "max": found["max"] / 1e3,
        "errors": found["errors"],
    }


def _script(shares: dict[str, int]) -> str:
    below, acts, sum_so_far = [], [], 0
    for name, share in shares.items():
        method, path = PATHS[name]
        sum_so_far += share
        below.append(str(sum_so_far))
        path = path.format(items=ITEMS, elsewhere=ELSEWHERE)
        acts.append(f'function() return "{method}", {path} end')
    return SCRIPT.format(seed=time.time_ns() % 2**31, below=", ".join(below), acts=", ".join(acts))
