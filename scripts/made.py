"""Files that a script makes: it writes them, or with ``--check`` says which are not as it would write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["write_or_check"]


def write_or_check(
    texts: Mapping[Path, str], arguments: Sequence[str], *, root: Path, script: str, there: Iterable[Path] = ()
) -> int:
    """Do it; returns the exit code.

    Args:
        texts: what each file is to contain.
        arguments: the script's own.
        root: the folder that files are named from.
        script: its file, for whoever is told to run it.
        there: files that the script has made before; those that it makes no more are too many.
    """
    old = [
        file for file in {*texts, *there} if not file.exists() or texts.get(file) != file.read_text(encoding="utf-8")
    ]
    for file in sorted(old):
        name = file.relative_to(root)
        if "--check" in arguments:
            print(f"{name} is not of today; run: python scripts/{Path(script).name}")
        elif file in texts:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(texts[file], encoding="utf-8")
            print(f"written: {name}")
        else:
            file.unlink()
            print(f"removed: {name}")
    return 1 if old and "--check" in arguments else 0
