"""Pages from templates; a page contains everything it shows."""

from __future__ import annotations

import math
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from hyseg_cli.legend import format_color
from hyseg_cli.workflows.evaluate.tables import format_score


def render(template: str, **values: object) -> str:
    """A page as HTML; text among the values is escaped, names that are missing are errors."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hyseg_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": format_score,
        "count": format_count,
        "percent": format_percent,
        "decimals": format_decimals,
        "color": format_color,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    return environment


def format_count(value: float) -> str:
    """A whole number with separators: 1,234,567."""
    return f"{value:,.0f}"


def format_percent(share: float) -> str:
    """A share as percent with one decimal; `n/a` for NaN."""
    return "n/a" if math.isnan(share) else f"{100.0 * share:.1f} %"


def format_decimals(value: float, digits: int) -> str:
    """A number with separators and this many decimals; `n/a` for NaN."""
    return "n/a" if math.isnan(value) else f"{value:,.{digits}f}"
