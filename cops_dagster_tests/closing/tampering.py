"""What somebody does who owns the file of the admin database or can write to the lake: one function a case.

Belongs here: attacks on a home whose September is closed, by means outside COPS alone. Does not belong here:
who notices (`test_tamper.py`).
"""

# ruff: noqa: E501

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Attack = Callable[[Path], None]
"""Given the home."""


@contextmanager
def unguarded(home: Path) -> Iterator[sqlite3.Connection]:
    """The database without its triggers, which stand again afterwards as they were."""
    with closing(sqlite3.connect(home / "admin.db", isolation_level=None)) as con:
        guards = con.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            con.execute(f"DROP TRIGGER {name}")
        yield con
        for _, sql in guards:
            con.execute(sql)


def sql(*statements: str) -> Attack:
    """Runs statements with the triggers gone for a moment; each must change something."""

    def attack(home: Path) -> None:
        with unguarded(home) as con:
            for statement in statements:
                assert con.execute(statement).rowcount != 0, f"changes nothing: {statement}"

    return attack


def schema(*statements: str) -> Attack:
    """Changes the schema for good, by `writable_schema` where it must be."""

    def attack(home: Path) -> None:
        with closing(sqlite3.connect(home / "admin.db", isolation_level=None)) as con:
            con.execute("PRAGMA writable_schema = ON")
            for statement in statements:
                con.execute(statement)

    return attack


def entries(home: Path) -> Path:
    """The file of September's allocated entries that readers see."""
    with closing(sqlite3.connect(home / "admin.db")) as con:
        ((path,),) = con.execute(
            "SELECT f.path FROM lake_file f JOIN period_head h USING (run_id)"
            " WHERE f.table_name = 'fact_cost_allocated' AND f.period_start = '2025-09-01'"
        )
    return home / "lake" / path


def swap_tenants(path: Path) -> None:
    """Writes the entries anew with two tenants exchanged: no total changes."""
    table = pq.read_table(path)
    swapped = {"acme": "globex", "globex": "acme"}
    tenants = [swapped.get(one, one) for one in table["tenant_id"].to_pylist()]
    at = table.schema.get_field_index("tenant_id")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(tenants, pa.string())), path)


def exchange_file(home: Path) -> None:
    """Other bytes of equal size and time; the row stays."""
    path = entries(home)
    info, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def exchange_file_and_row(home: Path) -> None:
    """Other entries, and a row of `lake_file` that fits them."""
    path = entries(home)
    swap_tenants(path)
    info = path.stat()
    with unguarded(home) as con:
        con.execute(
            "UPDATE lake_file SET sha256 = ?, size_bytes = ?, mtime_ns = ? WHERE path = ?",
            (hashlib.sha256(path.read_bytes()).hexdigest(), info.st_size, info.st_mtime_ns,
             path.relative_to(home / "lake").as_posix()),
        )  # fmt: skip


def add_file(home: Path) -> None:
    """The entries once more under another name, of a run that the journal has."""
    path = entries(home)
    copy = path.with_name("more.parquet")
    copy.write_bytes(path.read_bytes())
    with unguarded(home) as con:
        names = [row[1] for row in con.execute("PRAGMA table_info(lake_file)") if row[1] != "path"]
        con.execute(
            f"INSERT INTO lake_file (path, {', '.join(names)}) SELECT ?, {', '.join(names)} FROM lake_file"
            " WHERE path = ?",
            (copy.relative_to(home / "lake").as_posix(), path.relative_to(home / "lake").as_posix()),
        )  # fmt: skip


def show_other_bytes(home: Path) -> None:
    """`cur_billing_master` of the month reads a file of somebody's, which is as large and old as it says."""
    with unguarded(home) as con:
        ((place,),) = con.execute(f"SELECT location_json FROM cur_billing_head WHERE {SEP}")
        manifest, *files = json.loads(place)
        for one in files:
            other = home / f"other-{Path(one[0]).name}"
            other.write_bytes((home / one[0]).read_bytes() + b" ")
            one[:] = [str(other), other.stat().st_size, other.stat().st_mtime_ns]
        con.execute(
            f"UPDATE cur_billing_head SET location_json = ? WHERE {SEP}", (json.dumps([manifest, *files]),)
        )


