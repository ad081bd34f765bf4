"""The site is built from the documents as they stand: without a warning, and without fetching anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_nothing_is_missing import api
from tests.support.browser import BrowserMissing, opened, violations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, by the command of the Makefile."""
    target = tmp_path_factory.mktemp("site")
    line = re.search(r"^docs: env-dev\n\t\$\(PY\) (.+) -m sphinx (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert line
    words = line[2].replace("build/", f"{target}/").replace("$(ARGS)", "").split()
    assert {"-W", "--keep-going"} <= set(words)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:pkg_resources is deprecated:UserWarning", "-m", "sphinx", *words],
        cwd=ROOT,
        # Whoever asks the network is sent to a port where nobody listens.
        env={**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return target / "docs"


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT).with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert pages - built == set()
    assert "docs/index.html" in (site / "index.html").read_text(encoding="utf-8")


def test_no_link_leads_to_nothing(site: Path) -> None:
    names: dict[Path, set[str]] = {}
    missing = []
    for page in sorted(site.rglob("*.html")):
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            file = (page.parent / unquote(url.path)).resolve() if url.path else page
            if not file.exists():
                missing.append(f"{page.relative_to(site)}: {target}")
            elif url.fragment and file.suffix == ".html":
                if file not in names:
                    names[file] = set(re.findall(r'\sid="([^"]+)"', file.read_text(encoding="utf-8")))
                if unquote(url.fragment) not in names[file]:
                    missing.append(f"{page.relative_to(site)}: {target}")
    assert missing == []


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]*"', text) == []
        assert re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//[^"]*"', text) == []


def test_the_api_has_every_name(site: Path) -> None:
    page = (site / "docs/reference/api.html").read_text(encoding="utf-8")
    names = [f"{module}.{name}" for module, names in api().items() for name in names]
    assert len(names) > 150
    assert [name for name in names if f'id="{name}"' not in page] == []
    assert "The request or scope that the session is bound to is over" in page


def test_it_can_be_searched_without_a_server(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert "pooltimeout" in index


def test_language_models_have_an_index(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# respool\n\n> ")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) > 40
    assert [link for link in links if not (site / link).exists()] == []


def test_each_picture_is_told_in_words(site: Path) -> None:
    pictures = [
        (page.relative_to(site), picture)
        for page in site.rglob("*.html")
        for picture in re.findall(r'<img [^>]*src="(?:\.\./)*_images/[^>]*>', page.read_text(encoding="utf-8"))
    ]
    assert len(pictures) > 10
    assert [each for each in pictures if not re.search(r'alt="[^"]{10,}"', each[1])] == []


#: One page of each kind that there is.
_KINDS = (
    *("docs/index", "docs/ru/session-and-connections", "docs/explanation/design", "docs/troubleshooting"),
    *("docs/reference/errors/P001", "docs/reference/commands", "search"),
)


def test_it_can_be_read_and_searched_by_everybody(site: Path) -> None:
    try:
        with opened() as browser:
            for scheme, width in (("light", 1280), ("dark", 390)):
                page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
                for name in _KINDS:
                    page.goto((site / f"{name}.html").as_uri())
                    assert violations(page) == [], (scheme, width, name)
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (scheme, width, name)
                page.goto((site / "search.html").as_uri() + "?q=PoolTimeout")
                page.wait_for_selector("ul.search li a[href*='reference/errors/P001']")
    except BrowserMissing as missing:
        pytest.skip(str(missing))


def test_its_pictures_follow_its_switch(site: Path) -> None:
    try:
        with opened() as browser:
            page = browser.new_context(color_scheme="light").new_page()
            page.goto((site / "docs/reference/session.html").as_uri())
            picture = page.locator("img[src*='objects.svg']")
            picture.scroll_into_view_if_needed()
            page.wait_for_function("[...document.images].every(image => image.complete)")
            box = picture.bounding_box()
            inside = {"x": box["x"] + 20, "y": box["y"] + 20, "width": 80, "height": 40}  # none of the page around it
            seen = {}
            for theme in ("auto", "light", "dark"):
                page.evaluate("theme => { document.body.dataset.theme = theme }", theme)
                seen[theme] = page.screenshot(clip=inside)
    except BrowserMissing as missing:
        pytest.skip(str(missing))
    assert seen["auto"] == seen["light"] != seen["dark"]
