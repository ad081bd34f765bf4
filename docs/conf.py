"""The site: the Markdown as it stands, the API from the docstrings. ``make docs`` builds it into ``build/docs``.

The source folder is the project's, so that the links that lead out of ``docs`` (to the README, the examples) lead to the
same pages on the site. Nothing is fetched, unless ``RESPOOL_DOCS_INTERSPHINX=1`` asks for links into other projects'
documents.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
INDEX = "docs/index"
sys.path.insert(0, str(ROOT / "src"))

project = "respool"
author = copyright = "respool contributors"  # noqa: A001 - Sphinx's name for it
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
root_doc = INDEX
include_patterns = ["*.md", "benchmarks/*.md", "docs/*.md", "docs/**/*.md", "docs/**/*.rst", "examples/*.md"]
exclude_patterns = [".*", "build", "dist", "src", "tests"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx"]

# -- the pages --------------------------------------------------------------------------------------------------------

myst_heading_anchors = 6
_LINK = re.compile(r"\]\((?P<target>[^)#\s]+\.(?:md|rst))(?P<anchor>#[^)]*)?\)")

# -- the API ----------------------------------------------------------------------------------------------------------

autodoc_default_options = {
    "members": True,
    "inherited-members": True,
    "member-order": "bysource",
    "show-inheritance": True,
}
toc_object_entries = False  # each page carries a copy of all lists of contents: a third of the whole time
autodoc_inherit_docstrings = False  # SQLAlchemy's are SQLAlchemy's, and refer to its own pages
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "sqlalchemy": ("https://docs.sqlalchemy.org/en/21", None),
        "flask": ("https://flask.palletsprojects.com/en/stable", None),
        "django": ("https://docs.djangoproject.com/en/stable", "https://docs.djangoproject.com/en/stable/_objects"),
        "aiohttp": ("https://docs.aiohttp.org/en/stable", None),
    }
    if os.environ.get("RESPOOL_DOCS_INTERSPHINX") == "1"
    else {}
)

# -- how it looks -----------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"respool {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_sourcelink = False  # the sources are there: llms.txt leads to them
#: What Sphinx and its theme leave to be desired for those who use a keyboard, or listen: axe-core has no more to say.
_ACCESSIBLE = {
    r'<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    r'<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    r'<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    r"<pre>": '<pre tabindex="0">',
    r'(<div class="table-wrapper[^">]*")>': r'\1 tabindex="0">',
    r'<th class="head"><p></p></th>': '<td class="head"></td>',
    r'<div id="search-results"></div>': '<h1>Search</h1>\n<div id="search-results"></div>',
}
pygments_style = "default"
pygments_dark_style = "monokai"


def _contents(index: str) -> str:
    """The side bar, made from the headings and the links of the index."""
    trees = []
    for heading, section in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", index, re.MULTILINE):
        entries = dict.fromkeys(target for target, _ in _LINK.findall(section))
        lines = "\n".join(os.path.splitext(f"/{_from_root(entry)}")[0] for entry in entries)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{lines}\n```\n")
    project_pages = "/README\n/CHANGELOG\n/CONTRIBUTING\n/SECURITY\n/benchmarks/README"
    return "\n".join([*trees, f"```{{toctree}}\n:hidden:\n:caption: Project\n\n{project_pages}\n```\n"])


def _from_root(target: str) -> str:
    """A target of the index as a path below the project's folder."""
    return os.path.normpath(os.path.join(os.path.dirname(INDEX), unquote(target))).replace(os.sep, "/")


def _prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """What code hosts follow and MyST does not: links to folders. What only a site has: its side bar."""
    page = Path(app.env.doc2path(docname))

    def lead(link: re.Match[str]) -> str:
        return link[1] if (page.parent / link[2]).is_dir() else link[0]

    if page.suffix == ".md":
        source[0] = re.sub(r"\[([^\]\n]+)\]\(([^)\s:#]+)\)", lead, source[0])
    if page.parent.name in ("errors", "findings"):  # their lists lead to them: no side bar is to have them all
        source[0] = f"---\norphan: true\n---\n\n{source[0]}"
    if docname == INDEX:
        source[0] += "\n" + _contents(source[0])


def _write_what_is_beside_the_pages(app: Sphinx, error: Exception | None) -> None:
    """The first page under the name that browsers ask for, and the index for language models: llms.txt."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir)
    for page in target.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for pattern, better in _ACCESSIBLE.items():
            text = re.sub(pattern, better, text)
        page.write_text(text, encoding="utf-8")
    head = f'<meta charset="utf-8"><title>respool</title><meta http-equiv="refresh" content="0; url={INDEX}.html">'
    first = (
        f'<!doctype html><html lang="en"><head>{head}</head><body><a href="{INDEX}.html">respool</a></body></html>\n'
    )
    (target / "index.html").write_text(first, encoding="utf-8")
    index = (ROOT / f"{INDEX}.md").read_text(encoding="utf-8")
    linked = _LINK.sub(lambda link: f"](_sources/{_from_root(link['target'])}.txt{link['anchor'] or ''})", index)
    _, _, body = linked.partition("\n")
    summary = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"]
    (target / "llms.txt").write_text(f"# respool\n\n> {summary}\n{body}", encoding="utf-8")


def _skip_what_is_others(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """What a class has from elsewhere (SQLAlchemy, Python) is described on other pages."""
    it = obj.fget if isinstance(obj, property) else obj
    origin = getattr(it, "__module__", None) or getattr(getattr(it, "__objclass__", None), "__module__", None)
    return True if what != "module" and origin and not str(origin).startswith("respool") else None


def _read_fences(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Examples in docstrings are fenced, as in Markdown. Of a module's head only the first lines are for its users."""
    if what == "module" and "" in lines:
        del lines[lines.index("") + 1 :]
    inside = False
    for number, line in enumerate(lines):
        if line.strip().startswith("```"):
            inside = not inside and line.strip() != "```"
            lines[number] = line.replace("```python", ".. code-block:: python\n") if inside else ""
        elif inside:
            lines[number] = f"    {line}"
    lines[:] = "\n".join(lines).split("\n")


def setup(app: Sphinx) -> None:
    app.connect("source-read", _prepare)
    app.connect("autodoc-skip-member", _skip_what_is_others)
    app.connect("autodoc-process-docstring", _read_fences)
    app.connect("build-finished", _write_what_is_beside_the_pages)
