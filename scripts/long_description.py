"""What a package index shows: the README, with links that lead to the repository as it was at this version.

The build calls it (``tool.hatch.metadata.hooks`` in ``pyproject.toml``). In the source the links stay relative, so that
they lead to what is beside them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def absolute(text: str, source: str, version: str) -> str:
    """A README's text with each relative link made absolute; what is fenced stays.

    Args:
        text: Markdown.
        source: the repository's address.
        version: its tag is this, with a "v" before it.
    """

    def lead(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z][a-z0-9+.-]*:|#", target):
            return link[0]
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({source}/{kind}/v{version}/{target})"

    parts = _FENCE.split(text)
    return "".join(part if number % 2 else _LINK.sub(lead, part) for number, part in enumerate(parts))


class LongDescription(MetadataHookInterface):
    """Gives the build its ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add it to the project's metadata."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = absolute(readme, metadata["urls"]["Source"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