def read_other_bytes(home: Path) -> None:
    """A row that says that COPS made another file of a delivered one."""
    other = home / "converted" / f"{'ab' * 16}.parquet"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(entries(home).read_bytes())
    with unguarded(home) as con:
        con.execute(
            "INSERT INTO cur_read_file SELECT delivery_id, 0, ?, ?, ?, ? FROM cur_billing_head"
            f" WHERE {SEP}",
            (f"converted/{other.name}", hashlib.sha256(other.read_bytes()).hexdigest(), other.stat().st_size,
             other.stat().st_mtime_ns),
        )  # fmt: skip


def cut_chain(home: Path) -> None:
    """The chain's last entry goes, and its recorded head with it: all hashes are right."""
    with unguarded(home) as con:
        con.execute(
            "DELETE FROM evidence_index WHERE evidence_seq = (SELECT max(evidence_seq) FROM evidence_index)"
        )
        con.execute(
            "UPDATE evidence_head SET (evidence_seq, entry_hash) ="
            " (SELECT evidence_seq, entry_hash FROM evidence_index ORDER BY evidence_seq DESC LIMIT 1)"
        )


def rename_seal(home: Path) -> None:
    """The seal's name in the store points to another object."""
    name = home / "evidence" / "names" / "seal-2025-09"
    other = next((home / "evidence" / "objects").rglob("*/*"))
    name.chmod(0o644)
    name.write_text(f"objects/{other.parent.name}/{other.name}", encoding="utf-8")


