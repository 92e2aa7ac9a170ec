"""What a run reads and does not make, and what a person does to have it recorded."""

import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from cops_dagster.graph import loads
from cops_dagster.graph.assets import about
from cops_dagster.graph.host import Host
from cops_dagster.graph.resources import act
from cops_dagster.period import Period
from cops_dagster.usage.declared import Measure


def sources(host: Host, measures: Sequence[Measure] = ()) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """What a run reads and does not make; a usage key that is asked is made, and not among them.

    What people load is observed, so that Dagster shows when and by whom, and not "Never materialized".
    """
    described = {
        "cur_delivery": (
            "delivery",
            "AWS's Cost and Usage Report as it lies in the report roots.",
            ["aws", "parquet"],
        ),
        "tenants": ("inputs", "Tenant registry: who may be charged, from when, on which plan.", ["table"]),
        "tag_aliases": ("inputs", "Declared spellings of tag values.", ["table"]),
        "allocation_rules": ("inputs", "Versioned rules that split pooled cost.", ["table"]),
        "tenant_network_usage": ("inputs", "Network usage per tenant: a usage key.", ["table"]),
        "tenant_compute_usage": ("inputs", "Compute usage per tenant: a usage key.", ["table"]),
        "tenant_storage_usage": ("inputs", "Storage usage per tenant: a usage key.", ["table"]),
        "invoice_detail": ("inputs", "Issued tenant documents.", ["table"]),
        "budgets": ("inputs", "Budget targets, versioned.", ["table"]),
    }
    for measure in measures:
        if measure.asks:
            described.pop(measure.asset, None)
        else:
            text = f"Usage of {measure.name} per tenant in {measure.unit}, loaded: a usage key."
            described.setdefault(measure.asset, ("inputs", text, ["table"]))
    adjustment = dg.AssetSpec(
        **about.placed("fact_cost_adjustment", host, "allocation", about.FINANCE),
        description="Corrections of closed months, booked in the open one by `cops approve`;"
        " none while nothing was corrected.",
        kinds={"duckdb", "parquet"},
        partitions_def=host.periods,
        metadata=about.schema("fact_cost_adjustment"),
    )
    specs = {
        name: dg.AssetSpec(
            **about.placed(name, host, group, about.OWNERS),
            description=text,
            kinds=set(kinds),
            partitions_def=host.periods if name == "cur_delivery" else None,
            metadata=about.references(name) if name == "cur_delivery" else about.schema(name),
        )
        for name, (group, text, kinds) in described.items()
    }
    return [adjustment, specs.pop("cur_delivery"), _loaded(host, specs)]


def _loaded(host: Host, specs: dict[str, dg.AssetSpec]) -> dg.AssetsDefinition:
    def observe(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        books = act(host.existing_books)
        if books is None:
            return
        for name, spec in specs.items():
            seen = loads.last(books, name) if spec.key in context.selected_asset_keys else None
            if seen is not None:
                yield dg.ObserveResult(asset_key=spec.key, metadata=seen.metadata)

    with warnings.catch_warnings():
        # beta in 1.13; nothing but the button "Observe" and the status of an input hang on it
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        return dg.multi_observable_source_asset(
            specs=list(specs.values()), name=host.name("observe_inputs"), can_subset=True
        )(observe)


def recorded_by(name: str, period: Period) -> str:
    """What a person does to have an asset recorded that no run of a month makes."""
    return {
        "cur_delivery": "cur_billing_master observes and records it:"
        f" cops materialize {period} --select cur_billing_master",
        "fact_cost_adjustment": "cops approve books it: see cops adjust list",
        "control_status": "it is judged every hour, for all months: cops controls",
    }.get(name, f"cops admin load records it: cops admin load {name}.csv{_or_asked(name)}")


def _or_asked(name: str) -> str:
    return "; what keys.toml declares: cops keys refresh" if name.endswith("_usage") else ""
