"""The statement of a tenant as pages: the facts of its pack as the data of a fixed typst template.

Belongs here: what stands where on the pages, and making the PDF. Does not belong here: which facts
(`exports/pack_facts.py`), the files beside it (`exports/packs.py`).

The template takes JSON and nothing else, so no text of a tenant is ever markup. Fonts are those that typst
brings, and behind them DejaVu, which comes with matplotlib, for scripts that they lack. The date in the file
is that of the reconciliation: the same facts give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cops_dagster.exports.pack_facts import Facts
from cops_dagster.money import amount, currency, footing
from cops_dagster.period import Period

_TEMPLATE = Path(__file__).with_name("pack_statement.typ")
LINES = (
    ("direct", "Direct cost"), ("shared", "Shared cost"), ("adjustments", "Prior-period adjustments"),
    ("markup", "Markup"),
)  # fmt: skip
"""Lines of a statement that make up its total, with what they are called."""
_METHODS = {
    "usage_key": "by usage", "proportional_cost": "by cost", "even": "evenly", "fixed": "by fixed shares",
    "hold": "held",
}  # fmt: skip


@dataclass(frozen=True)
class Stamp:
    """How binding a statement is: DRAFT, SETTLED or SEALED, and why."""

    word: str
    text: str


class Pages:
    """Makes statements, one after the other, with fonts that are read once."""

    def __init__(self) -> None:
        import typst

        found = find_spec("matplotlib")
        assert found is not None
        assert found.origin is not None
        more = Path(found.origin).with_name("mpl-data") / "fonts" / "ttf"
        fonts = typst.Fonts(include_system_fonts=False, font_paths=[more])
        self._compiler = typst.Compiler(font_paths=fonts, ignore_system_fonts=True)
        self._template = _TEMPLATE.read_bytes()

    def pdf(self, period: Period, facts: Facts, issuer: str, stamp: Stamp) -> bytes:
        """The statement as a PDF; the stamp stands on every page."""
        data = {"data": json.dumps(_data(period, facts, issuer, stamp), ensure_ascii=False)}
        made = self._compiler.compile(self._template, format="pdf", sys_inputs=data)
        assert isinstance(made, bytes)
        return made


def _data(period: Period, facts: Facts, issuer: str, stamp: Stamp) -> dict[str, Any]:
    code, recon = facts.stated["currency"], facts.recon
    at = recon.reconciled_at
    return {
        "stamp": {"word": stamp.word, "text": stamp.text},
        "title": "Statement",
        "period": f"{period.start:%B %Y}",
        "issuer": issuer,
        "tenant_id": facts.tenant_id,
        "tenant_name": facts.name,
        "date": [at.year, at.month, at.day],
        "facts": [
            ["Month", str(period)],
            ["Currency", code],
            *([] if code == "USD" else [[f"Rate {code}→USD", _short(facts.stated["fx_rate"])]]),
            ["Charge basis", recon.charge_basis.replace("_", " ")],
            ["Reconciled", f"{at:%Y-%m-%d %H:%M} UTC"],
        ],
        "owed": [f"Total of {period.start:%B %Y}", f"{currency.told(facts.stated['total'], code)} {code}"],
        "summary": _summary(facts, code),
        "documents": _documents(facts, code),
        "direct": _direct(facts),
        "shared": _shared(facts),
        "corrections": _corrections(facts),
        "dispute": _dispute(period, facts),
        "footer": f"reconciliation {recon.recon_id[:16]}",
    }


def _summary(facts: Facts, code: str) -> dict[str, Any]:
    def line(name: str, told: str) -> list[str]:
        return [told, amount.plain(facts.stated[f"{name}_usd"]), currency.told(facts.stated[name], code)]

    rounding = amount.plain(facts.stated["rounding"])
    return {
        "heads": ["", "USD, exact", code],
        "rows": [line(name, told) for name, told in LINES],
        "totals": [line("total", "Total")],
        "note": f"Amounts in {code} are whole units of {_unit(code)} and add up; the total differs from the"
        f" exact one by a rounding of {rounding} {code}.",
    }


def _documents(facts: Facts, code: str) -> dict[str, Any]:
    own = [one.amount for one in facts.documents if one.currency == code]
    total = sum(own, Decimal(0))
    apart = total - facts.stated["total"]
    others = sorted({one.currency for one in facts.documents} - {code})
    beside = f" Documents in {', '.join(others)} are not in this sum." if others else ""
    says = "The documents come to the total of this statement."
    if apart or others:
        says = f"The documents come to {currency.told(total, code)} {code},"
        says += f" which is {currency.told(apart, code)} beside it."
    return {
        "heads": ["document", "kind", "corrects", "amount"],
        "rows": [
            [
                one.invoice_id,
                one.document_type.replace("_", " "),
                one.corrects_invoice_id,
                f"{currency.told(one.amount, one.currency)} {one.currency}",
            ]
            for one in facts.documents
        ],
        "totals": [["Sum", "", "", f"{currency.told(total, code)} {code}"]],
        "note": says + beside,
    }


def _direct(facts: Facts) -> dict[str, Any]:
    total, *amounts = _footed(facts.stated["direct_usd"], [one.charged_usd for one in facts.direct])
    return {
        "heads": ["service", "component", "kind", "USD"],
        "rows": [
            [one.service, one.service_component, _words(one.charge_class), usd]
            for one, usd in zip(facts.direct, amounts, strict=True)
        ],
        "totals": [["Total", "", "", total]],
    }


def _shared(facts: Facts) -> dict[str, Any]:
    total, *amounts = _footed(facts.stated["shared_usd"], [one.charged_usd for one in facts.shared])
    basis = facts.recon.charge_basis
    note = (
        "Cost that no tag gives to one tenant is a pool. A rule shares it by a key: your share is the pool"
        " times your value divided by the total of all tenants. Every digit is in shared.csv."
    )
    if basis != "unblended":
        note += (
            f" Pools are unblended; what is charged is the {basis.replace('_', ' ')} cost of the same share."
        )
    return {
        "note": note,
        "heads": ["service", "kind", "rule and key", "your value", "total", "pool USD", "share USD"],
        "rows": [
            [
                one.service + (f", {one.service_component}" if one.service_component else ""),
                _words(one.charge_class),
                f"{one.rule}, {_METHODS.get(one.method, one.method)}"
                + (f" ({one.key})" if one.key and one.key != one.method else ""),
                _short(one.key_value),
                _short(one.key_total),
                "" if one.pool_unblended_usd is None else amount.shown(one.pool_unblended_usd),
                usd,
            ]
            for one, usd in zip(facts.shared, amounts, strict=True)
        ],
        "totals": [["Total", "", "", "", "", "", total]],
    }


def _corrections(facts: Facts) -> dict[str, Any]:
    total, *amounts = _footed(facts.stated["adjustments_usd"], [one.charged_usd for one in facts.corrections])
    return {
        "heads": ["month", "service", "kind", "why", "USD"],
        "rows": [
            [one.usage_month, one.service, _words(one.charge_class), one.reason, usd]
            for one, usd in zip(facts.corrections, amounts, strict=True)
        ],
        "totals": [["Total", "", "", "", total]],
    }


def _dispute(period: Period, facts: Facts) -> list[str]:
    return [
        f"Fill in disputes.csv, which lies beside this page: how much of {period} you dispute, in"
        f" {facts.stated['currency']}, and why. In the column about, name the line (direct, shared,"
        " adjustments, markup, total), a document, or an entry_id of direct.csv, shared.csv or"
        " corrections.csv. One row for each dispute, each with a dispute_id of its own. Send the file back to"
        " whoever sent you this pack.",
        "It is loaded as it is, opens an exception with an owner, and two people decide on it. The month is"
        " not closed before; if it is closed already, what follows is booked in an open one.",
    ]


def _footed(total: Decimal, parts: Sequence[Decimal]) -> list[str]:
    return footing.told([("level", total), *(("part", one) for one in parts)])


def _unit(code: str) -> str:
    places = currency.places(code) if currency.is_known(code) else 2
    return f"{Decimal(1).scaleb(-places):f} {code}"


def _short(value: Decimal | None) -> str:
    """All digits that say something, thousands separated."""
    return "" if value is None else f"{value.normalize():,f}"


def _words(name: str) -> str:
    return name.replace("_", " ")
