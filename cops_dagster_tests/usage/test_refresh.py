"""Days of a usage key: versions, corrections, the month they make, and what is refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.allocation import allocate
from cops_dagster.closing import proof
from cops_dagster.errors import CopsError
from cops_dagster.evidence import verify
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger.books import Books
from cops_dagster.operations import doctor
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag
from cops_dagster.usage import refresh, roll_up, standing
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, force_state, give, lines, run, write
from cops_dagster_tests.usage.declaring import FILES, day_of, declaring, flow, network, take

DAYS = [day_of(number) for number in range(1, 31)]
LAST_DAYS = FILES.replace('unit = "bytes"', 'unit = "bytes"\nsince = 2025-09-28', 1)
"""A key that begins on the 28th: three days are its month."""


def loaded(books: Books, measure: str = "network") -> dict[str, Decimal]:
    """What the month's key is made of."""
    usage = t.tenant_usage
    with books.admin.read() as con:
        rows = con.execute(sa.select(usage).where(usage.c.measure == measure)).all()
    return {row.tenant_id: row.value for row in rows}


def refusal(books: Books, day: date) -> CopsError:
    with pytest.raises(CopsError) as caught:
        take(books, day)
    return caught.value


def rows(books: Books, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    with books.admin.read() as con:
        return list(con.execute(sa.select(table)))


def test_a_day_becomes_a_version_with_its_proof_and_the_month_adds_up(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    for number, day in enumerate(DAYS[:3], start=1):
        flow(tmp_path, day, acme=number, globex=10)
        assert take(books, day).month.state == "loaded"
    assert loaded(books) == {"acme": 6, "globex": 30}
    (first, *_), values = rows(books, t.usage_day), rows(books, t.usage_day_value)
    assert (first.version, first.source_kind, first.tenant_count) == (1, "files", 2)
    assert len(values) == 6
    month = rows(books, t.usage_month)[-1]
    log = {row.load_id for row in rows(books, t.load_log)}
    assert (month.days, month.last_day, month.load_id in log) == (3, day_of(3), True)
    proofs = {row.evidence_seq: row for row in rows(books, t.evidence_index)}
    assert proofs[int(first.evidence_id)].subject_id == "network/2025-09-01/1"
    assert verify.verify(books).findings == []


def test_the_same_answer_is_no_news_and_another_one_is_a_version(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    flow(tmp_path, DAYS[0], acme=1, globex=1)
    assert take(books, DAYS[0]).wrote
    before = [len(rows(books, table)) for table in (t.usage_day, t.usage_month, t.load_log, t.evidence_index)]
    assert not take(books, DAYS[0], at=datetime(2025, 9, 5)).wrote
    assert before == [
        len(rows(books, table)) for table in (t.usage_day, t.usage_month, t.load_log, t.evidence_index)
    ]
    flow(tmp_path, DAYS[0], acme=5)  # a correction also takes a tenant out
    done = take(books, DAYS[0], at=datetime(2025, 9, 6))
    assert (done.version.version, done.wrote) == (2, True)
    assert loaded(books) == {"acme": 5, "globex": 0}
    assert [row.version for row in rows(books, t.usage_day)] == [1, 2]
    assert len({row.usage_id for row in rows(books, t.usage_month)}) == 2


def test_a_month_with_a_gap_is_not_loaded_until_the_gap_is_filled(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    for day in (DAYS[0], DAYS[2]):
        flow(tmp_path, day, acme=1, globex=1)
    assert take(books, DAYS[0]).month.state == "loaded"
    assert take(books, DAYS[2]).month.gaps == [DAYS[1]]
    assert loaded(books) == {"acme": 1, "globex": 1}
    flow(tmp_path, DAYS[1], acme=1, globex=1)
    assert take(books, DAYS[1]).month.state == "loaded"
    assert loaded(books) == {"acme": 3, "globex": 3}


@pytest.mark.parametrize(("how", "acme"), [("sum", 9), ("max", 5), ("last", 1)])
def test_days_become_the_month_as_declared(tmp_path: Path, how: str, acme: int) -> None:
    books = declaring(tmp_path, FILES.replace('unit = "bytes"', f'unit = "bytes"\nmonth = "{how}"'))
    for day, value in zip(DAYS[:3], (3, 5, 1), strict=True):
        flow(tmp_path, day, acme=value, globex=1)
        take(books, day)
    assert loaded(books)["acme"] == acme


def test_bytes_become_gigabytes_without_a_lost_digit(tmp_path: Path) -> None:
    text = FILES.replace('unit = "bytes"', 'unit = "GB"', 1).replace(
        'kind = "files"', 'kind = "files"\nunit = "bytes"'
    )
    books = declaring(tmp_path, text)
    flow(tmp_path, DAYS[0], acme=1, globex=10**15 + 1)
    take(books, DAYS[0])
    assert loaded(books) == {"acme": Decimal("0.000000001"), "globex": Decimal("1000000.000000001")}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("figures", "query", "code"),
    [
        ({"acme": -1}, None, "E-KEY-NEG"),
        ({"acme": ""}, None, "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT tenant, CAST(bytes AS DOUBLE) FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT tenant, 'NaN' FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT tenant, 'Infinity' FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT tenant, '1_000' FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT tenant, '١٢' FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT NULL, 1 FROM files", "E-USAGE-VALUE"),
        ({"acme": 1}, "SELECT a.tenant, a.bytes FROM files a, (VALUES (1), (2)) b", "E-USAGE-TWICE"),
        ({"acme": 1}, "SELECT tenant, bytes FROM files WHERE false", "E-USAGE-EMPTY"),
        ({"acme": 1}, "SELECT tenant, bytes, 1 FROM files", "E-USAGE-QUERY"),
        ({"acme": 1}, "DELETE FROM files", "E-USAGE-QUERY"),
        ({"acme": 1}, "SELECT tenant, bytes FROM files WHERE :month > 1", "E-USAGE-QUERY"),
        ({"acm": 1}, None, "E-TENANT-UNKNOWN"),
    ],
)
def test_what_is_no_usage_is_refused_and_leaves_no_version(
    tmp_path: Path, figures: dict[str, object], query: str | None, code: str
) -> None:
    text = FILES.replace(
        "SELECT tenant, SUM(bytes) FROM files GROUP BY tenant", query or "SELECT tenant, bytes FROM files"
    )
    books = declaring(tmp_path, text)
    flow(tmp_path, DAYS[0], **figures)
    assert refusal(books, DAYS[0]).code == code
    assert rows(books, t.usage_day) == rows(books, t.usage_day_value) == []
    assert [row.error_code for row in rows(books, t.usage_refusal)] == [code]
    assert loaded(books) == {}


def test_a_query_reads_its_declared_files_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "payroll.csv"
    other.write_text("tenant,bytes\nacme,7\n", encoding="utf-8")
    flow(tmp_path, DAYS[0], acme=1)
    for query in (
        f"SELECT tenant, bytes FROM read_csv('{other}')",
        f"SELECT 'acme', size FROM read_blob('{other}')",
        "SELECT 'acme', COUNT(*) FROM glob('/etc/*')",
    ):
        books = declaring(
            tmp_path, FILES.replace("SELECT tenant, SUM(bytes) FROM files GROUP BY tenant", query)
        )
        assert refusal(books, DAYS[0]).code == "E-USAGE-QUERY", query
    assert rows(books, t.usage_day) == []
    books = declaring(
        tmp_path, FILES.replace("FROM files", f"FROM read_csv('{tmp_path}/flow/2025-09-01.csv')")
    )
    assert take(books, DAYS[0]).wrote  # the day's own file by its name is one of them


@pytest.mark.long
def test_the_contract_is_held(tmp_path: Path) -> None:
    def refused(contract: str, **figures: object) -> str:
        books = declaring(tmp_path, f"{FILES}\n[measures.network.contract]\n{contract}\n")
        flow(tmp_path, DAYS[1], **figures)
        return refusal(books, DAYS[1]).code

    books = declaring(tmp_path)
    flow(tmp_path, DAYS[0], acme=5, globex=5)
    take(books, DAYS[0])
    assert refused('tenants = "active"', acme=1) == "E-USAGE-MISSING"
    assert refused('tenants = ["globex"]', acme=1) == "E-USAGE-MISSING"
    assert refused("max = 4", acme=5, globex=1) == "E-USAGE-RANGE"
    assert refused('min = "0.5"', acme=0, globex=1) == "E-USAGE-RANGE"
    assert refused("monotone = true", acme=4, globex=5) == "E-USAGE-FELL"
    allowed = 'tenants = "active"\nmax = 6\nmin = "0.5"\nmonotone = true'
    books = declaring(tmp_path, f"{FILES}\n[measures.network.contract]\n{allowed}\n")
    flow(tmp_path, DAYS[1], acme=5, globex=6)
    assert take(books, DAYS[1]).wrote


def test_a_monotone_measure_falls_neither_way_when_an_earlier_day_is_corrected(tmp_path: Path) -> None:
    """Day 3 was corrected above what day 4 says, and the month then fell from one to the other."""
    books = declaring(tmp_path, f"{FILES}\n[measures.network.contract]\nmonotone = true\n")
    for day, acme in zip(DAYS[1:5], (2, 3, 4, 5), strict=True):
        flow(tmp_path, day, acme=acme, **({"globex": 7} if day != DAYS[3] else {}))
        take(books, day)
    later = datetime(2025, 9, 10)
    flow(tmp_path, DAYS[2], acme=5, globex=7)
    with pytest.raises(CopsError) as caught:
        take(books, DAYS[2], at=later)
    assert caught.value.code == "E-USAGE-FELL"
    assert (caught.value.expected, caught.value.found) == ("4 or less of acme, as on 2025-09-04", "5")
    assert "cops keys refresh network --day 2025-09-04" in caught.value.next_step
    flow(tmp_path, DAYS[2], acme=4, globex=8)  # day 4 does not name globex, and day 5 says less
    assert refusal(books, DAYS[2]).expected == "7 or less of globex, as on 2025-09-05"
    flow(tmp_path, DAYS[3], acme=5, globex=6)
    assert refusal(books, DAYS[3]).expected == "7 or more of globex, as on 2025-09-03"
    assert [row.version for row in rows(books, t.usage_day)] == [1, 1, 1, 1]
    flow(tmp_path, DAYS[3], acme=5)
    flow(tmp_path, DAYS[2], acme=5, globex=7)
    assert take(books, DAYS[3], at=later).wrote, "the later day first"
    assert take(books, DAYS[2], at=later).wrote


def test_a_sum_that_no_key_may_be_leaves_no_version_and_says_which_unit(tmp_path: Path) -> None:
    """Two right names of one tenant made a figure that could be written and never be read again."""
    books = declaring(tmp_path, f'{FILES}\n[measures.network.aliases]\n"neo" = "acme"\n')
    flow(tmp_path, DAYS[0], acme=6 * 10**11, neo=6 * 10**11)
    found = refusal(books, DAYS[0])
    assert (found.code, "GB, not bytes" in found.next_step) == ("E-KEY-RANGE", True)
    assert rows(books, t.usage_day) == []
    for day in DAYS[:2]:
        flow(tmp_path, day, acme=6 * 10**11)
    assert take(books, DAYS[0]).month.state == "loaded"
    found = refusal(books, DAYS[1])
    assert (found.code, found.subject) == ("E-KEY-RANGE", "measure network of 2025-09")
    text = FILES.replace('unit = "bytes"', 'unit = "GB"', 1)
    books = declaring(tmp_path, text.replace('kind = "files"', 'kind = "files"\nunit = "bytes"'))
    for day in DAYS[:2]:
        take(books, day)
    assert loaded(books) == {"acme": 1200}


def test_days_in_another_unit_are_asked_again_before_the_month_is_added_up(tmp_path: Path) -> None:
    """Bytes of the first days were added to gigabytes of the others once `unit` was changed."""
    books = declaring(tmp_path)
    for day in DAYS[:2]:
        flow(tmp_path, day, acme=2 * 10**9, globex=0)
        take(books, day)
    text = FILES.replace('unit = "bytes"', 'unit = "GB"', 1)
    books = declaring(tmp_path, text.replace('kind = "files"', 'kind = "files"\nunit = "bytes"'))
    flow(tmp_path, DAYS[2], acme=10**9, globex=0)
    assert take(books, DAYS[2]).month.gaps == DAYS[:2]
    assert loaded(books)["acme"] == 4 * 10**9, "as it was, in one unit"
    waits = refresh.waiting(books, [network(books)], SEPTEMBER, at=datetime(2025, 9, 4, 2))
    assert [day for _, day in waits] == DAYS[:2]
    flow(tmp_path, DAYS[0], acme=0, globex=0)
    for day in DAYS[:2]:
        assert take(books, day).version.version == 2
    assert loaded(books)["acme"] == 3
    told = {row.alert_rule for row in rows(books, t.alert_state) if row.state != "resolved"}
    assert "usage_days_come_before_the_close" not in told


def test_days_before_since_count_no_more(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    for day in DAYS[:3]:
        flow(tmp_path, day, acme=2, globex=1)
        take(books, day)
    since = FILES.replace('unit = "bytes"', 'unit = "bytes"\nsince = 2025-09-03', 1)
    books = declaring(tmp_path, since)
    at = datetime(2025, 9, 4, 2)
    assert refresh.waiting(books, [network(books)], SEPTEMBER, at=at) == [(network(books), DAYS[2])]
    take(books, DAYS[2])
    assert loaded(books) == {"acme": 2, "globex": 1}
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    books = declaring(tmp_path, since.replace("09-03", "09-20"))
    assert standing.standings(books, SEPTEMBER)[0].days == 3, "what is closed stays as it was"


def test_names_that_nobody_has_are_held_out_of_the_split_and_told(tmp_path: Path) -> None:
    books = declaring(tmp_path, f'{FILES}\n[measures.network.contract]\nunknown = "hold"\n')
    flow(tmp_path, DAYS[0], acme=1, globex=1, stranger=2)
    assert take(books, DAYS[0]).version.held == 1
    assert loaded(books) == {"acme": 1, "globex": 1}
    (alert,) = [row for row in rows(books, t.alert_state) if row.alert_rule == "usage_days_name_tenants"]
    assert "stranger" in alert.detail
    assert "50.00 %" in alert.detail
    give(books, tmp_path, tenants="tenant_id,name,plan_id,active_from\nstranger,New,team,2025-09-01\n")
    assert (
        take(books, DAYS[0], at=datetime(2025, 9, 3)).version.version == 2
    )  # who was nobody is somebody now
    assert loaded(books)["stranger"] == 2


def test_a_tenant_that_is_renamed_in_mid_month_keeps_its_usage(tmp_path: Path) -> None:
    books = declaring(tmp_path, f'{FILES}\n[measures.network.aliases]\n"acme-old" = "acme"\n')
    for day, figures in zip(
        DAYS[:3], ({"acme__old": 1}, {"acme__old": 1, "acme": 2}, {"acme": 4}), strict=True
    ):
        flow(tmp_path, day, **figures, globex=1)
        take(books, day)
    assert loaded(books) == {"acme": 8, "globex": 3}


def test_an_alias_of_the_registry_counts_from_its_day(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    give(
        books,
        tmp_path,
        tag_aliases="tag_name,alias,effective_from,canonical\ntenant_id,neo,2025-09-02,acme\n",
    )
    for day in DAYS[:2]:
        flow(tmp_path, day, neo=3, globex=1)
    assert refusal(books, DAYS[0]).code == "E-TENANT-UNKNOWN"
    flow(tmp_path, DAYS[0], acme=3, globex=1)
    take(books, DAYS[0])
    take(books, DAYS[1])
    assert loaded(books) == {"acme": 6, "globex": 2}


def test_accounts_are_those_of_their_tenants_on_the_day(tmp_path: Path) -> None:
    books = declaring(tmp_path, FILES.replace('unit = "bytes"', 'unit = "bytes"\nnames = "account"'))
    give(
        books, tmp_path,
        account_tenants="usage_account_id,effective_from,effective_to,tenant_id\n"
        "000000000042,2025-01-01,2025-09-02,acme\n000000000042,2025-09-02,,globex\n",
    )  # fmt: skip
    for day in DAYS[:2]:
        (tmp_path / "flow").mkdir(exist_ok=True)
        (tmp_path / "flow" / f"{day}.csv").write_text("tenant,bytes\n000000000042,7\n", encoding="utf-8")
        take(books, day)
    assert loaded(books) == {"acme": 7, "globex": 7}


def test_a_day_that_is_not_over_is_not_asked(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    flow(tmp_path, DAYS[0], acme=1)
    for at in (datetime(2025, 9, 1, 12), datetime(2025, 9, 2, 0, 59)):
        with pytest.raises(CopsError) as caught:
            take(books, DAYS[0], at=at)
        assert caught.value.code == "E-USAGE-EARLY"
    assert rows(books, t.usage_refusal) == []
    assert take(books, DAYS[0], at=datetime(2025, 9, 2, 1)).wrote


def test_a_day_that_comes_after_the_close_is_kept_and_told_and_changes_nothing(tmp_path: Path) -> None:
    books = declaring(tmp_path, LAST_DAYS)
    for day in DAYS[27:]:
        flow(tmp_path, day, acme=1, globex=1)
        take(books, day)
    before = loaded(books)
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    flow(tmp_path, DAYS[28], acme=100, globex=1)
    done = take(books, DAYS[28], at=datetime(2025, 10, 20))
    assert (done.version.version, done.version.month_state, done.month.state) == (2, "closed", "closed")
    assert loaded(books) == before
    (alert,) = [
        row for row in rows(books, t.alert_state) if row.alert_rule == "usage_days_come_before_the_close"
    ]
    assert "2025-09-29" in alert.detail
    (standing_,) = standing.standings(books, SEPTEMBER)
    assert (standing_.state, standing_.version) == ("closed", 1)


def test_a_day_that_came_while_a_close_failed_counts_once_it_is_asked_again(tmp_path: Path) -> None:
    books = declaring(tmp_path, LAST_DAYS)
    for day in DAYS[27:]:
        flow(tmp_path, day, acme=1, globex=1)
    for day in DAYS[27:29]:
        take(books, day)
    for state in ("closing", "final"):
        with books.admin.write() as con:
            force_state(con, state, SEPTEMBER)
        assert take(books, DAYS[29]).wrote
    assert loaded(books) == {"acme": 3, "globex": 3}
    assert [row.month_state for row in rows(books, t.usage_day)][2:] == ["closing", "final"]


def test_days_that_were_refused_are_asked_after_those_that_were_not(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    for day in DAYS[:2]:
        assert refusal(books, day).code == "E-USAGE-FILES"
    waits = refresh.waiting(books, [network(books)], SEPTEMBER, at=datetime(2025, 9, 5, 2))
    assert [day for _, day in waits] == DAYS[:4]
    turned = refresh.in_turn(books, waits)
    assert [day for _, day in turned] == [DAYS[2], DAYS[3], DAYS[1], DAYS[0]]


def test_a_month_whose_last_load_failed_waits_for_its_newest_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = declaring(tmp_path, LAST_DAYS)
    for day in DAYS[27:]:
        flow(tmp_path, day, acme=1)
    for day in DAYS[27:29]:
        take(books, day)
    with monkeypatch.context() as patch:
        patch.setattr(roll_up, "load", _dies)
        with pytest.raises(KeyboardInterrupt):
            take(books, DAYS[29])
    assert loaded(books)["acme"] == 2
    october = datetime(2025, 10, 2)
    assert refresh.waiting(books, [network(books)], SEPTEMBER, at=october) == [(network(books), DAYS[29])]
    take(books, DAYS[29])
    assert loaded(books)["acme"] == 3
    assert refresh.waiting(books, [network(books)], SEPTEMBER, at=october) == []


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_alias_of_nobody_is_refused_before_its_day_is_a_version(tmp_path: Path) -> None:
    books = declaring(tmp_path, f'{FILES}\n[measures.network.aliases]\n"neo" = "acmee"\n')
    flow(tmp_path, DAYS[0], neo=1)
    found = refusal(books, DAYS[0])
    assert (found.code, "did you mean acme?" in found.found) == ("E-TENANT-UNKNOWN", True)
    assert rows(books, t.usage_day) == []


@pytest.mark.long
def test_the_frozen_key_names_the_version_that_it_is_made_of(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = declaring(tmp_path, LAST_DAYS)
    for day in DAYS[27:]:
        flow(tmp_path, day, acme=1, globex=2)
        take(books, day)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    allocate.allocate(books, SEPTEMBER)
    (named,) = rows(books, t.key_usage_version)
    assert named.usage_id == rows(books, t.usage_month)[-1].usage_id
    told = standing.explain(books, network(books), SEPTEMBER)
    assert told.frozen == {"network": named.usage_id}
    assert told.standing.state == "fresh"
    assert [(one.rule_id, one.service, one.pool_usd) for one in told.rules] == [
        ("transfer", "AWSDataTransfer", Decimal("9.000000001"))
    ]
    assert told.hanging_usd == Decimal("9.000000001")
    by_hand = "period_start,tenant_id,value,refreshed_at\n2025-09,acme,5,2025-10-02T03:00:00Z\n"
    give(books, tmp_path, replace=True, tenant_network_usage=by_hand)
    allocate.allocate(books, SEPTEMBER)
    assert len(rows(books, t.key_usage_version)) == 1  # figures that somebody loaded come from no version
    assert standing.standings(books, SEPTEMBER)[0].state == "by hand"


def test_a_key_that_dies_on_day_three_is_named_with_its_money_and_recovers(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = declaring(tmp_path, LAST_DAYS.replace("28", "25"))
    for day in DAYS[24:]:
        flow(tmp_path, day, acme=1, globex=2)
    for day in DAYS[24:26]:
        take(books, day)
    (tmp_path / "flow").rename(tmp_path / "gone")
    for day in DAYS[26:28]:
        assert refusal(books, day).code == "E-USAGE-FILES"
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    (alert,) = [row for row in rows(books, t.alert_state) if row.alert_rule == "usage_days_come_in_time"]
    assert "network" in alert.detail
    assert "2025-09-27" in alert.detail
    (red,) = [one for one in doctor.diagnose(books, SEPTEMBER, "zero-allocation") if "network" in one.what]
    assert (red.light, red.next_step) == (
        "red",
        "mend the files, then: cops keys refresh network --period 2025-09",
    )
    assert "E-USAGE-FILES" in red.found
    told = standing.explain(books, network(books), SEPTEMBER, at=datetime(2025, 9, 29))
    assert (told.standing.state, told.standing.last_day) == ("refused", DAYS[25])
    assert told.hanging_usd == Decimal("9.000000001")
    (tmp_path / "gone").rename(tmp_path / "flow")
    for _, day in refresh.waiting(books, [network(books)], SEPTEMBER, at=datetime(2025, 10, 1, 2)):
        take(books, day, at=datetime(2025, 10, 1, 2))
    assert loaded(books) == {"acme": 6, "globex": 12}
    (alert,) = [row for row in rows(books, t.alert_state) if row.alert_rule == "usage_days_come_in_time"]
    assert alert.state == "resolved"
    assert not [one for one in doctor.diagnose(books, SEPTEMBER, "zero-allocation") if "network" in one.what]


def test_a_crash_between_version_and_load_is_made_good_by_the_next_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = declaring(tmp_path)
    flow(tmp_path, DAYS[0], acme=1, globex=2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(refresh.roll_up, "roll_up", killed)
        with pytest.raises(KeyboardInterrupt):
            take(books, DAYS[0])
    assert (len(rows(books, t.usage_day)), loaded(books)) == (1, {})
    done = take(books, DAYS[0])
    assert (done.wrote, done.month.state) == (False, "loaded")
    assert loaded(books) == {"acme": 1, "globex": 2}


def test_shares_that_jump_from_one_day_to_the_next_are_told(tmp_path: Path) -> None:
    books = declaring(tmp_path)
    for day, acme in zip(DAYS[:2], (50, 90), strict=True):
        flow(tmp_path, day, acme=acme, globex=100 - acme)
        take(books, day, at=datetime(2025, 9, 3) + timedelta(hours=1))
    (alert,) = [row for row in rows(books, t.alert_state) if row.alert_rule == "usage_day_shares_stay_steady"]
    assert "90.00 %" in alert.detail


@pytest.mark.long
def test_a_month_whose_key_died_and_recovered_closes_and_stays_as_sealed(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    aged(tmp_path / "cur")
    books = declaring(tmp_path, LAST_DAYS)
    give(books, tmp_path, **DOCUMENTS)
    for day in DAYS[27:29]:
        flow(tmp_path, day, acme=1, globex=2)
        take(books, day)
    assert refusal(books, DAYS[29]).code == "E-USAGE-FILES"
    flow(tmp_path, DAYS[29], acme=1, globex=2)
    take(books, DAYS[29], at=datetime(2025, 10, 2))
    run(books)
    assert close_by_two(books).wrote
    before = loaded(books)
    flow(tmp_path, DAYS[27], acme=9, globex=2)
    assert take(books, DAYS[27], at=datetime(2025, 11, 2)).month.state == "closed"
    assert loaded(books) == before == {"acme": 3, "globex": 6}
    assert [one for month in proof.closed_months(books) for one in month.findings] == []
    assert len(rows(books, t.key_usage_version)) == 1
