"""Takes the picture of the dashboard that the README shows: of the demo, with a trouble that has gone on for a while.

Usage: python scripts/shoot_demo.py      (takes a minute, and Chromium: scripts/topologies browser)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.browser import BrowserMissing, opened  # noqa: E402  # found by the line above

IMAGE = ROOT / "docs" / "images" / "demo.png"
#: How many snapshots are waited for, one a second; until then there is nothing to be seen in the charts.
_SNAPSHOTS = 45


def main() -> int:
    """Start the demo, look at its page for a while, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/shop.db"
        command = [
            sys.executable,
            "-m",
            "respool",
            "demo",
            "--port",
            "0",
            "--url",
            url,
            "--load",
            "30",
            "--trouble",
            "hold",
        ]
        source = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        demo = subprocess.Popen(
            command, cwd=ROOT, env=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert demo.stdout is not None
            shoot(demo.stdout.readline().split()[-1])
        except BrowserMissing as missing:
            print(missing, file=sys.stderr)
            return 1
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate()
    print(f"written: {IMAGE.relative_to(ROOT)}")
    return 0


def shoot(address: str) -> None:
    """Take the picture of the page's first tab."""
    with opened() as browser:
        context = browser.new_context(
            viewport={"width": 1280, "height": 880}, device_scale_factor=1.5, color_scheme="light"
        )
        page = context.new_page()
        page.goto(f"{address}/respool/")
        page.evaluate(
            "window.seen = 0; new MutationObserver(() => window.seen++).observe(document.querySelector('#chart-time svg'), {childList: true})"
        )
        ready = "(most) => window.seen > most && document.querySelector('#strip .unused') !== null"
        page.wait_for_function(ready, arg=_SNAPSHOTS, timeout=300_000)
        page.screenshot(path=IMAGE, full_page=True)


if __name__ == "__main__":
    sys.exit(main())
