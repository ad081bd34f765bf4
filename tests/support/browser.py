"""A real browser, where there is one: Chromium from the system's packages, driven by playwright; and axe-core with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["BrowserMissing", "opened", "violations"]

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


class BrowserMissing(Exception):
    """There is no browser here, or nothing that drives it; the text says what to install."""


@contextmanager
def opened(*arguments: str) -> Iterator[Any]:
    """A browser for the length of a block. Meanwhile no other event loop runs in this thread: use others.

    Raises:
        BrowserMissing: there is none.
    """
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None or importlib.util.find_spec("playwright") is None:
        raise BrowserMissing("no Chromium here: scripts/topologies browser")
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.getuid() else ["--no-sandbox"]  # root cannot have one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*sandbox, *arguments])
        try:
            yield browser
        finally:
            browser.close()


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with a page as it is now; its context has to bypass the page's own policy."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    if not page.evaluate("typeof window.axe === 'object'"):
        page.add_script_tag(path=Path(spec.origin).with_name("axe.min.js"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]
