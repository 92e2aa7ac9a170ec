"""Rules of the house that no linter knows, read off the source. CONTRIBUTING.md gives the reasons."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cops_dagster"
LINES_MAX = 500  # a module that one sitting can review

SQL_TEXT = re.compile(
    r"^\s*(SELECT\s|WITH\s+\w+\s+AS\s*\(|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|CREATE\s+(OR\s+REPLACE\s+)?(TEMP\w*\s+)?(TABLE|VIEW|MACRO|INDEX|TRIGGER)\s"
    r"|COPY\s+[\w(]|ALTER\s+TABLE\s|DROP\s+(TABLE|VIEW)\s)"
)


def modules(*folders: str) -> list[Path]:
    roots = [PACKAGE / folder for folder in folders] or [PACKAGE]
    return sorted(path for root in roots for path in root.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def found(paths: list[Path], is_one: Callable[[ast.AST], bool]) -> list[str]:
    return [place(path, node) for path in paths for node in ast.walk(tree(path)) if is_one(node)]


def within(path: Path, *folders: str) -> bool:
    return path.relative_to(PACKAGE).parts[0] in folders


def test_nothing_is_taken_from_the_private_half_of_dagster() -> None:
    def private(node: ast.AST) -> bool:
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        return any(re.match(r"dagster\w*\.(.*\.)?_", name) for name in names)

    assert found(modules(), private) == []


def test_only_settings_reads_the_environment() -> None:
    """Writing DAGSTER_HOME is the exception: Dagster's child processes take it from nowhere else."""

    def touches(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            return bool({alias.name for alias in node.names} & {"environ", "getenv", "putenv"})
        return isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "os.environ",
            "os.getenv",
            "os.putenv",
        )

    bad = []
    for path in modules():
        if path == PACKAGE / "settings.py":
            continue
        allowed = {
            id(target.value)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Assign) and within(path, "cli", "graph")
            for target in node.targets
            if isinstance(target, ast.Subscript) and ast.unparse(target) == "os.environ['DAGSTER_HOME']"
        }
        touched = {
            place(path, node) for node in ast.walk(tree(path)) if touches(node) and id(node) not in allowed
        }
        bad += sorted(touched)
    assert bad == []


DECIDES = re.compile(
    r"settings\.((tags|charge|coverage|recon|delivery)\b|budgets\.(warning|critical)_pct"
    r"|controls\.delivery_lag_hours)"
)
KEEP_OR_GIVE_IT = ("settings.py", "policy.py")


def test_what_decides_numbers_is_read_from_the_books_alone() -> None:
    """`books.policy`, never `books.settings`: those are of the folder one stands in (ADR 26)."""

    def read_from_settings(node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and bool(DECIDES.search(ast.unparse(node)))

    asked = [path for path in modules() if path.parent != PACKAGE or path.name not in KEEP_OR_GIVE_IT]
    assert found(asked, read_from_settings) == []


NO_DECISION = {
    "active_tags.record", "consequences", "foreign.record", "ingestion_log", "known",
    "publish.publish", "refusals", "replay.remade", "restored.accept", "run_log", "watch",
}  # fmt: skip
"""Writers that record, clear up, tell or stop; they decide no amount, and must work when acts do not."""


def test_every_act_of_the_ledger_asks_for_the_policy_first() -> None:
    unasked = set()
    for path in modules("ledger"):
        for node in tree(path).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            text = ast.unparse(node)
            if "books.admin.write()" in text and "require_policy(books" not in text:
                unasked.add(f"{path.stem}.{node.name}")
    assert {one for one in unasked if not {one, one.split(".")[0]} & NO_DECISION} == set()


def sql_made_from_pieces(node: ast.AST) -> bool:
    """An f-string, a `%`, a `+` or a `.format` whose text begins like a statement."""
    text: ast.AST | None = None
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        text = node.values[0]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        text = node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = node.func.value
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and bool(SQL_TEXT.match(text.value))


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("f'SELECT * FROM {table}'", True),
        ("'DELETE FROM %s' % table", True),
        ("'CREATE VIEW {} AS'.format(name)", True),
        ("'SELECT ' + columns", True),
        ("'SELECT 1'", False),
        ("f'SELECT 1'", False),
        ("f'select the period {period} first'", False),
        ("f'With {name} gone, nothing is left'", False),
    ],
)
def test_the_scan_for_formatted_sql_knows_it_from_prose(source: str, verdict: bool) -> None:
    assert any(sql_made_from_pieces(node) for node in ast.walk(ast.parse(source))) is verdict


def test_sql_is_put_together_in_lake_and_demo_alone() -> None:
    """Elsewhere it is a file under sql/ with bound parameters, or SQLAlchemy. Migrations are frozen text."""
    elsewhere = [p for p in modules() if not within(p, "lake", "demo") and "migrations" not in p.parts]
    assert found(elsewhere, sql_made_from_pieces) == []


