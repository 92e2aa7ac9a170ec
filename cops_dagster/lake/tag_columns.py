"""Tags of lines as columns: which of a line's tags speak for tenant, plan and component, and how spelled.

Belongs here: `cost_lines` (lines with their tags by kind and their slice of the month) and the registry
in the same spelling. Does not belong here: who wins (sql/stage_fact_cost_tagged.sql).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date

import sqlglot
from sqlglot import exp

from cops_dagster.lake.alike import DAY, Asked, Only, by
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.functions import call
from cops_dagster.lake.statements import SOURCE_DIALECT
from cops_dagster.lake.views import view
from cops_dagster.policy import Tags

KINDS = ("resource", "account", "category")
"""Kinds of delivered tags, the strongest first."""
_BY_TAG = ("resource", "account")
"""Kinds that coverage counts."""
VALUE_MAX = 256
"""AWS takes tag values of at most 256 characters; a longer one names nobody."""
TOO_LONG = "E-TAG-LONG"
IDENTITY = "line_item_iam_principal"
"""Who called, as an ARN (CUR 2.0)."""
_OF_IDENTITY = "iam_principal_"
"""How columns of tags on identities begin: `iamPrincipal/tenant_id` of the map `tags`."""
_MARK = "CHR(30)"
"""Before a tenant that an identity names, until groups are spelled: it comes in the column of the weakest
kind of tags, and no tag value has this character."""
_PREFIX = {"resource": "resource_tags_", "account": "account_tag_", "category": "cost_category_"}

# Which lines meet: covered usage and the negation that takes it back (docs/adr/0028). Service and class
# belong to it, so that no cost leaves its service or class. A character that no id holds stands between.
_NEGATION_KEY = """
CASE WHEN commitment_line IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation') THEN
    COALESCE(line_item_usage_account_id, '') || CHR(31) || product_servicecode || CHR(31) || charge_class
    || CHR(31) || COALESCE(savings_plan_savings_plan_a_r_n, '')
    || CHR(31) || COALESCE(line_item_usage_type, '') || CHR(31) || COALESCE(line_item_operation, '')
END
"""
_COVERED = "commitment_line = 'SavingsPlanCoveredUsage'"
_NEGATION_ZONE = """
CASE WHEN commitment_line IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')
    THEN COALESCE(line_item_availability_zone, '') END
"""
_USAGE_END = "COALESCE(line_item_usage_end_date, line_item_usage_start_date)"
# What a line takes back, that names it: a commitment's fee, covered usage, other lines of a resource.
_TAKES_BACK = """
CASE WHEN commitment_line IN ('CommitmentUpfrontRefund', 'CommitmentFeeRefund') THEN 'commitment_fee'
     WHEN commitment_line = 'SavingsPlanNegation' THEN 'usage'
     WHEN line_item_line_item_type IN ('Refund', 'Credit') AND line_item_resource_id <> '' THEN 'resource'
