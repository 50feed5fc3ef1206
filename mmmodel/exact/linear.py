"""Sums of integer variables of z3, made through its C interface: the checks of types around each `a * x + b * y` take most of the time
where there are thousands of terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import z3
from z3 import z3core

variable = cache(z3.Int)  # of a name: the same in every solver
number = cache(z3.IntVal)


def total(terms: Iterable[tuple[int, z3.ArithRef]]) -> z3.ArithRef:
    """Σ factor · variable; 0 without terms."""
    context = z3.main_ctx()

    def product(factor: int, of: z3.ArithRef) -> z3.ArithRef:
        return z3.ArithRef(z3core.Z3_mk_mul(context.ref(), 2, _listed([number(factor), of])), context)

    made = [of if factor == 1 else product(factor, of) for factor, of in terms] or [number(0)]
    return z3.ArithRef(z3core.Z3_mk_add(context.ref(), len(made), _listed(made)), context)


def none_negative(variables: Iterable[z3.ArithRef]) -> z3.BoolRef:
    """All of them are 0 or more."""
    context = z3.main_ctx()
    made = [z3.BoolRef(z3core.Z3_mk_ge(context.ref(), of.ast, number(0).ast), context) for of in variables]
    return z3.BoolRef(z3core.Z3_mk_and(context.ref(), len(made), _listed(made)), context)


def _listed(made: Sequence[z3.ExprRef]) -> object:
    return (z3.Ast * len(made))(*(one.ast for one in made))
