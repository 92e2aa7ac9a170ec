"""What does not tie out: every difference of a reconciliation, with its class and its owner. Pure.

Belongs here: which differences there are, what kind each is, whose it is, and which ones settle themselves.
Does not belong here: keeping them and deciding on them (`reconciliation/exceptions.py`).

Three stages, later minus earlier, and per stage Σ differences = the difference of the totals, exactly:

    aws_invoice      AWS's invoices − CUR, per invoice id, before tax and tax apart
    cur              allocated to somebody − delivered: newer deliveries, quarantine, cost nobody bears
    tenant_invoice   invoiced − expected, per tenant

The fourth, `document`, holds what has no amount of its own: an entity that did not invoice, another payer,
a document that came twice with other content, what a tenant disputes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cops_dagster.reconciliation.variance import HALF_CENT, TenantLine

Stage = Literal["aws_invoice", "cur", "tenant_invoice", "document"]
ExceptionClass = Literal[
    "timing",
    "allocation_gap",
    "rounding",
    "fx",
    "tax",
    "support_fee",
    "credit",
    "refund",
    "duplicate",
    "missing_invoice",
    "late_change",
    "variance_note",
    "dispute",
    "unknown",
]

OWNER: Mapping[ExceptionClass, str] = {
    "timing": "data engineering",
    "allocation_gap": "billing operations",
    "rounding": "billing operations",
    "fx": "finance",
    "tax": "finance",
    "support_fee": "billing operations",
    "credit": "finance",
    "refund": "finance",
    "duplicate": "billing operations",
    "missing_invoice": "finance",
    "late_change": "finance",
    "variance_note": "finance",
    "dispute": "billing operations",
    "unknown": "finance",
}
"""Who is asked first about an exception of a class."""


@dataclass(frozen=True)
class Difference:
    """One thing that does not tie out. Amounts in atto-dollars.

    Attributes:
        subject_id: what differs: an invoice and its part, a tenant, a reason.
        settled: why nobody has to decide on it, or `None`.
    """

    stage: Stage
    subject_id: str
    kind: ExceptionClass
    amount: int
    note: str
    tenant_id: str | None = None
    settled: str | None = None

    @property
    def owner(self) -> str:
        """Who is asked first."""
        return OWNER[self.kind]


@dataclass(frozen=True)
class Billed:
    """One invoice id of the CUR: net cost before tax and tax, and who pays.

    Attributes:
        amounts_before_tax, amounts_tax: how many amounts AWS rounds for the invoice: its distinct pairs of
            usage account and service whose cost is not 0.
    """

    invoice_id: str
    before_tax: int
    tax: int
    payer_account_id: str | None = None
    amounts_before_tax: int = 1
    amounts_tax: int = 1


@dataclass(frozen=True)
class AwsInvoice:
    """One AWS document in atto-USD; `None` amounts when its currency cannot be told in USD.

    `half_unit` is half a minor unit of its currency in atto-USD.
    """

    invoice_id: str
    entity: str
    before_tax: int | None
    tax: int | None
    payer_account_id: str
    currency: str = "USD"
    corrects_invoice_id: str | None = None
    half_unit: int = HALF_CENT


@dataclass(frozen=True)
class Ledger:
    """What the ledger lacks, in atto-dollars: delivered but not booked, or booked to nobody.

    Attributes:
        newer: Σ of the newest deliveries − Σ of the booked ones.
        quarantined: cost of lines set aside.
        unclaimed: cost in `__unallocated__` that no rule claimed or whose key failed.
        held: the rest of `__unallocated__`, parked by a rule.
        is_within_limit: unclaimed cost is within the 2 % of rule 5.8.
    """

    newer: int = 0
    quarantined: int = 0
    unclaimed: int = 0
    held: int = 0
    is_within_limit: bool = True


@dataclass(frozen=True)
class TenantFacts:
    """What explains a tenant's variance: their documents, and their cost by charge class."""

    documents: Sequence[tuple[str, int]] = ()
    by_class: Mapping[str, int] = field(default_factory=dict)
    foreign_at_other_rates: Sequence[int] = ()