def roll_back(home: Path) -> None:
    """The database as it was before the close, over today's lake and evidence."""
    for name in ("admin.db-wal", "admin.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "admin.db").write_bytes((home / "before.db").read_bytes())


SEP = "period_start = '2025-09-01'"
LAST_RECON = f"recon_seq = (SELECT max(recon_seq) FROM recon_run WHERE {SEP})"

CASES: dict[str, tuple[Attack, str]] = {
    # what the lake holds
    "lake file exchanged at equal size and time": (exchange_file, "fact_cost_allocated file"),
    "lake file and its row exchanged": (exchange_file_and_row, "lake_file of 2025-09"),
    "a lake file added to a run of the month": (add_file, "lake_file of 2025-09"),
    "other bytes shown than those kept": (show_other_bytes, "file shown of delivery"),
    "other bytes read than those delivered": (read_other_bytes, "file read for delivery"),
    "row of a lake file deleted": (
        sql(f"DELETE FROM lake_file WHERE {SEP} AND table_name = 'fact_cost_tagged'"), "lake_file of 2025-09",
    ),
    "row of a lake file replaced": (
        sql(f"UPDATE lake_file SET cost_usd = '1.000000000000000000' WHERE {SEP}"), "lake_file of 2025-09",
    ),
    # what was published
    "journal: cost": (
        sql(f"UPDATE publish_journal SET cost_usd = '1.000000000000000000' WHERE {SEP}"), "publish_journal of",
    ),
    "journal: actor": (sql(f"UPDATE publish_journal SET actor = 'eve' WHERE {SEP}"), "publish_journal of"),
    "journal: time": (
        sql(f"UPDATE publish_journal SET published_at = '2025-10-01 00:00:00.000000' WHERE {SEP}"),
        "publish_journal of",
    ),
    "journal: a row more": (
        sql("INSERT INTO publish_journal SELECT journal_seq + 900, run_id || 'x', table_name, period_start,"
            " source_id || 'x', inputs_id, predecessor_run_id, reverses_run_id, row_count, cost_usd,"
            f" verdicts_json, actor, dagster_run_id, published_at, policy_version FROM publish_journal WHERE {SEP}"),
        "publish_journal of",
    ),
    "head moved to another run": (
        sql(f"UPDATE period_head SET run_id = 'x' WHERE {SEP} AND table_name = 'fact_cost_tagged'"),
        "period_head of",
    ),
    "attempt rewritten": (sql(f"UPDATE allocation_run_log SET actor = 'eve' WHERE {SEP}"), "allocation_run_log"),
    "keys of the run rewritten": (
        sql(f"UPDATE allocation_key_snapshot SET key_value = '9.000000000000000000' WHERE {SEP}"),
        "allocation_key_snapshot",
    ),
    "another day's rules decided": (
        sql("INSERT INTO allocation_rule_date VALUES ('2025-09-01', 1, '2025-09-01', 'x', NULL, 'eve',"
            " '2025-09-02 00:00:00.000000')"),
        "allocation_rule_date",
    ),
    # the close itself
    "lock set back to open": (
        sql(f"UPDATE period_lock SET state = 'open' WHERE {SEP}"), "period_lock of 2025-09",
    ),
    "lock replaced past its guards": (
        sql(f"REPLACE INTO period_lock SELECT period_start, 'open', 1, NULL, NULL, changed_at FROM period_lock"
            f" WHERE {SEP}"),
        "period_lock of 2025-09",
    ),
    "lock deleted": (sql(f"DELETE FROM period_lock WHERE {SEP}"), "period_lock of 2025-09"),
    "closed without a seal": (
        sql(f"UPDATE period_lock SET seal_digest = NULL WHERE {SEP}"), "period_lock: seal digest",
    ),
    "time of the close": (
        sql(f"UPDATE period_lock SET changed_at = '2025-10-12 00:00:00.000000' WHERE {SEP}"),
        "period_lock: time of the close",
    ),
    "who closed it": (
        sql(f"UPDATE period_lock_event SET actor = 'eve' WHERE {SEP} AND to_state = 'closed'"), "who closed it",
    ),
    "why it was final": (
        sql(f"UPDATE period_lock_event SET reason = 'x' WHERE {SEP} AND to_state = 'final'"), "period_lock_event",
    ),
    "a lock event deleted": (
        sql(f"DELETE FROM period_lock_event WHERE {SEP} AND to_state = 'provisional'"), "period_lock_event",
    ),
    "seal's name points elsewhere": (rename_seal, "name of the seal"),
    # what was said of it
    "reconciliation": (
        sql(f"UPDATE recon_run SET status = 'ok', variance_usd = '0.000000000000000000' WHERE {LAST_RECON}"),
        "recon_run of",
    ),
    "reconciliation of a tenant": (
        sql(f"UPDATE recon_run_tenant SET status = 'failed' WHERE {LAST_RECON}"), "recon_run_tenant",
    ),
    "statement": (
        sql(f"UPDATE recon_run_statement SET total = '1.000000000000000000' WHERE {LAST_RECON}"),
        "recon_run_statement",
    ),
    "bridge": (
        sql(f"UPDATE recon_run_bridge SET amount_usd = '1.000000000000000000' WHERE {LAST_RECON}"),
        "recon_run_bridge",
    ),
    "an amount that is none": (
        sql(f"UPDATE recon_run SET variance_usd = 'much' WHERE {LAST_RECON}"), "recon_run of",
    ),
    "invoice rewritten": (
        sql("UPDATE invoice_detail SET amount_usd = '1.000000000000000000' WHERE invoice_id = 'T-1'"),
        "invoice_detail",
    ),
    "invoice deleted": (sql("DELETE FROM invoice_detail WHERE invoice_id = 'T-1'"), "invoice_detail"),
    "invoice added": (
        sql("INSERT INTO invoice_detail SELECT 'T-666', tenant_id, period_start, amount, currency, amount_usd,"
            " status, document_type, corrects_invoice_id FROM invoice_detail WHERE invoice_id = 'T-1'"),
        "invoice_detail of 2025-09: T-666",
    ),
    "AWS's invoice rewritten": (
        sql("UPDATE aws_invoices SET tax = '1.000000000000000000'"), "aws_invoices",
    ),
    "exception: tenant, class and owner": (
        sql(f"UPDATE recon_exceptions SET tenant_id = 'globex', class = 'timing', owner = 'x' WHERE {SEP}"
            " AND resolved_at IS NOT NULL"),
        "recon_exceptions",
    ),
    "exception deleted": (sql(f"DELETE FROM recon_exceptions WHERE {SEP}"), "recon_exceptions"),
    "exception resolved by nobody": (
        sql("INSERT INTO recon_exceptions SELECT 'e' || exception_id, period_start, recon_seq, stage, subject_id,"
            " tenant_id, class, amount_usd, owner, decision, evidence_id, opened_by, opened_at, decided_by,"
            " decided_at, resolved_by, resolved_at, withdrawn_at, note, requested_login, subject_digest, withdrawn_recon_seq FROM recon_exceptions"
            f" WHERE {SEP} AND resolved_by = 'lee'"),
        "exception e",
    ),
    "approval inserted": (
        sql("INSERT INTO approval SELECT subject_type, 'x' || subject_id, subject_digest, requested_by, 'bob',"
            " reason, approved_at, claimed_by FROM approval"),
        "approval of exception x",
    ),
    "approval rewritten": (sql("UPDATE approval SET reason = 'never'"), "approval of 2025-09"),
    "approval given to another": (sql("UPDATE approval SET approved_by = 'bob'"), "approval of"),
    "approval deleted": (sql("DELETE FROM approval"), "approval of 2025-09"),
    "freeze rewritten": (
        sql(f"UPDATE invoice_freeze SET release_reason = 'never' WHERE {SEP}"), "invoice_freeze of",
    ),
    "freeze of an open month released by nobody": (
        sql("INSERT INTO invoice_freeze (period_start, reason, cause, set_by, set_at, released_by, released_at)"
            " VALUES ('2025-10-01', 'r', 'd', 'cops', '2025-11-01 00:00:00.000000', 'bob',"
            " '2025-11-02 00:00:00.000000')"),
        "invoice_freeze freeze-2",
    ),
    "alert silenced by its state": (sql("UPDATE alert_state SET state = 'inactive'"), "alert_state run_failed"),
    "alert log emptied": (sql("DELETE FROM alert_event"), "alert_event up to row"),
    "alert log rewritten": (sql("UPDATE alert_event SET detail = 'x'"), "alert_event up to row"),
    "notification log emptied": (sql("DELETE FROM notification_log"), "notification_log up to row"),
    "alert deleted with its log": (sql("DELETE FROM alert_event", "DELETE FROM alert_state"), "alert_event up to"),
    "tag coverage": (
        sql(f"UPDATE tag_coverage SET covered_usd = '1.000000000000000000' WHERE {SEP}"), "tag_coverage",
    ),
    # what it was made of
    "delivery": (sql(f"UPDATE cur_delivery SET delivered_at = '2025-10-01 00:00:00.000000' WHERE {SEP}"),
                 "cur_delivery of"),
    "digest of a delivered file": (
        sql("UPDATE cur_delivery_file SET sha256 = 'x' WHERE delivery_id IN"
            f" (SELECT delivery_id FROM cur_billing_head WHERE {SEP})"),
        "cur_delivery_file",
    ),
    "shown delivery deleted": (sql(f"DELETE FROM cur_billing_head WHERE {SEP}"), "cur_billing_head"),
    "ingestion log": (
        sql(f"UPDATE cur_ingestion_log SET actor = 'eve' WHERE {SEP}"), "cur_ingestion_log",
    ),
    "key figures": (
        sql(f"UPDATE tenant_usage SET value = '9.000000000000000000' WHERE {SEP}"), "tenant_usage",
    ),
    "rule": (sql("UPDATE allocation_rules SET approved_by = 'eve'"), "allocation_rules"),
    "policy": (sql("UPDATE policy SET adopted_by = 'eve'"), "policy of"),
    # the guards
    "trigger dropped": (schema("DROP TRIGGER lake_file_no_update"), "guard: trigger lake_file"),
    "trigger made hollow": (
        schema("UPDATE sqlite_master SET sql = 'CREATE TRIGGER lake_file_no_update BEFORE UPDATE ON lake_file"
               " BEGIN SELECT 1; END' WHERE name = 'lake_file_no_update'"),
        "guard: trigger lake_file",
    ),
    "trigger of somebody's": (
        schema("CREATE TRIGGER helper AFTER INSERT ON invoice_detail BEGIN DELETE FROM approval; END"),
        "guard: trigger invoice_detail.helper",
    ),
    "unique index dropped": (
        schema("DROP INDEX uq_publish_journal_predecessor"), "guard: index publish_journal",
    ),
    "check taken out of a table": (
        schema("UPDATE sqlite_master SET sql = replace(sql, 'CHECK', 'DEFAULT NULL CHECK') WHERE name = 'x'",
               "UPDATE sqlite_master SET sql = replace(sql, '''closed''', '''closed'',''gone''')"
               " WHERE name = 'period_lock'"),
        "guard: table period_lock",
    ),
    "view made to lie": (
        schema("DROP VIEW tenant_statement", "CREATE VIEW tenant_statement AS SELECT * FROM recon_run_statement"),
        "guard: view tenant_statement",
    ),
    # the chain
    "chain cut behind the last close": (cut_chain, "anchor"),
    "database rolled back to before the close": (roll_back, "anchor"),
}  # fmt: skip
