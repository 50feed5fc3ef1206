r"""TeX formulas as MathML, which every browser lays out itself: no script, no font and no network are needed to read them.

It knows the TeX that the notebooks use (letters, scripts, fractions, roots, delimiters, `cases`, the field's symbols) and
raises FormulaError for the rest, so that a page cannot show a formula wrongly. The TeX stays in `alttext`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

LIMITS = ("max", "min", "sup", "inf", "lim")  # names with their script below
NAMES = ("exp", "log", "ln", "Pr", "mod", "deg", "det", "gcd", "arg", "sin", "cos", "tan")
BIG = {"sum": "∑", "prod": "∏", "bigcup": "⋃", "bigcap": "⋂", "int": "∫"}
ALPHABET = "αβγδεζηθικλμνξοπρστυφχψω"
ALPHABET_NAMES = """alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon
    varphi chi psi omega"""
GREEK = dict(zip(ALPHABET_NAMES.split(), ALPHABET, strict=True)) | {
    "epsilon": "ϵ", "phi": "ϕ", "Gamma": "Γ", "Delta": "Δ", "Lambda": "Λ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Omega": "Ω",
}  # fmt: skip
LETTERS = GREEK | {"infty": "∞", "ell": "ℓ", "emptyset": "∅", "partial": "∂", "hbar": "ℏ"}
OPERATORS = {
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "sim": "∼", "equiv": "≡", "propto": "∝",
    "ll": "≪", "gg": "≫", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩", "setminus": "∖",
    "times": "×", "cdot": "⋅", "pm": "±", "mp": "∓", "div": "÷", "ast": "∗", "circ": "∘", "to": "→", "rightarrow": "→",
    "leftarrow": "←", "longrightarrow": "⟶", "Rightarrow": "⇒", "Longrightarrow": "⟹", "implies": "⟹", "iff": "⟺",
    "Leftrightarrow": "⇔", "mapsto": "↦", "forall": "∀", "exists": "∃", "neg": "¬", "lnot": "¬", "land": "∧", "wedge": "∧",
    "lor": "∨", "vee": "∨", "dots": "…", "ldots": "…", "cdots": "⋯", "vdots": "⋮", "colon": ":", "mid": "∣", "prime": "′",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "{": "{", "}": "}", "|": "‖",
    "lbrace": "{", "rbrace": "}", "lvert": "|", "rvert": "|", "%": "%", "$": "$", "#": "#", "&": "&", "_": "_",
}  # fmt: skip
SPACES = {",": 0.167, ":": 0.222, ">": 0.222, ";": 0.278, "!": -0.167, " ": 0.25, "quad": 1.0, "qquad": 2.0}
SIZES = {"big": 1.2, "bigl": 1.2, "bigr": 1.2, "Big": 1.8, "Bigl": 1.8, "Bigr": 1.8, "bigg": 2.4, "Bigg": 3.0}
FONTS = {"mathbb": "double-struck", "mathbf": "bold", "boldsymbol": "bold", "mathcal": "script", "mathrm": "normal"}
ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~", "overline": "¯", "dot": "˙", "vec": "→"}
ENVIRONMENTS = {"cases": ("{", ""), "matrix": ("", ""), "pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "aligned": ("", "")}
TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d+(?:[.,]\d+)*|\s+|.", re.DOTALL)


class FormulaError(ValueError):
    """A formula that this module does not know how to write."""


def to_mathml(tex: str, block: bool = False) -> str:
    """The formula (without its dollars) as one `math` element. Raises FormulaError, naming what is unknown and the formula."""
    reader = _Reader(tex)
    body = reader.row(())
    display = ' display="block"' if block else ""
    text = html.escape(" ".join(tex.split()), quote=True)
    return f'<math{display} alttext="{text}"><mrow>{body}</mrow></math>'


class _Reader:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tex: str):
        self.tex = tex
        self.tokens = TOKEN.findall(tex)
        self.at = 0

    def fail(self, what: str) -> FormulaError:
        return FormulaError(f"formula: {what} in {self.tex!r}")

    def peek(self) -> str:
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        if not token:
            raise self.fail("the end is missing")
        return token

    def row(self, ends: tuple[str, ...]) -> str:
        """Atoms with their scripts up to one of `ends`, which is left for the caller; without `ends` to the end."""
        parts = []
        while (token := self.peek()) not in ends:
            if not token:
                if ends:
                    raise self.fail(f"{ends[0]} is missing")
                break
            parts.append(self.scripted())
        return "".join(parts)

    def scripted(self) -> str:
        limits = self.peek().lstrip("\\") in (*LIMITS, "sum", "prod", "bigcup", "bigcap")
        base = self.atom()
        below = above = ""
        while self.peek() in ("_", "^", "'"):
            mark = self.next()
            if mark == "'":
                above += "<mo>′</mo>"
            elif mark == "_":
                below = self.argument(script=True)
            else:
                above += self.argument(script=True)
        if not below and not above:
            return base
        above = f"<mrow>{above}</mrow>"
        if not below:
            return f"<{'mover' if limits else 'msup'}>{base}{above}</{'mover' if limits else 'msup'}>"
        if above == "<mrow></mrow>":
            return f"<{'munder' if limits else 'msub'}>{base}{below}</{'munder' if limits else 'msub'}>"
        name = "munderover" if limits else "msubsup"
        return f"<{name}>{base}{below}{above}</{name}>"

    def argument(self, script: bool = False) -> str:
        """A group in braces or one token. In a script, letters that stand together are a word: R_{safe}."""
        if self.peek() != "{":
            token = self.peek()
            if len(token) > 1 and token.isdigit():  # \tfrac34: one digit each
                self.tokens[self.at : self.at + 1] = list(token)
            return self.atom()
        self.next()
        start = self.at
        body = self.row(("}",))
        word = "".join(self.tokens[start : self.at]).strip()
        self.next()
        if script and re.fullmatch(r"[A-Za-z]{2,}", word):
            return f"<mi>{word}</mi>"
        return f"<mrow>{body}</mrow>"

    def text(self) -> str:
        """The raw text of a group in braces."""
        if self.next() != "{":
            raise self.fail("{ is missing")
        depth, parts = 1, []
        while True:
            if self.at >= len(self.tokens):
                raise self.fail("} is missing")
            token = self.tokens[self.at]
            self.at += 1
            depth += (token == "{") - (token == "}")
            if not depth:
                return "".join(parts)
            parts.append(token)

    def atom(self) -> str:
        token = self.next()
        if token.startswith("\\"):
            return self.command(token[1:])
        if token == "{":
            body = self.row(("}",))
            self.next()
            return f"<mrow>{body}</mrow>"
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token in "()[]|":
            return f'<mo stretchy="false">{token}</mo>'
        if token in "+-*/=<>,;:!.":
            return f"<mo>{html.escape({'-': '−', '*': '∗'}.get(token, token))}</mo>"
        if token == "~":
            return '<mspace width="0.25em"></mspace>'
        if ord(token) > 127:
            return f"<mo>{token}</mo>"
        raise self.fail(f"{token!r} is out of place")

    def command(self, name: str) -> str:
        if name in LETTERS:
            return f"<mi>{LETTERS[name]}</mi>"
        if name in OPERATORS:
            return f'<mo stretchy="false">{html.escape(OPERATORS[name])}</mo>'
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}em"></mspace>'
        if name in BIG:
            return f'<mo movablelimits="true">{BIG[name]}</mo>'
        if name in LIMITS:
            return f'<mo movablelimits="true" lspace="0.1em" rspace="0.1em">{name}</mo>'
        if name in NAMES:
            return f"<mi>{name}</mi>"
        if name in SIZES:
            size = SIZES[name]
            return f'<mo stretchy="true" minsize="{size}em" maxsize="{size}em">{self.delimiter()}</mo>'
        return self.structure(name)

    def structure(self, name: str) -> str:
        if name in ("frac", "dfrac", "tfrac"):
            style = {"frac": "", "dfrac": ' displaystyle="true"', "tfrac": ' displaystyle="false" scriptlevel="1"'}[name]
            return f"<mstyle{style}><mfrac>{self.argument()}{self.argument()}</mfrac></mstyle>"
        if name == "binom":
            return f'<mo>(</mo><mfrac linethickness="0">{self.argument()}{self.argument()}</mfrac><mo>)</mo>'
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>"
        if name in ("text", "textrm", "mbox", "operatorname", "mathit"):
            text = html.escape(self.text())
            return f"<mi>{text}</mi>" if name == "operatorname" else f"<mtext>{_keep_spaces(text)}</mtext>"
        if name in ("displaystyle", "textstyle", "limits", "nolimits"):
            return ""
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.environment()
        if name in FONTS:
            return f'<mstyle mathvariant="{FONTS[name]}">{self.font(name)}</mstyle>'
        if name in ACCENTS:
            return f'<mover accent="true">{self.argument()}<mo>{ACCENTS[name]}</mo></mover>'
        raise self.fail(f"\\{name} is unknown")

    def font(self, name: str) -> str:
        """Letters of another font. MathML Core has only upright, so double-struck and script are characters of their own."""
        text = self.text() if self.peek() == "{" else self.next()
        if name == "mathrm":
            return f'<mi mathvariant="normal">{html.escape(text)}</mi>'
        start = {"mathbb": 0x1D538, "mathcal": 0x1D49C, "mathbf": 0x1D400, "boldsymbol": 0x1D400}[name]
        special = {"mathbb": {"N": "ℕ", "P": "ℙ", "R": "ℝ", "Z": "ℤ", "Q": "ℚ", "C": "ℂ"}}.get(name, {})
        letters = [special.get(c) or (chr(start + ord(c) - 65) if "A" <= c <= "Z" else c) for c in text]
        return "".join(f"<mi>{html.escape(letter)}</mi>" for letter in letters)

    def delimiter(self) -> str:
        token = self.next()
        if token == ".":
            return ""
        if token in ("(", ")", "[", "]", "|", "/", "<", ">"):
            return html.escape(token)
        if token.startswith("\\") and token[1:] in OPERATORS:
            return OPERATORS[token[1:]]
        raise self.fail(f"{token!r} is no delimiter")

    def fenced(self) -> str:
        opening = self.delimiter()
        body = self.row(("\\right",))
        self.next()
        closing = self.delimiter()
        left, right = (f'<mo stretchy="true" fence="true">{mark}</mo>' if mark else "" for mark in (opening, closing))
        return f"<mrow>{left}<mrow>{body}</mrow>{right}</mrow>"

    def environment(self) -> str:
        name = self.text()
        if name not in ENVIRONMENTS:
            raise self.fail(f"environment {name} is unknown")
        opening, closing = ENVIRONMENTS[name]
        rows = "".join(f"<mtr>{row}</mtr>" for row in self.table_rows())
        if self.text() != name:
            raise self.fail(f"\\end{{{name}}} is missing")
        align = ' columnalign="left"' if name == "cases" else ""
        left, right = (f'<mo stretchy="true" fence="true">{mark}</mo>' if mark else "" for mark in (opening, closing))
        return f"<mrow>{left}<mtable{align}>{rows}</mtable>{right}</mrow>"

    def table_rows(self) -> Iterator[str]:
        while True:
            cells = []
            while True:
                cells.append(f"<mtd>{self.row(('&', chr(92) * 2, chr(92) + 'end'))}</mtd>")
                if (token := self.next()) != "&":
                    break
            if cells != ["<mtd></mtd>"]:
                yield "".join(cells)
            if token == "\\end":
                return


def _keep_spaces(text: str) -> str:
    """Spaces at the ends of a text are part of it; browsers would drop them."""
    return re.sub(r"^ | $", "\N{NO-BREAK SPACE}", text)
