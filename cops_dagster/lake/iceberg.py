"""The Iceberg projection: the published files as tables that every other engine reads.

Belongs here: the only import of pyiceberg. One journal row becomes one commit that adds the very files
of `lake_file` (nothing is rewritten), tagged with `cops.run_id` and `cops.journal_seq`, so a commit
whose answer was lost is recognised and not repeated. The tables lag the journal, they never lead.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cops_dagster.errors import CopsError
from cops_dagster.lake.tables import APPEND_ONLY, EXPORT, FACT_COST_RAW, LAKE_TABLES, Columns
from cops_dagster.settings import Settings
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.places import open_volume
from cops_dagster.stores.volume import Volume

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from cops_dagster.stores.aws.s3 import S3Place

NAMESPACE = "cops"
_SEQ, _RUN = "cops.journal_seq", "cops.run_id"


@dataclass(frozen=True)
class Commit:
    """One published run as the projection needs it."""

    journal_seq: int
    run_id: str
    table_name: str
    period_start: date
    source_id: str
    replaces: bool  # an earlier run of the same table, period and source is projected already
    uris: Sequence[str]
    is_replaced: bool = False  # readers see a later run in its place


@dataclass(frozen=True, order=True)
class Exported:
    """A file of the exported lines, as the table of them names it.

    Attributes:
        run: the beginning of its run's id, which is the file's name.
    """

    period_start: date
    source_id: str
    run: str
    uri: str
    rows: int
    size_bytes: int


def prepare() -> None:
    """Imports what a projection needs in the background: 2 s that pass while the engine reads lines.

    But the ORM: it answers for the values of every statement as soon as it is half imported, and a statement
    of another thread then fails (seen in 1 of 20 small months).
    """
    import sqlalchemy.orm  # noqa: F401

    threading.Thread(target=_imports, daemon=True).start()


def _imports() -> None:
    import pyiceberg.catalog.sql  # noqa: F401


def open_catalog(settings: Settings) -> Catalog:
    """Glue, or a SQL catalog in a file below the lake; the tables' metadata lies beside the lake's files.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE` when Glue does not answer.
    """
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    settings.lake_root.mkdir(parents=True, exist_ok=True)
    lake = open_volume(settings.lake_root, settings.lake.place)
    properties = {"warehouse": lake.uri("iceberg"), **_reaching(lake.place)}
    if settings.catalog == "glue":
        catalog = _glue(properties)
        with calling(Call("glue", "the Glue catalog", "glue:CreateDatabase")):
            catalog.create_namespace_if_not_exists(NAMESPACE)
        return catalog
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("cops", uri=f"sqlite:///{_file(settings)}", **properties)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


def engine_catalog(place: S3Place) -> Catalog:
    """Glue, where engines find what a session declares below its place, wherever the projection is.

    Raises:
        CopsError: as `open_catalog`.
    """
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    return _glue({"warehouse": place.uri("iceberg"), **_reaching(place)})


def _glue(properties: dict[str, str]) -> Catalog:
    from pyiceberg.catalog.glue import GlueCatalog

    with calling(Call("glue", "the Glue catalog", "glue:CreateTable and glue:UpdateTable")) as call:
        return GlueCatalog("cops", client=call.client(), **properties)


def is_known(settings: Settings) -> bool:
    """Whether the catalog can hold what was projected; a file that is not there holds nothing."""
    return settings.catalog == "glue" or _file(settings).is_file()


def _file(settings: Settings) -> Path:
    return settings.lake_root / "iceberg_catalog.db"


def _reaching(place: S3Place | None) -> dict[str, str]:
    """How pyarrow reaches the same S3 as boto3 does, with the same credentials."""
    if place is None:
        return {}
    with place.answering():
        client = place.client
        found = place.session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    reach = {"s3.endpoint": client.meta.endpoint_url, "s3.region": client.meta.region_name}
    if frozen:
        reach |= {"s3.access-key-id": frozen.access_key, "s3.secret-access-key": frozen.secret_key}
        reach |= {"s3.session-token": frozen.token} if frozen.token else {}
    return reach


def project(catalog: Catalog, commit: Commit) -> bool:
    """Applies one journal row; `False` when it was applied before."""
    from pyiceberg.expressions import And, EqualTo

    table = _table(catalog, commit.table_name)
    if any(
        snapshot.summary is not None
        and snapshot.summary.additional_properties.get(_SEQ) == str(commit.journal_seq)
        for snapshot in table.snapshots()
    ):
        return False
    marks = {_SEQ: str(commit.journal_seq), _RUN: commit.run_id}
    replaced = None
    if commit.table_name not in APPEND_ONLY and commit.replaces:
        month = EqualTo("period_start", commit.period_start.isoformat())
        replaced = And(month, EqualTo("source_id", commit.source_id)) if commit.source_id else month
    _write(table, commit.uris, replaced, marks)
    return True


def export(catalog: Catalog, period_start: date, run_ids: Sequence[str], uris: Sequence[str]) -> None:
    """Replaces a month of the exported lines by these files, in one commit that names their runs."""
    from pyiceberg.expressions import EqualTo

    month = EqualTo("period_start", period_start.isoformat())
    _write(_table(catalog, EXPORT), uris, month, {_RUN: ",".join(run_ids)})


def exported(catalog: Catalog) -> list[Exported]:
    """The files of the exported lines; none where nothing was ever exported."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = catalog.load_table(f"{NAMESPACE}.{EXPORT}")
    except NoSuchTableError:
        return []
    files = [task.file for task in table.scan().plan_files()]
    return sorted(
        Exported(
            date(1970, 1, 1) + timedelta(days=file.partition[0]),
            str(file.partition[1]),
            Path(file.file_path).stem,
            file.file_path.removeprefix("file://"),
            file.record_count,
            file.file_size_in_bytes,
        )
        for file in files
    )


def _write(table: Table, uris: Sequence[str], replaced: Any, marks: dict[str, str]) -> None:
    """One commit: the rows that `replaced` names go, these files come, and the columns that they bring."""
    with table.transaction() as transaction:
        for uri in uris:
            added = _columns_of(table, uri)
            missing = set(added.names) - set(table.schema().column_names)
            if missing:  # a column AWS added: nullable, behind the others (Iceberg schema evolution)
                with transaction.update_schema() as update:
                    update.union_by_name(_optional(added))
        if replaced is not None:
            with warnings.catch_warnings():  # of a month whose lines are gone there is nothing to delete
                warnings.filterwarnings("ignore", "Delete operation did not match", UserWarning)
                transaction.delete(replaced, snapshot_properties=marks)
        if uris:
            transaction.add_files(list(uris), snapshot_properties=marks, check_duplicate_files=False)


def _columns_of(table: Table, uri: str) -> Any:
    import pyarrow.parquet as pq

    with table.io.new_input(uri).open() as stream:
        return pq.read_schema(stream)


def is_elsewhere(catalog: Catalog, lake: Volume) -> bool:
    """The catalog's tables lie in another home, whose metadata this one must not write to."""
    return not all(_lies_in(catalog, one, lake) for one in catalog.list_tables(NAMESPACE))


def _lies_in(catalog: Catalog, identifier: Any, lake: Volume) -> bool:
    from pyiceberg.exceptions import NoSuchTableError

    try:
        location = catalog.load_table(identifier).location()
    except (NoSuchTableError, OSError, ValueError):  # ValueError: metadata that is no metadata
        return False
    return location.removeprefix("file://").startswith(lake.uri("iceberg") + "/")


def fresh_catalog(settings: Settings) -> Catalog:
    """A catalog without a table of the journal's; the files stay, they belong to `lake_file`.

    The exported lines stay named: no journal says which they are. A catalog in a file that cannot be read any
    more is put out of the way.
    """
    try:
        catalog = open_catalog(settings)
        lake = open_volume(settings.lake_root, settings.lake.place)
        for identifier in catalog.list_tables(NAMESPACE):
            if identifier[-1] != EXPORT or not _lies_in(catalog, identifier, lake):
                catalog.drop_table(identifier)
    except CopsError:
        raise
    except Exception:
        if settings.catalog == "glue":
            raise
        _file(settings).unlink(missing_ok=True)
        return open_catalog(settings)
    return catalog


def _table(catalog: Catalog, name: str) -> Table:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    schema = _schema(FACT_COST_RAW if name == EXPORT else LAKE_TABLES[name])
    keys = ["period_start"] + (["source_id"] if name in ("fact_cost_raw", "cur_quarantine", EXPORT) else [])
    spec = PartitionSpec(
        *[
            PartitionField(schema.find_field(key).field_id, 1000 + index, IdentityTransform(), key)
            for index, key in enumerate(keys)
        ]
    )
    return catalog.create_table_if_not_exists(
        f"{NAMESPACE}.{name}", schema, partition_spec=spec, properties={"format-version": "2"}
    )


def _schema(columns: Columns) -> Any:
    from pyiceberg.schema import Schema
    from pyiceberg.types import (
        BooleanType,
        DateType,
        DecimalType,
        DoubleType,
        LongType,
        NestedField,
        StringType,
        TimestampType,
    )

    types = {
        "VARCHAR": StringType(), "DOUBLE": DoubleType(), "TIMESTAMP": TimestampType(), "DATE": DateType(),
        "BIGINT": LongType(), "BOOLEAN": BooleanType(), "DECIMAL(38,18)": DecimalType(38, 18),
    }  # fmt: skip
    # all optional: COPY marks gap-free columns required, which fits optional ones but not the reverse
    return Schema(
        *[
            NestedField(field_id=index, name=name, field_type=types[kind], required=False)
            for index, (name, kind) in enumerate(columns, start=1)
        ]
    )


def _optional(schema: Any) -> Any:
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in schema])
