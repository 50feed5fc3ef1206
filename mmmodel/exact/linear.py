"""Sums of integer variables of z3, made through its C interface: the checks of types around each `a * x + b * y` take most of the time
where there are thousands of terms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import z3
from z3 import z3core


@cache
def variable(name: str) -> z3.ArithRef:
    """The integer of that name: the same in every solver."""
    return z3.Int(name)


def total(terms: Iterable[tuple[int, z3.ArithRef]]) -> z3.ArithRef:
    """Σ factor · variable; 0 without terms."""
    context = z3.main_ctx()
    numbers: dict[int, z3.ArithRef] = {}
    made = []
    for factor, variable in terms:
        if factor == 1:
            made.append(variable)
            continue
        number = numbers.get(factor)
        if number is None:
            number = numbers[factor] = z3.IntVal(factor)
        pair = (z3.Ast * 2)(number.ast, variable.ast)
        made.append(z3.ArithRef(z3core.Z3_mk_mul(context.ref(), 2, pair), context))
    if len(made) < 2:
        return made[0] if made else z3.IntVal(0)
    listed = (z3.Ast * len(made))(*(term.ast for term in made))
    return z3.ArithRef(z3core.Z3_mk_add(context.ref(), len(made), listed), context)


def none_negative(variables: Iterable[z3.ArithRef]) -> z3.BoolRef:
    """All of them are 0 or more."""
    context, zero = z3.main_ctx(), z3.IntVal(0)
    made = [z3.BoolRef(z3core.Z3_mk_ge(context.ref(), variable.ast, zero.ast), context) for variable in variables]
    listed = (z3.Ast * len(made))(*(one.ast for one in made))
    return z3.BoolRef(z3core.Z3_mk_and(context.ref(), len(made), listed), context)
