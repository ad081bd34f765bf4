"""Checks the documents: links lead somewhere, Python examples compile, every error code is described.

Usage: python scripts/check_docs.py [FOLDER]      (the project's folder; this one by default)
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

FENCE = re.compile(r"^\s*(?:[-*+]\s+|\d+[.)]\s+)?(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)$")
LINK = re.compile(
    r"!?\[[^\]]*\]\(\s*<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*<?(?P<ref>[^\s>]+)", re.M
)
CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*$", re.M)
ERRORS = Path("docs/reference/errors")


@dataclass(frozen=True)
class Document:
    """One Markdown file, with the text outside its fenced blocks apart from the blocks (line numbers are kept)."""

    path: Path
    prose: str
    blocks: tuple[tuple[int, str, str], ...]  #: line of the fence, language, text

    @classmethod
    def read(cls, path: Path) -> Document:
        prose: list[str] = []
        blocks: list[tuple[int, str, str]] = []
        inside: re.Match[str] | None = None
        start = 0
        body: list[str] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = FENCE.match(line)
            if inside is None and found:
                inside, start, body = found, number, []
            elif (
                inside is not None
                and found
                and not found["info"].strip()
                and found["fence"].startswith(inside["fence"])
            ):
                blocks.append((start, inside["info"].split()[0] if inside["info"].strip() else "", "\n".join(body)))
                inside = None
            elif inside is not None:
                body.append(line)
            prose.append("" if inside is not None or found else line)
        return cls(path, "\n".join(prose), tuple(blocks))

    def anchors(self) -> set[str]:
        """The names that its headings can be linked by, as code hosts make them."""
        names: set[str] = set()
        for heading in HEADING.finditer(self.prose):
            text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).replace("`", "")
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            name, again = slug, 0
            while name in names:
                again += 1
                name = f"{slug}-{again}"
            names.add(name)
        return names | set(re.findall(r"<a\s+(?:name|id)=\"([^\"]+)\"", self.prose))


def documents(root: Path) -> list[Document]:
    paths = [
        path
        for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
        if (path := root / name).exists()
    ]
    for folder in ("docs", "examples", "benchmarks"):
        paths += sorted(root.glob(f"{folder}/**/*.md"))
    return [Document.read(path) for path in paths]


def broken_links(root: Path, pages: list[Document]) -> Iterator[str]:
    anchors = {page.path.resolve(): page.anchors() for page in pages}
    for page in pages:
        prose = CODE_SPAN.sub(lambda span: re.sub(r"[^\n]", " ", span[0]), page.prose)
        for link in LINK.finditer(prose):
            target = link["target"] or link["ref"]
            if re.match(r"[a-z][a-z0-9+.-]*:", target, re.I):
                continue
            where = f"{page.path.relative_to(root)}:{prose.count(chr(10), 0, link.start()) + 1}"
            name, _, anchor = unquote(target).partition("#")
            file = (page.path.parent / name).resolve() if name else page.path.resolve()
            if not file.exists():
                yield f"{where}: link to {target}: there is no such file"
            elif not file.is_relative_to(root.resolve()):
                yield f"{where}: link to {target}: leads out of the project"
            elif anchor and file in anchors and anchor not in anchors[file]:
                yield f"{where}: link to {target}: {file.name} has no heading #{anchor}"


def broken_examples(root: Path, pages: list[Document]) -> Iterator[str]:
    for page in pages:
        for line, language, text in page.blocks:
            if language.lower() not in {"python", "py", "python3"}:
                continue
            try:  # an example may await at its top level, as in the asyncio REPL
                compile(
                    textwrap.dedent(text), str(page.path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
                )
            except SyntaxError as error:
                where = f"{page.path.relative_to(root)}:{line + (error.lineno or 1)}"
                yield f"{where}: this example is not Python: {error.msg}"


def error_codes(root: Path) -> dict[str, str]:
    """Each error's code and class, read from the source."""
    tree = ast.parse((root / "src/respool/errors.py").read_text(encoding="utf-8"))
    codes: dict[str, str] = {}
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for line in kind.body:
            match line:
                case ast.AnnAssign(target=ast.Name("code"), value=ast.Constant(str(code))):
                    codes[code] = kind.name
                case ast.Assign(targets=[ast.Name("code")], value=ast.Constant(str(code))):
                    codes[code] = kind.name
    return codes


def undescribed_errors(root: Path, pages: list[Document]) -> Iterator[str]:
    """Each error has a page of its own, and each page is that of an error."""
    there = {page.path: page for page in pages if page.path.parent == root / ERRORS}
    codes = error_codes(root)
    for code, name in codes.items():
        page = there.pop(root / ERRORS / f"{code}.md", None)
        if page is None:
            yield f"{ERRORS}/{code}.md: there is no such file; it describes {name}"
        elif page.prose.partition("\n")[0] != f"# {code} {name}":
            yield f"{ERRORS}/{code}.md: its heading is not {code} {name}"
    yield from (f"{path.relative_to(root)}: there is no such error" for path in there)


def main(root: Path) -> int:
    pages = documents(root)
    problems = [
        *broken_links(root, pages),
        *broken_examples(root, pages),
        *undescribed_errors(root, pages),
    ]
    for problem in problems:
        print(problem)
    examples = sum(language in {"python", "py", "python3"} for page in pages for _, language, _ in page.blocks)
    print(f"docs: {len(pages)} files, {examples} Python examples, {len(error_codes(root))} error codes: ", end="")
    print(f"{len(problems)} problems" if problems else "all well")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