END
"""
_NAMES_RESOURCE = "line_item_line_item_type IN ('Refund', 'Credit')"


def columns_of(names: Iterable[str], kind: str) -> list[str]:
    """The CUR columns of one kind that a `[tags]` entry means, in order.

    `user_tenant_id` is the key `tenant_id` wherever it was put: on the resource, on the account, or as a
    cost category of that name. A full column name (`account_tag_team`) means that column alone. Columns of
    identities are asked after those of cost categories, and only where they are named in full.
    """
    given = list(names)
    found = _columns_of((name for name in given if not is_identity(name)), kind)
    return [*found, *identities_of(given)] if kind == KINDS[-1] else found


def is_identity(name: str) -> bool:
    """Whether a column says who called."""
    return name == IDENTITY or name.startswith(_OF_IDENTITY)


def identities_of(names: Iterable[str]) -> list[str]:
    """The columns of identities among the names of `[tags]`, in order."""
    return [name for name in names if is_identity(name)]


def _columns_of(names: Iterable[str], kind: str) -> list[str]:
    found: list[str] = []
    for name in names:
        if any(name.startswith(prefix) for prefix in _PREFIX.values()):
            if name.startswith(_PREFIX[kind]):
                found.append(name)
        elif kind == "resource":
            found.append(f"resource_tags_{name}")
        else:
            found.append(_PREFIX[kind] + name.removeprefix("user_"))
    return found


CONTAINER = "container_span"
"""What a contained line meets (`lake/container_lines.py`), where lines have it."""
REGISTRY = ("tenants", "tag_aliases", "account_tenants", "plans")
"""What `provide_registry` is made of."""


def provide_cost_lines(
    engine: Engine,
    tags: Tags,
    boundaries: Sequence[date] = (),
    *,
    inherit: bool = True,
    name: str,
    of: str,
) -> None:
    """`cost_lines` under this name over a table of lines that the caller provides."""
    present = set(engine.columns(of))
    lines = cost_lines(present, tags, boundaries, inherit=inherit)
    view(engine, name, lines.from_(exp.to_table(of)))


def asked(tags: Tags, boundaries: Sequence[date] = (), *, inherit: bool = True) -> Asked:
    """In what lines must agree so that `cost_lines` over them is right: account, tags, slice, heir."""

    def of(given: Collection[str]) -> dict[str, exp.Expr | None]:
        found = _spoken(tags)
        if boundaries:
            found |= by(DAY)(given)
        if inherit:
            untagged = _tenant(tags, KINDS, given).is_(exp.null())
            found["line_item_resource_id"] = exp.Case().when(untagged, exp.column("line_item_resource_id"))
        return found

    return of


def asked_of_missing(tags: Tags) -> Asked:
    """In what lines must agree for sql/missing_tenant_tags.sql."""
    tenant = [name for kind in _BY_TAG for name in columns_of(tags.tenant_id, kind)]
    component = columns_of(tags.service_component, "resource")
    return by("line_item_usage_account_id", "line_item_resource_id", *tenant, *component)


def is_missing(tags: Tags) -> Only:
    """Which lines sql/missing_tenant_tags.sql shows, as far as their own columns say."""

    def of(given: Collection[str]) -> exp.Expr:
        named = _tenant(tags, _BY_TAG, given)
        unknown = exp.select("tenant_tag").from_("fact_cost_tagged").where("tenant_tag IS NOT NULL")
        nobody = exp.In(this=call("NFC", named), query=unknown.subquery())
        return exp.and_(
            _parsed("line_item_unblended_cost > 0"), exp.or_(named.copy().is_(exp.null()), nobody)
        )

    return of


def _spoken(tags: Tags) -> dict[str, exp.Expr | None]:
    """The account of a line, and every tag that names somebody."""
    named = [
        name for kind in KINDS for names in (tags.tenant_id, tags.plan_id) for name in columns_of(names, kind)
    ]
    component = columns_of(tags.service_component, "resource")
    return dict.fromkeys(["line_item_usage_account_id", *named, *component])


def _tenant(tags: Tags, kinds: Iterable[str], given: Collection[str]) -> exp.Expr:
    return _first([name for kind in kinds for name in columns_of(tags.tenant_id, kind)], set(given))


def cost_lines(
    present: set[str], tags: Tags, boundaries: Sequence[date] = (), *, inherit: bool = True
) -> exp.Select:
    """`cost_lines`: lines with their tags by kind, `usage_slice` and the resource to inherit by.

    And what a line takes back: `negation_key`, `takes_back` (docs/adr/0028).

    Args:
        present: the columns of the table of lines, which the caller names.
        boundaries: days within the month on which a registry entry begins or ends; a line's slice begins on
            the last of them that is not after its usage, so one tenant is in force throughout a slice.
        inherit: give `untagged_resource` to every line without any tenant tag, else to the refunds and
            credits among them: they belong to who has the resource that they name.
    """
    query = exp.select("*")
    made = tags_said(tags, present)
    tenant = [made[f"{kind}_tenant"] for kind in KINDS]
    made[f"{KINDS[-1]}_tenant"] = _marked(tags, present, tenant[-1])
    made["usage_slice"] = slice_of(boundaries, exp.column("period_start"))
    made["tag_order"] = exp.Case().when(_parsed(_COVERED), _joined(list(made.values())))
    for name, text in (
        ("negation_key", _NEGATION_KEY),
        ("negation_zone", _NEGATION_ZONE),
        ("usage_end", _USAGE_END),
        ("takes_back", _TAKES_BACK),
    ):
        made[name] = _parsed(text)
    made["container_of"] = exp.cast(exp.column(CONTAINER) if CONTAINER in present else exp.null(), "VARCHAR")
    query = query.select(*(exp.alias_(value.copy(), name) for name, value in made.items()))
    return query.select(exp.alias_(_heir(tenant, present, inherit=inherit), "untagged_resource"))


def _marked(tags: Tags, present: set[str], given: exp.Expr) -> exp.Expr:
    """The weakest kind's tenant, with the mark where an identity names it."""
    identities = identities_of(tags.tenant_id)
    if not present.intersection(identities):
        return given
    marked = exp.DPipe(this=_parsed(_MARK), expression=_first(identities, present))
    return exp.func("COALESCE", _first(_columns_of(_others(tags), KINDS[-1]), present), marked)


