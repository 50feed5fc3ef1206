r"""TeX formulas as MathML, which every browser lays out itself: no script, no font and no network are needed to read them.

latex2mathml converts. It lets stand what it does not know, so its result is checked here: a page must not show a formula wrongly.
The TeX stays in `alttext`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from latex2mathml import exceptions
from latex2mathml.converter import convert

CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3, "mroot": 2}
REFUSED = tuple(kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception))
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
ARGUMENT = re.compile(r"\\(?:text|math[a-z]+|operatorname)(?![A-Za-z])(?!\s*\{)")


class FormulaError(ValueError):
    """A formula that cannot be written as MathML."""


def to_mathml(tex: str, block: bool = False) -> str:
    """The formula (without its dollars) as one `math` element. Raises FormulaError, naming what is wrong and the formula."""
    depth = 0
    for brace in BRACE.findall(tex):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            break
    if depth:
        raise FormulaError(f"formula: braces do not match in {tex!r}")
    if missing := ARGUMENT.search(tex):
        raise FormulaError(f"formula: {missing[0]} without its argument in braces in {tex!r}")
    try:
        made = ET.fromstring(convert(tex, display="block" if block else "inline"))
    except REFUSED as error:
        raise FormulaError(f"formula: {type(error).__name__} in {tex!r}") from None
    for element in made.iter():
        name = element.tag.rpartition("}")[2]
        if "\\" in (element.text or ""):
            raise FormulaError(f"formula: {element.text} is unknown in {tex!r}")
        if len(element) != CHILDREN.get(name, len(element)):
            raise FormulaError(f"formula: a part of {name} is missing in {tex!r}")
    made.set("alttext", " ".join(tex.split()))
    ET.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    return ET.tostring(made, encoding="unicode")