def test_every_module_says_what_belongs_in_it() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if not ast.get_docstring(tree(path)) and not (path.name == "__init__.py" and not tree(path).body)
    ]
    assert silent == []


def test_no_module_is_longer_than_one_sitting_can_review() -> None:
    """Migrations are a frozen record, not code that is read again."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules()
        if "versions" not in path.parts
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_no_float_where_money_is_decided() -> None:
    def a_float(node: ast.AST) -> bool:
        called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("float", "np.float64")
        return called or (isinstance(node, ast.Constant) and isinstance(node.value, float))

    assert found(modules("ledger", "rules", "money"), a_float) == []


def test_how_decimals_compute_is_decided_in_one_place() -> None:
    """A context of its own rounds where the one in force stops (`money/context.py`)."""
    own = {"Context", "localcontext", "getcontext", "setcontext", "DefaultContext", "BasicContext"}

    def a_context(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom) and node.module == "decimal":
            return bool({alias.name for alias in node.names} & own)
        return isinstance(node, ast.Attribute) and ast.unparse(node) in {f"decimal.{name}" for name in own}

    assert found([path for path in modules() if not within(path, "money")], a_context) == []


def test_every_process_that_sees_cops_computes_exactly() -> None:
    """What is run as a file of its own, without the package, must do no arithmetic on decimals."""
    alone = [PACKAGE / "lake" / "reader_child.py", PACKAGE / "lake" / "mend_child.py"]
    started = [path for path in modules() if "sys.executable" in path.read_text(encoding="utf-8")]
    ours = {path.stem for path in modules()}
    by_file = {
        f"{name}.py"
        for path in started
        for name in re.findall(r"(\w+)\.__file__", path.read_text(encoding="utf-8"))
        if name in ours
    }
    assert by_file == {path.name for path in alone}

    def computes(node: ast.AST) -> bool:
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        return called in ("sum", "abs", "round") or called.endswith((".quantize", ".normalize", ".scaleb"))

    assert found(alone, computes) == []


def test_imports_run_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def lock_lines() -> Iterator[str]:
    yield from (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


def test_the_lock_file_names_no_host_and_no_path() -> None:
    suspicious = re.compile(r"://|^\s*-|--(index|extra|find|trusted)|@ |\.(com|org|io|net|dev)\b|/\w+/")
    assert [line for line in lock_lines() if suspicious.search(line) and "--hash=" not in line] == []


def test_everything_that_is_locked_has_a_hash() -> None:
    text = re.sub(r"\\\n", " ", "\n".join(line for line in lock_lines() if not line.lstrip().startswith("#")))
    entries = [line for line in text.splitlines() if line.strip()]
    assert len(entries) > 50
    assert [line[:60] for line in entries if "==" not in line or "--hash=sha256:" not in line] == []


def test_everything_that_is_asked_for_is_locked() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[^\w.-]", wish, maxsplit=1)[0].lower() for wish in asked}
    locked = {re.split(r"[\[=]", line)[0].lower() for line in lock_lines() if re.match(r"[a-zA-Z]", line)}
    assert names - locked == set(), "make lock"


def test_money_is_written_in_one_way() -> None:
    """`amount.shown` and `footing.told` round and group; a format of its own shows -0.00 or does not foot."""
    own_format = re.compile(r"\{(?!coverage|value|one\.coverage_pct)[^{}]*:[+,]*\.\d+f\}|:,[^{}]*f\}")
    bad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules("cli", "graph", "ledger", "reports", "rules", "alerts")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if own_format.search(line) and not re.search(r"hours|seconds|coverage|axes\.", line)
    ]
    assert bad == []


def test_every_csv_is_written_by_the_one_guarded_writer() -> None:
    """`stores/csv_cells.py`: another writer would have another guard, or none."""
    own = re.compile(r"\bcsv\.(writer|DictWriter)\b|\.to_csv\b|\.write_csv\b|FORMAT\s+'?CSV", re.IGNORECASE)
    writers = [
        str(path.relative_to(PACKAGE)) for path in modules() if own.search(path.read_text(encoding="utf-8"))
    ]
    assert writers == ["stores/csv_cells.py"]


def test_what_test_modules_share_stands_in_a_helper() -> None:
    """Also in the programs that tests write as text: a test module belongs to nobody but pytest."""
    imported = re.compile(r"(from|import)\s+cops_dagster_tests\.(\w+\.)*" + r"test_\w+")
    assert [
        str(path.relative_to(ROOT))
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if imported.search(path.read_text(encoding="utf-8"))
    ] == []
