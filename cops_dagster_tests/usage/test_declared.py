"""keys.toml: what may stand in it, and how a mistake is told."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.usage import begin, declared
from cops_dagster_tests.usage.declaring import FILES

GOOD = f"{FILES}\n[measures.network.contract]\nmax = 5\n"


def read(folder: Path, text: str) -> dict[str, declared.Measure]:
    (folder / "keys.toml").write_text(text, encoding="utf-8")
    return declared.measures(settings.load(home=folder / "home", keys=str(folder / "keys.toml")))


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("[measures.network]", "[measures.network", "E-KEYS-FILE", "TOML"),
        ("[measures.network]", "[measure.network]", "E-KEYS-FIELD", "did you mean measures?"),
        ("[measures.network]", "[measures.Net-Work]", "E-KEYS-FIELD", "network, source"),
        ('unit = "bytes"', "", "E-KEYS-FIELD", "measure network, unit"),
        ('unit = "bytes"', 'unit = "bytes"\nmoth = "sum"', "E-KEYS-FIELD", "did you mean month?"),
        ('unit = "bytes"', 'unit = "bytes"\nmonth = "mean"', "E-KEYS-FIELD", "measure network, month"),
        ('unit = "bytes"', 'unit = "bytes"\ncut_off = "02:00+02:00"', "E-KEYS-FIELD", "without a zone"),
        ('unit = "bytes"', 'unit = "bytes"\ncut_off = 7200', "E-KEYS-FIELD", "without a zone"),
        ("max = 5", "maxi = 5", "E-KEYS-FIELD", "did you mean max?"),
        ("max = 5", "max = 5\nmin = 6", "E-KEYS-FIELD", "at least 6 and at most 5"),
        ("max = 5", 'max = "much"', "E-KEYS-FIELD", "contract.max"),
        (
            "max = 5",
            "max = 1e30",
            "E-KEYS-FIELD",
            "contract.max: expected at most 20 digits before the point",
        ),
        ("max = 5", "max = 1e-30", "E-KEYS-FIELD", "contract.max: expected at most 18 decimals"),
        ("max = 5", 'max = "1e999999999"', "E-KEYS-FIELD", "contract.max: expected at most 20 digits"),
        (
            "max = 5",
            "min = 99999999999999999999.5000000000000000001",
            "E-KEYS-FIELD",
            "contract.min: expected",
        ),
        ("max = 5", f"max = {'9' * 5000}", "E-KEYS-FILE", "TOML"),
        ("max = 5", f"max = {'[' * 3000}", "E-KEYS-FILE", "TOML"),
        ("max = 5", "max = nan", "E-KEYS-FIELD", "contract.max"),
        ("max = 5", "max = -inf", "E-KEYS-FIELD", "contract.max"),
        ("max = 5", "max = true", "E-KEYS-FIELD", "contract.max"),
        ("max = 5", 'max = "1_000"', "E-KEYS-FIELD", "contract.max: expected plain digits"),
        ("max = 5", 'max = "١٢"', "E-KEYS-FIELD", "contract.max: expected plain digits"),
        ("max = 5", "min = -1", "E-KEYS-FIELD", "contract.min"),
        ("max = 5", "late_hours = true", "E-KEYS-FIELD", "contract.late_hours: expected a whole number"),
        ("max = 5", 'share_points = "1_0"', "E-KEYS-FIELD", "contract.share_points: expected plain digits"),
        ("max = 5", 'tenants = ["acme", ""]', "E-KEYS-FIELD", "contract.tenants: expected a name"),
        ("max = 5", "tenants = 5", "E-KEYS-FIELD", "contract.tenants: "),
        (
            'unit = "bytes"',
            'unit = "bytes"\naliases = {neo = " "}',
            "E-KEYS-FIELD",
            "aliases: expected a name",
        ),
        ('kind = "files"', 'kind = "file"', "E-KEYS-FIELD", "did you mean files?"),
        ('kind = "files"', "", "E-KEYS-FIELD", "source.kind"),
        ('kind = "files"', 'kind = "files"\nunit = "hours"', "E-KEYS-FIELD", "exactly"),
        ('kind = "files"', 'kind = "files"\npath = "x"', "E-KEYS-FIELD", "did you mean paths?"),
        ('kind = "files"', 'kind = "files"\n# postgresql://a:geheim@h/b', "E-KEYS-FILE", "a password"),
        ('kind = "files"', 'kind = "prometheus"\nurl = "http://h/?k=geheim"', "E-KEYS-FIELD", "source.url"),
        ('kind = "files"', 'kind = "prometheus"\nurl = "http://h/x geheim"', "E-KEYS-FIELD", "source.url"),
        ("flow/{year}-{month}-{day}.csv", "https://b.s3.amazonaws.com/x", "E-KEYS-FIELD", "s3://b/x"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert set(read(tmp_path, GOOD)) == {"network"}
    if "Net-Work" in new:  # a header of a section that is written once more below
        text, said = GOOD.replace("measures.network", "measures.Net-Work"), "name"
    else:
        assert old in GOOD
        text = GOOD.replace(old, new, 1)
    with pytest.raises(CopsError) as caught:
        read(tmp_path, text)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_limit_keeps_every_digit_that_is_written(tmp_path: Path) -> None:
    for written in ("0.100000000000000001", "99999999999999999999.5", '"0.100000000000000001"'):
        found = read(tmp_path, GOOD.replace("max = 5", f"max = {written}"))
        assert found["network"].contract.max == Decimal(written.strip('"'))


def test_without_a_file_nothing_is_declared_and_a_named_one_must_be_there(tmp_path: Path) -> None:
    assert declared.measures(settings.load(home=tmp_path)) == {}
    with pytest.raises(CopsError, match="E-KEYS-FILE"):
        declared.measures(settings.load(home=tmp_path, keys=str(tmp_path / "no.toml")))


def test_the_example_is_written_once_and_every_declaration_in_it_is_good(tmp_path: Path) -> None:
    given = settings.load(home=tmp_path, keys=str(tmp_path / "keys.toml"))
    file = begin.begin(given)
    assert declared.measures(given) == {}
    with pytest.raises(CopsError, match="E-KEYS-FILE"):
        begin.begin(given)
    text = re.sub(r"(?m)^#(?=[\S])", "", file.read_text(encoding="utf-8"))
    found = read(tmp_path, text)
    assert {one.source.kind for one in found.values()} == {"csv", "database", "files", "prometheus"}


def test_an_address_is_no_setting_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cops.toml"
    file.write_text('[sources]\nwarehouse = "sqlite:///x.db"\n', encoding="utf-8")
    monkeypatch.setenv("COPS_CONFIG", str(file))
    with pytest.raises(CopsError, match="COPS_SOURCES__WAREHOUSE"):
        settings.load()
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("COPS_SOURCES__WAREHOUSE", "postgresql://ann:geheim@h/b")
    loaded = settings.load()
    assert declared.server_url(loaded, "warehouse") == "postgresql://ann:geheim@h/b"
    assert "geheim" not in repr(loaded)
    with pytest.raises(CopsError, match="there is warehouse"):
        declared.server_url(loaded, "warehous")