def _others(tags: Tags) -> list[str]:
    return [name for name in tags.tenant_id if not is_identity(name)]


def tags_said(tags: Tags, present: set[str]) -> dict[str, exp.Expr]:
    """What a line's tags say, by the names of `tag_names`; NULL where it has no such column.

    Args:
        present: the columns of the lines.
    """
    said: dict[str, exp.Expr] = {}
    for kind in KINDS:
        said[f"{kind}_tenant"] = _first(columns_of(tags.tenant_id, kind), present)
        said[f"{kind}_plan"] = _first(columns_of(tags.plan_id, kind), present)
    said["component_tag"] = _first(columns_of(tags.service_component, "resource"), present)
    return said


def tag_names() -> tuple[str, ...]:
    """The columns that say what a line's tags say."""
    return (*(f"{kind}_{name}" for kind in KINDS for name in ("tenant", "plan")), "component_tag")


def tags_of(tags: Tags, kind: str) -> list[str]:
    """The CUR columns of one kind that name a tenant or a plan."""
    return [name for names in (tags.tenant_id, tags.plan_id) for name in columns_of(names, kind)]


def spoken_columns(tags: Tags) -> list[str]:
    """The delivered columns that `named_lines` asks for."""
    tenant = [name for kind in KINDS for name in columns_of(tags.tenant_id, kind)]
    return ["line_item_line_item_type", "line_item_resource_id", *tenant]


def provide_named_lines(engine: Engine, tags: Tags, *, inherit: bool) -> None:
    """`named_lines` over the engine's `bare_lines`: who is named, the resource, and whose heir a line is.

    Args:
        inherit: see `cost_lines`.
    """
    present = set(engine.columns("bare_lines"))
    tenant = [_first(columns_of(tags.tenant_id, kind), present) for kind in KINDS]
    resource = exp.column("line_item_resource_id") if "line_item_resource_id" in present else exp.null()
    query = exp.select(
        exp.alias_(exp.cast(resource, "VARCHAR"), "resource_id"),
        exp.alias_(exp.func("COALESCE", *[value.copy() for value in tenant]), "tenant_tag"),
        exp.alias_(_heir(tenant, present, inherit=inherit), "untagged_resource"),
    )
    view(engine, "named_lines", query.from_("bare_lines"))


def _heir(tenant: Sequence[exp.Expr], present: Collection[str], *, inherit: bool) -> exp.Expr:
    """The resource of a line that no tag names a tenant of."""
    if "line_item_resource_id" not in present:
        return exp.cast(exp.null(), "VARCHAR")
    untagged: exp.Expr = exp.func("COALESCE", *[value.copy() for value in tenant]).is_(exp.null())
    if not inherit:
        untagged = exp.and_(untagged, _parsed(_NAMES_RESOURCE))
    identity = exp.func("NULLIF", exp.column("line_item_resource_id"), exp.Literal.string(""))
    return exp.Case().when(untagged, identity)


