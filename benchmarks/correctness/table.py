"""The verdicts as Markdown: an overview, and then case by case, with the command of each cell."""

from __future__ import annotations

from typing import Any

__all__ = ["TITLE", "of_case", "section", "target"]

TITLE = "What happens when something is wrong"
HEAD = f"""\
## {TITLE}

Each peer in the same cases of misuse and of failure; “–”: the case has no meaning for it. What happened, and the command
that shows it, stand below, case by case.
"""
WORDS = {True: "right", False: "**wrong**", None: "–"}


def of_case(cells: list[dict[str, Any]]) -> str:
    """One case: a row for each peer."""
    lines = ["|  |  | what happened | by itself |", "| --- | --- | --- | --- |"]
    for cell in cells:
        name = f"**{cell['name']}**" if cell["ours"] else cell["name"]
        command = f"`{cell['command']}`" if cell["right"] is not None else ""
        lines.append(f"| {name} | {WORDS[cell['right']]} | {cell['what']} | {command} |")
    return "\n".join(lines)


def target(results: dict[str, Any]) -> list[str]:
    """What we want, what it is, and whether that is met."""
    ours = [cell for cell in results["cells"] if cell["ours"] and cell["right"] is not None]
    right = sum(cell["right"] for cell in ours)
    return ["respool is right in each case", f"{right} of {len(ours)}", "met" if right == len(ours) else "**not met**"]


def section(results: dict[str, Any]) -> str:
    """The whole of it."""
    cases, cells = results["cases"], results["cells"]
    peers = list(dict.fromkeys(cell["peer"] for cell in cells))
    by_place = {(cell["peer"], cell["case"]): cell for cell in cells}
    lines = [
        HEAD,
        f"|  | {' | '.join(case['name'] for case in cases)} |",
        f"| --- |{' --- |' * len(cases)}",
    ]
    for peer in peers:
        row = [by_place[peer, case["name"]] for case in cases]
        name = f"**{row[0]['name']}**" if row[0]["ours"] else row[0]["name"]
        lines.append(f"| {name} | {' | '.join(WORDS[cell['right']] for cell in row)} |")
    claim, measured, verdict = target(results)
    lines += ["", f"Target: {claim}. {measured}: {verdict}."]
    for case in cases:
        lines += [f"\n### {case['title']}\n", f"{case['text']}\n"]
        lines.append(of_case([cell for cell in cells if cell["case"] == case["name"]]))
    return "\n".join(lines) + "\n"