_OPEN = "the month is not final: this settles with AWS's next delivery or the invoices to come"
_ROUNDED = "rounding: documents carry minor units"
_TOLERATED = "within the tolerance of the [recon] settings"
_LIMIT = "within the 2 % of pooled cost that the allocation may leave over"
_HELD = "parked by a rule of the method hold, on purpose"


def against_aws(
    issued: Sequence[AwsInvoice], billed: Sequence[Billed], *, is_final: bool
) -> list[Difference]:
    """AWS's invoices against the CUR, by invoice id; each document by itself, so nothing cancels."""
    found: list[Difference] = []
    by_id = {one.invoice_id: one for one in billed}
    names = {one.invoice_id for one in issued}
    for document in sorted(issued, key=lambda one: one.invoice_id):
        cur = by_id.get(document.invoice_id, Billed(document.invoice_id, 0, 0))
        twin = _twin(document, issued) if document.invoice_id not in by_id else None
        for part, invoiced, delivered, amounts in (
            ("before tax", document.before_tax, cur.before_tax, cur.amounts_before_tax),
            ("tax", document.tax, cur.tax, cur.amounts_tax),
        ):
            gap, bound = (invoiced or 0) - delivered, document.half_unit * max(1, amounts)
            if gap:
                is_in_cur = document.invoice_id in by_id
                found.append(_aws_gap(document, part, gap, bound, twin, is_in_cur=is_in_cur))
        if cur.payer_account_id and cur.payer_account_id != document.payer_account_id:
            found.append(
                Difference(
                    "document",
                    f"{document.invoice_id} payer",
                    "unknown",
                    0,
                    f"invoiced to {document.payer_account_id}, delivered for {cur.payer_account_id}",
                )
            )
    for cur in sorted(billed, key=lambda one: one.invoice_id):
        if cur.invoice_id in names:
            continue
        for part, delivered in (("before tax", cur.before_tax), ("tax", cur.tax)):
            if delivered:
                found.append(_not_invoiced(cur.invoice_id, part, -delivered, is_final=is_final))
    return found


def _twin(document: AwsInvoice, issued: Sequence[AwsInvoice]) -> str | None:
    same = (document.entity, document.before_tax, document.tax)
    for other in issued:
        if other.invoice_id != document.invoice_id and (other.entity, other.before_tax, other.tax) == same:
            return other.invoice_id
    return None


def _aws_gap(
    document: AwsInvoice, part: str, gap: int, bound: int, twin: str | None, *, is_in_cur: bool
) -> Difference:
    subject = f"{document.invoice_id} {part}"
    kind: ExceptionClass
    if document.before_tax is None:
        kind, note = "fx", f"issued in {document.currency} without a rate to USD"
    elif abs(gap) <= bound:
        return Difference("aws_invoice", subject, "rounding", gap, _ROUNDED, settled=_ROUNDED)
    elif twin:
        kind, note = "duplicate", f"the CUR does not know it, and {twin} has the same amounts"
    elif not is_in_cur and (document.corrects_invoice_id or gap < 0):
        kind = "credit"
        note = f"a credit memo for {document.corrects_invoice_id or 'no named invoice'} that the CUR lacks"
    elif not is_in_cur:
        kind, note = "late_change", "the CUR does not know this invoice; a later delivery may"
    elif part == "tax":
        kind, note = "tax", "AWS's tax differs from the tax lines"
    else:
        kind, note = "unknown", "AWS invoiced another amount than it delivered"
    return Difference("aws_invoice", subject, kind, gap, note)


def _not_invoiced(invoice_id: str, part: str, gap: int, *, is_final: bool) -> Difference:
    subject = f"{invoice_id or 'not invoiced'} {part}"
    if abs(gap) <= HALF_CENT:
        return Difference("aws_invoice", subject, "rounding", gap, _ROUNDED, settled=_ROUNDED)
    if not is_final:
        return Difference("aws_invoice", subject, "timing", gap, _OPEN, settled=_OPEN)
    if not invoice_id:
        return Difference("aws_invoice", subject, "timing", gap, "AWS has put no invoice on these lines")
    note = "the CUR names this invoice and aws_invoices does not hold it"
    return Difference("aws_invoice", subject, "missing_invoice", gap, note)