def provide_registry(engine: Engine, tags: Tags, day: date) -> None:
    """`tenant_names`, `alias_names`, `plan_names`: the registry with each name as a tag would be spelled.

    The caller provides `REGISTRY`.

    Args:
        day: plans that begin later are not there.
    """
    for name, source, column in (
        ("tenant_names", "tenants", "tenant_id"),
        ("alias_names", "tag_aliases", "alias"),
    ):
        spelled = exp.alias_(spelling(exp.column(column), tags), "spelled")
        view(engine, name, exp.select("*", spelled).from_(source))
    plan = exp.column("plan_id")
    begun = exp.LTE(
        this=exp.column("effective_from"), expression=exp.cast(exp.Literal.string(day.isoformat()), "DATE")
    )
    spelled = exp.alias_(spelling(plan.copy(), tags), "spelled")
    view(engine, "plan_names", exp.select(plan, spelled).distinct().from_("plans").where(begun))


def provide_spelled_groups(engine: Engine, tags: Tags) -> None:
    """`spelled_groups`: `tag_groups` with every tag in the declared spelling."""
    query = exp.select("*").from_("tag_groups")
    by_identity: exp.Expr = exp.false()
    for kind in (*KINDS, "inherited"):
        tenant: exp.Expr = exp.column(f"{kind}_tenant")
        if kind == KINDS[-1] and identities_of(tags.tenant_id):
            first = exp.func("LEFT", tenant.copy(), exp.Literal.number(1))
            by_identity = exp.func("COALESCE", first.eq(_parsed(_MARK)), exp.false())
            rest = exp.func("SUBSTR", tenant.copy(), exp.Literal.number(2))
            tenant = exp.Case().when(by_identity.copy(), rest).else_(tenant)
        query = query.select(exp.alias_(spelling(tenant, tags), f"{kind}_tenant_name"))
    query = query.select(exp.alias_(by_identity, "is_by_identity"))
    plans = exp.func("COALESCE", *[exp.column(f"{kind}_plan") for kind in KINDS])
    query = query.select(
        exp.alias_(spelling(plans, tags), "plan_name"),
        exp.alias_(spelling(exp.column("component_tag"), tags, fold=False), "component_name"),
    )
    view(engine, "spelled_groups", query)


def spelling(value: exp.Expr, tags: Tags, *, fold: bool = True) -> exp.Expr:
    """A tag value in the one spelling that `[tags]` declares: trimmed, composed, perhaps folded."""
    spelled: exp.Expr = exp.func("TRIM", value)
    if tags.unicode_form == "NFC":
        spelled = call("NFC", spelled)
    if tags.fold_case and fold:
        spelled = exp.func("LOWER", spelled)
    too_long = exp.GT(this=exp.func("LENGTH", value.copy()), expression=exp.Literal.number(VALUE_MAX))
    shown = exp.func(
        "CONCAT", exp.Literal.string(f"{TOO_LONG} "), exp.func("LEFT", value.copy(), exp.Literal.number(64))
    )
    return exp.Case().when(too_long, shown).else_(spelled)


def _first(columns: Sequence[str], present: set[str]) -> exp.Expr:
    given: list[exp.Expr] = [
        exp.func("NULLIF", exp.func("TRIM", exp.column(name, quoted=True)), exp.Literal.string(""))
        for name in columns
        if name in present
    ]
    return exp.func("COALESCE", *given) if given else exp.cast(exp.null(), "VARCHAR")


def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, read=SOURCE_DIALECT)


def _joined(values: Sequence[exp.Expr]) -> exp.Expr:
    """Values as one text: equal only where all of them are."""
    texts = [
        exp.func("COALESCE", exp.cast(value.copy(), "VARCHAR"), exp.Literal.string("")) for value in values
    ]
    joined: exp.Expr = texts[0]
    for text in texts[1:]:
        joined = exp.DPipe(this=exp.DPipe(this=joined, expression=_parsed("CHR(31)")), expression=text)
    return joined


def slice_of(boundaries: Sequence[date], first: exp.Expr) -> exp.Expr:
    """The day on which a line's slice of the month begins; see `cost_lines`.

    Args:
        first: the day on which the month begins.
    """
    if not boundaries:
        return first
    case = exp.Case()
    for day in sorted(boundaries, reverse=True):
        since = exp.cast(exp.Literal.string(day.isoformat()), "DATE")
        case = case.when(
            exp.GTE(this=exp.column("line_item_usage_start_date"), expression=since), since.copy()
        )
    return case.else_(first)
