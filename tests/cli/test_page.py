"""The demo's page for people who do not see it: what is a list for a screen reader, what has a name, what can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from respool.cli import demo

FOLDER = Path(demo.__file__).parent / "page"
PAGE, STYLE, SCRIPT = ((FOLDER / f"page.{kind}").read_text() for kind in ("html", "css", "js"))

VOID = {"meta", "link", "input"}
#: What means nothing, or any role may be given to. All else says by itself what it is.
NEUTRAL = {"div", "p", "span", "svg"}
LANDMARKS = {"header", "main", "nav", "footer"}
#: What its children have to be, and what they have to be in. A template's content is put into a list by the script.
CHILDREN = {"ul": {"li"}, "ol": {"li"}, "dl": {"div", "dt", "dd"}}
PARENTS = {"li": {"ul", "ol", "template"}, "dt": {"dl", "div"}, "dd": {"dl", "div"}}
#: What is outside of the cards, or has no ground of its own.
ON_PAPER = {"body", "h1 span", ".where", "input::placeholder"}
#: WCAG, for text of any size.
READABLE = 4.5


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def __str__(self) -> str:
        return f"<{self.name} {self.attributes}>"

    def all(self) -> Iterator[Element]:
        for child in self.children:
            yield child
            yield from child.all()

    def around(self) -> Iterator[Element]:
        if self.parent is not None:
            yield self.parent
            yield from self.parent.around()

    @property
    def words(self) -> str:
        return self.text.strip() + "".join(child.words for child in self.children)

    @property
    def unheard(self) -> bool:
        return any(each.attributes.get("aria-hidden") == "true" for each in (self, *self.around()))


class Tree(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.here = self.root = Element("", {}, None)
        self.feed(page)
        assert self.here is self.root, f"not closed: {self.here}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.here.name == tag, f"</{tag}> closes {self.here}"
            assert self.here.parent is not None
            self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.text += data


ALL = list(Tree(PAGE).root.all())


def named(*names: str) -> list[Element]:
    found = [each for each in ALL if each.name in names]
    assert found
    return found


def test_nothing_is_said_to_be_what_it_is_not() -> None:
    roles = [each for each in ALL if "role" in each.attributes]
    assert roles
    assert [str(each) for each in roles if each.name not in NEUTRAL] == []
    assert not re.search(r"setAttribute\(\"role\"|\.role\b", SCRIPT)


def test_lists_are_made_of_their_items() -> None:
    for each in ALL:
        assert each.parent is not None
        if each.parent.name in CHILDREN:
            assert each.name in CHILDREN[each.parent.name], f"{each} in {each.parent}"
        if each.name in PARENTS:
            assert each.parent.name in PARENTS[each.name], f"{each} in {each.parent}"
        if each.name == "div" and each.parent.name == "dl":
            assert {child.name for child in each.children} == {"dt", "dd"}, each


def test_all_is_in_a_landmark_under_one_heading() -> None:
    (body,) = named("body")
    assert {each.name for each in body.children} <= LANDMARKS | {"template"}
    assert len(named("main")) == len(named("header")) == len(named("h1")) == 1
    levels = [int(each.name[1]) for each in ALL if re.fullmatch(r"h\d", each.name)]
    assert levels == sorted(levels)  # no level is left out
    assert set(levels) == {1, 2}
    (page,) = named("html")
    assert page.attributes["lang"] == "en"


def test_what_is_used_or_looked_at_has_a_name() -> None:
    ids = [each.attributes["id"] for each in ALL if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for each in named("section"):
        assert each.attributes["aria-labelledby"] in ids
    for each in named("input"):
        assert each.attributes["aria-label"]
    for each in named("th", "h1", "h2", "dt", "title"):
        assert each.words, each
    for each in named("svg"):
        assert each.unheard or (each.attributes["role"] == "img" and each.attributes["aria-label"]), each


# -- contrast ----------------------------------------------------------------------------------------------------------

Colour = tuple[float, float, float, float]


def rules(style: str) -> Iterator[tuple[str, dict[str, str]]]:
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        declared = (line.split(":", 1) for line in body.split(";") if ":" in line)
        yield selector.strip(), {name.strip(): value.strip() for name, value in declared}


def variables(scheme: str) -> dict[str, str]:
    light, dark = (declared for selector, declared in rules(STYLE) if selector == ":root")
    return {"light": light, "dark": light | dark}[scheme]


def colour(value: str, known: dict[str, str]) -> Colour:
    if found := re.fullmatch(r"var\((--[\w-]+)\)", value):
        return colour(known[found[1]], known)
    if found := re.fullmatch(r"color-mix\(in srgb, (.+) (\d+)%, transparent\)", value):
        red, green, blue, alpha = colour(found[1], known)
        return red, green, blue, alpha * int(found[2]) / 100
    if value == "none":
        return 0, 0, 0, 0
    digits = value.removeprefix("#")
    digits = "".join(2 * each for each in digits) if len(digits) in (3, 4) else digits
    red, green, blue, alpha = (int(digits.ljust(8, "f")[at : at + 2], 16) for at in (0, 2, 4, 6))
    return red, green, blue, alpha / 255


def over(upper: Colour, lower: Colour) -> Colour:
    red, green, blue = (up * upper[3] + low * (1 - upper[3]) for up, low in zip(upper[:3], lower[:3], strict=True))
    return red, green, blue, 1


def luminance(seen: Colour) -> float:
    linear = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in seen[:3])
    )
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Colour, other: Colour) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: str) -> None:
    known, told, seen = variables(scheme), [], 0
    for selector, declared in rules(STYLE):
        text = declared.get("color", "")
        if not text.startswith("var("):  # inherit
            continue
        for ground in ("--card", "--paper")[: 2 if selector in ON_PAPER else 1]:
            below = colour(known[ground], known)
            if "background" in declared:
                below = over(colour(declared["background"], known), below)
            seen += 1
            if (ratio := contrast(colour(text, known), below)) < READABLE:
                told.append(f"{selector} on {ground}: {ratio:.2f}")
    assert seen >= 20
    assert {selector for selector, _ in rules(STYLE)} >= ON_PAPER
    assert told == []


def test_no_text_is_made_paler_than_its_colour() -> None:
    paler = {selector for selector, declared in rules(STYLE) if float(declared.get("opacity", 1)) < 1}
    drawn = {".end", "from", '.slot[data-state="absent"] .wound, .slot[data-state="absent"] .core'}
    assert paler == drawn  # in the pictures only: the server may be away, and the page is still to be read


def test_the_contrast_is_that_of_the_textbook() -> None:
    assert contrast((0, 0, 0, 1), (255, 255, 255, 1)) == pytest.approx(21)
    assert contrast(colour("#767676", {}), colour("#fff", {})) == pytest.approx(4.54, abs=0.01)