def missing_entities(before: Sequence[AwsInvoice], issued: Sequence[AwsInvoice]) -> list[Difference]:
    """AWS entities that invoiced the month before and not this one."""
    gone = sorted({one.entity for one in before} - {one.entity for one in issued})
    note = "it invoiced the month before; its invoice of this month is not loaded"
    return [Difference("document", f"entity {name}", "missing_invoice", 0, note) for name in gone]


def of_ledger(ledger: Ledger, *, is_final: bool) -> list[Difference]:
    """Allocated to somebody against delivered."""
    plan: tuple[tuple[str, ExceptionClass, int, str, str | None], ...] = (
        ("newer delivery", "timing", -ledger.newer, "delivered and not allocated yet", None),
        ("quarantined lines", "allocation_gap", -ledger.quarantined,
         "lines that cannot be booked as AWS delivered them", None),
        ("unclaimed cost", "allocation_gap", -ledger.unclaimed,
         "no rule claims it, or its key failed", _LIMIT if ledger.is_within_limit else None),
        ("held cost", "allocation_gap", -ledger.held, "parked by a rule", _HELD),
    )  # fmt: skip
    return [
        Difference("cur", subject, kind, usd, note, settled=settled or (None if is_final else _OPEN))
        for subject, kind, usd, note, settled in plan
        if usd
    ]


def against_tenants(
    lines: Sequence[TenantLine], facts: Mapping[str, TenantFacts], *, is_final: bool
) -> list[Difference]:
    """Invoiced against expected, per tenant."""
    found = []
    for line in lines:
        if not line.variance:
            continue
        kind, note = classify(line, facts.get(line.tenant_id, TenantFacts()))
        settled = _ROUNDED if kind == "rounding" else _TOLERATED if line.status == "ok" else None
        if not is_final:
            kind, note, settled = "timing", _OPEN, _OPEN
        found.append(
            Difference("tenant_invoice", line.tenant_id, kind, line.variance, note, line.tenant_id, settled)
        )
    return found


_CLASS_OF: Mapping[str, ExceptionClass] = {
    "tax": "tax", "support": "support_fee", "credit": "credit", "refund": "refund",
}  # fmt: skip


def classify(line: TenantLine, facts: TenantFacts) -> tuple[ExceptionClass, str]:
    """What a tenant's variance is, by the first thing that accounts for it but for rounding."""
    rounding = line.rounding if line.invoice_lines else line.half_unit
    if abs(line.variance) <= rounding:
        return "rounding", _ROUNDED
    if not line.invoice_lines:
        return "missing_invoice", "nothing was invoiced"
    return next(
        (
            (kind, note)
            for usd, kind, note in _accounts(line, facts)
            if usd != 0 and abs(line.variance - usd) <= 2 * rounding
        ),
        ("unknown", "invoiced and expected differ"),
    )


def _accounts(line: TenantLine, facts: TenantFacts) -> Iterator[tuple[int, ExceptionClass, str]]:
    """Amounts that a variance may be, with what it is then, the most telling first."""
    amounts = [usd for _, usd in facts.documents]
    for at, (invoice_id, usd) in enumerate(facts.documents):
        if usd > 0 and usd in amounts[:at]:
            yield usd, "duplicate", f"{invoice_id} repeats another document's amount"
    yield -line.adjustments, "late_change", "what was booked about closed months was not invoiced"
    for name, kind in _CLASS_OF.items():
        yield -facts.by_class.get(name, 0), kind, f"the cost of class {name} was not invoiced"
    yield -line.shared, "allocation_gap", "the shared cost was not invoiced"
    for usd in facts.foreign_at_other_rates:
        # at the rate they were written with, the documents come to what was expected
        yield line.invoiced - usd, "fx", "the amounts fit another month's exchange rate"
