"""Rules of the house that no linter knows, read off the source. CONTRIBUTING.md gives the reasons."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from cops_dagster.operations.all_checks import CHECKS, NAMED

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cops_dagster"
LINES_MAX = 400  # a module that one sitting can review
KERNEL_MAX = 1_000  # lines of `ledger/`, which knows runs, months and the one commit, and nothing of a step
HOUR_MAX = 2_200  # lines that whoever wants to trust the ledger reads in an hour

STEPS = ("ingestion", "tagging", "allocation", "reconciliation", "adjustments", "closing")
DECIDING = ("money", "ledger", "evidence", "alerts", *STEPS, "inputs", "usage", "operations")
"""Folders that decide amounts or verdicts; the faces, the stores and the lake do not."""

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
    "adjustments/restate.remade", "alerts/board.acknowledge", "alerts/board.silence",
    "allocation/key_snapshot.freeze", "closing/sealing.finish", "evidence/attempts.logged_in",
    "evidence/restored.accept", "ingestion/foreign.record", "ingestion/holds.hold",
    "ingestion/log.record_late", "ingestion/record.record", "ingestion/record.record_mended",
    "ingestion/shown.hide_retired", "ingestion/shown.show",
    "ingestion/refusals.end", "ingestion/refusals.record", "ledger/publish.publish",
    "operations/consequences.complete", "operations/consequences.record", "operations/consequences.settle",
    "operations/messages.observe",
    "tagging/active.record",
}  # fmt: skip
"""Writers that record, clear up, tell or stop; they decide no amount, and must work when acts do not.
`publish` holds the policy that a run was made by against the one in force."""


def unasked(path: Path, source: ast.Module) -> set[str]:
    """Public functions that write to the books without asking for the policy."""
    found = set()
    for node in source.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.unparse(node)
            if "books.admin.write()" in text and "require_policy(books" not in text:
                found.add(f"{path.parent.name}/{path.stem}.{node.name}")
    return found


def test_the_scan_for_acts_knows_one_that_asks_for_nothing() -> None:
    act = "def act(books):\n    {}\n    with books.admin.write() as con:\n        pass"
    here = PACKAGE / "closing" / "new.py"
    assert unasked(here, ast.parse(act.format("pass"))) == {"closing/new.act"}
    assert unasked(here, ast.parse(act.format("require_policy(books)"))) == set()


def test_every_act_of_a_step_asks_for_the_policy_first() -> None:
    found = {one for path in modules(*DECIDING) for one in unasked(path, tree(path))}
    assert found - NO_DECISION == set()
    assert NO_DECISION - found == set(), "these ask, or are gone"


ASKS = re.compile(r"\bsa\.select\(|\.execute\(|\.admin\.write\(\)")


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("con.execute(query)", True),
        ("sa.select(t.outbox)", True),
        ("with books.admin.write() as con: pass", True),
        ("with books.admin.read() as con: month.known(con, period)", False),
        ("job.execute_in_process()", False),
    ],
)
def test_the_scan_for_queries_knows_one(source: str, verdict: bool) -> None:
    assert asks_the_books(ast.parse(source)) is verdict


def asks_the_books(source: ast.Module) -> bool:
    """Whether a module asks the admin database itself, or writes to it."""
    return bool(ASKS.search(ast.unparse(source)))


def test_the_faces_hold_no_query_and_no_write() -> None:
    """They open a connection to read with a step's function; what is asked and written is the step's."""
    assert [module_of(path) for path in modules("cli", "graph") if asks_the_books(tree(path))] == []


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


def says_something(docstring: str) -> bool:
    """A sentence or more; faces say no more than that."""
    return len(docstring.split()) > 3 and "TODO" not in docstring


def test_every_module_says_what_belongs_in_it() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if not says_something(ast.get_docstring(tree(path)) or "")
        and not (path.name == "__init__.py" and not tree(path).body)
    ]
    assert silent == []


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_module_is_longer_than_one_sitting_can_review() -> None:
    """Migrations are a frozen record, not code that is read again."""
    lengths = {
        str(path.relative_to(ROOT)): lines_of(path) for path in modules() if "versions" not in path.parts
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_the_kernel_never_grows() -> None:
    assert sum(lines_of(path) for path in modules("ledger")) <= KERNEL_MAX


def test_what_makes_the_ledger_right_is_read_in_an_hour() -> None:
    words = [PACKAGE / f"{name}.py" for name in ("errors", "period", "words", "verdict")]
    kernel = [*(PACKAGE / "money" / f"{name}.py" for name in ("amount", "context", "digest", "split"))]
    kernel += modules("ledger")
    split = [PACKAGE / "allocation" / f"{name}.py" for name in ("rules", "inputs", "allocate", "post")]
    assert sum(lines_of(path) for path in (*words, *kernel, *split)) <= HOUR_MAX


def a_float(node: ast.AST) -> bool:
    called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("float", "np.float64")
    return called or (isinstance(node, ast.Constant) and isinstance(node.value, float))


SECONDS = {"alerts/calls.py": 2, "alerts/tick.py": 1}
"""How long a call may last and how long is slept, and no amount: floats that time needs, counted."""


@pytest.mark.parametrize(("source", "verdict"), [("0.1", True), ("float(x)", True), ("1", False)])
def test_the_scan_for_floats_knows_one(source: str, verdict: bool) -> None:
    assert any(a_float(node) for node in ast.walk(ast.parse(source))) is verdict


def test_no_float_where_money_is_decided() -> None:
    floats = Counter(
        place(path, node).split(":")[0]
        for path in modules(*DECIDING)
        for node in ast.walk(tree(path))
        if a_float(node)
    )
    assert floats == {f"cops_dagster/{name}": number for name, number in SECONDS.items()}


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


def test_no_module_reads_sql_while_it_is_imported() -> None:
    """At each start 49 texts were: a quarter of what a command took that found nothing to do."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules()]
    left_out = ("__init__", "__main__", "_child", ".definitions")
    names = [one for one in names if not one.endswith(left_out) and ".migrations." not in one]
    script = (
        "import importlib\nfrom sqlglot import Dialect\n"
        "def refuse(*_, **__): raise AssertionError('SQL is read')\n"
        "Dialect.parse = Dialect.parse_into = refuse\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


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


OWN_FORMAT = re.compile(r"\{(?!coverage|value|one\.coverage_pct)[^{}]*:[+,]*\.\d+f\}|:,[^{}]*f\}")


def formats_money(line: str) -> bool:
    return bool(OWN_FORMAT.search(line)) and not re.search(r"hours|seconds|coverage|axes\.", line)


@pytest.mark.parametrize(
    ("line", "verdict"), [('f"{usd:,.2f}"', True), ('f"{usd:.2f}"', True), ('f"{amount.shown(usd)}"', False)]
)
def test_the_scan_for_formats_of_money_knows_one(line: str, verdict: bool) -> None:
    assert formats_money(line) is verdict


def test_money_is_written_in_one_way() -> None:
    """`amount.shown` and `footing.told` round and group; a format of its own shows -0.00 or does not foot."""
    bad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules("cli", "graph", "reports", *DECIDING)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if formats_money(line) and path != PACKAGE / "money" / "amount.py"
    ]
    assert bad == []


def test_every_csv_is_written_by_the_one_guarded_writer() -> None:
    """`stores/csv_cells.py`: another writer would have another guard, or none. The engine's asks that one."""
    own = re.compile(r"\bcsv\.(writer|DictWriter)\b|\.to_csv\b|\.write_csv\b|FORMAT\s+'?CSV", re.IGNORECASE)
    writers = [
        str(path.relative_to(PACKAGE)) for path in modules() if own.search(path.read_text(encoding="utf-8"))
    ]
    assert sorted(writers) == ["lake/guarded_csv.py", "stores/csv_cells.py"]


# --- purity -------------------------------------------------------------------------------------------

BELOW_ALL = ("errors", "period", "words", "verdict", "policy", "money", "cur")
"""What a pure module may import besides others of its kind. `policy` is values: the settings that decide."""
NO_CLOCK_NO_IO = {
    "__future__", "base64", "binascii", "bisect", "collections", "collections.abc", "dataclasses", "datetime",
    "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math",
    "operator", "re", "string", "textwrap", "typing", "unicodedata", "urllib.parse",
}  # fmt: skip
CLOCKS = (
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.monotonic",
    "admin.now",
)


def is_pure(source: ast.Module) -> bool:
    """Whether a module says so: the first paragraph of its docstring ends with the word."""
    return (ast.get_docstring(source) or "").split("\n\n")[0].endswith("Pure.")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def names() -> Mapping[str, Path]:
    return {module_of(path): path for path in modules()}


def imported(source: ast.Module) -> Iterator[tuple[str, str]]:
    """Modules that a module imports, for types alone as well, each with the name taken out of it or ''."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, "") if whole in names() else (node.module or "", alias.name)


def impure(source: ast.Module) -> set[str]:
    """What a module does that a pure one does not."""
    found = set()
    for name, _ in imported(source):
        path = names().get(name)
        if path is None:
            found |= {name} - NO_CLOCK_NO_IO
        elif name.split(".")[1:2] == [] or (name.split(".")[1] not in BELOW_ALL and not is_pure(tree(path))):
            found.add(name)
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(CLOCKS):
            found.add(ast.unparse(node))
        if a_float(node):
            found.add(ast.unparse(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "print", "input"):
            found.add(ast.unparse(node.func))
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os", {"os"}),
        ("from cops_dagster.stores import admin", {"cops_dagster.stores.admin"}),
        ("if TYPE_CHECKING:\n    from cops_dagster.lake.engine import Engine", {"cops_dagster.lake.engine"}),
        ("at = datetime.now(UTC)", {"datetime.now"}),
        ("today = datetime.date.today()", {"datetime.date.today"}),
        ("half = 0.5", {"0.5"}),
        ("text = open('x').read()", {"open"}),
        ("from cops_dagster.money import amount", set()),
        ("from cops_dagster.alerts.lifecycle import Alert", set()),
    ],
)
def test_the_scan_for_purity_knows_what_is_none(source: str, found: set[str]) -> None:
    assert impure(ast.parse(source)) == found
    assert is_pure(ast.parse('"""A noun. Pure.\n\nBelongs here: x."""'))
    assert not is_pure(ast.parse('"""A noun.\n\nBelongs here: pure functions. Pure."""'))


def test_a_module_that_says_pure_is() -> None:
    """The word is in the first paragraph. What every pure module may import is held to it as well."""
    claiming = {path for path in modules() if is_pure(tree(path))}
    claiming |= set(modules("money", "cur"))
    claiming |= {PACKAGE / f"{name}.py" for name in ("errors", "period", "words", "verdict")}
    bad = {module_of(path): found for path in claiming if (found := impure(tree(path)))}
    assert bad == {}


def test_what_decides_a_step_says_that_it_is_pure() -> None:
    named = (
        "ledger/states", "alerts/escalation", "alerts/lifecycle", "alerts/telling", "ingestion/plausible",
        "ingestion/verdicts", "tagging/spelling", "tagging/verdicts", "allocation/rules",
        "allocation/rule_set", "allocation/verdicts", "reconciliation/variance",
        "reconciliation/differences", "reconciliation/bridge", "reconciliation/cents",
        "reconciliation/verdicts", "adjustments/changes", "closing/readiness", "operations/forecast",
        "operations/diagnosis",
    )  # fmt: skip
    assert [name for name in named if not is_pure(tree(PACKAGE / f"{name}.py"))] == []


# --- dead names ---------------------------------------------------------------------------------------

FOUND_BY_OTHERS = {"cops_dagster.definitions.defs"}
"""Names that a tool looks up: Dagster takes `defs` by its place in `workspace.yaml`."""


def defined(source: ast.Module) -> set[str]:
    """Functions, classes and constants of a module; what a decorator of a face registers is found by it."""
    found = set()
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not any("." in ast.unparse(one) for one in node.decorator_list):
                found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return {name for name in found if not name.startswith("__")}


def used(module: str, source: ast.Module) -> set[str]:
    """Names of the package that a module uses, with their modules; its own are used where they are read."""
    found: set[str] = set()
    modules_by_name: dict[str, set[str]] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(f"{module}.{node.id}")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                modules_by_name.setdefault(alias.asname or alias.name, set()).add(whole)
                found.add(whole)
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {f"{one}.{node.attr}" for one in modules_by_name.get(node.value.id, ())}
    return found


def test_the_scan_for_dead_names_knows_one() -> None:
    source = ast.parse("A = B = 1\ndef f():\n    return A\n@app.command()\ndef g(): f()")
    assert {f"m.{name}" for name in defined(source)} - used("m", source) == {"m.B"}
    other = ast.parse("from cops_dagster import settings\nfrom m import B\nsettings.load()")
    assert {"m.B", "cops_dagster.settings.load"} <= used("n", other)


def test_no_name_is_dead() -> None:
    """A name that tests alone use is dead too: it belongs to them. Migrations use what is made for them."""
    everywhere = {name for path in modules() for name in used(module_of(path), tree(path))}
    dead = {
        f"{module_of(path)}.{name}"
        for path in modules()
        if "versions" not in path.parts and path.name != "env.py"
        for name in defined(tree(path))
    } - everywhere
    assert dead - FOUND_BY_OTHERS == set()


def test_no_statement_is_dead() -> None:
    """A file of sql/ is asked for by its name; those of views and diagnostics are found by their folders."""
    asked = {
        word
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in re.findall(r"\w+", node.value)
    }
    assert {path.stem for path in (ROOT / "sql").glob("*.sql")} - asked == set()


# --- names of modules ---------------------------------------------------------------------------------

PATH_NAMED = re.compile(r"(?<![\w/.-])((?:[\w-]+/)+[\w-]+\.(?:py|sql))\b")
DOTTED_NAMED = re.compile(r"\bcops_dagster(?:\.\w+)+")
INVENTED = {"stores/migrations/versions/NNNN_what_it_does.py", "sql/diagnostics/NAME.sql"}
"""How something is to be named, for people who make or ask for it."""


def texts() -> Iterator[Path]:
    yield from (path for path in modules() if "versions" not in path.parts)
    yield from sorted((ROOT / "cops_dagster_tests").rglob("*.py"))
    yield from sorted((ROOT / "sql").rglob("*.sql"))
    yield from sorted((ROOT / "docs").glob("*.md"))
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "setup.cfg", "Makefile"))


def exists(named: str) -> bool:
    """Whether a file of that path, or a module or a name in one, is there."""
    if "/" in named:
        roots = (ROOT, PACKAGE, ROOT / "cops_dagster_tests", ROOT / "sql")
        return any((root / named).is_file() for root in roots)
    parts = named.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        module = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if module.is_file():
            known = defined(tree(module)) | {name for _, name in imported(tree(module))}
            known |= {one.name for one in tree(module).body if isinstance(one, ast.ClassDef)}
            return length == len(parts) or parts[length] in known | {"__file__"}
    return False


def stale(text: str) -> list[str]:
    found = [*PATH_NAMED.findall(text), *DOTTED_NAMED.findall(text)]
    return [one for one in found if one not in INVENTED and not exists(one)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see `ledger/nothing.py`", ["ledger/nothing.py"]),
        ("see cops_dagster.ledger.nothing", ["cops_dagster.ledger.nothing"]),
        ("see cops_dagster.settings.nothing", ["cops_dagster.settings.nothing"]),
        ("see `ledger/publish.py`, cops_dagster.ledger.publish and cops_dagster.settings.load", []),
    ],
)
def test_the_scan_for_stale_names_knows_one(text: str, found: list[str]) -> None:
    assert stale(text) == found


def test_a_module_that_is_named_exists() -> None:
    """In docstrings, comments and pages. Decisions (docs/adr) may speak of the past."""
    bad = {
        str(path.relative_to(ROOT)): found
        for path in texts()
        if path != Path(__file__) and (found := stale(path.read_text(encoding="utf-8")))
    }
    assert bad == {}


def renamed_modules(source: ast.Module) -> list[str]:
    """Modules of ours that are called otherwise where they are imported."""
    return [
        f"{node.module}.{alias.name} as {alias.asname}"
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in names() and alias.asname not in (None, alias.name)
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from cops_dagster.cur import schema as cur_schema", ["cops_dagster.cur.schema as cur_schema"]),
        ("from cops_dagster.cur import schema", []),
        ("from cops_dagster.cur.schema import require as checked", []),
    ],
)
def test_the_scan_for_renamed_modules_knows_one(source: str, found: list[str]) -> None:
    assert renamed_modules(ast.parse(source)) == found


def test_a_module_has_one_name() -> None:
    """`tables as t` is the exception, since a query names many."""
    door = "cops_dagster.stores.tables as t"
    bad = {module_of(path): found for path in modules() if (found := renamed_modules(tree(path)))}
    bad = {name: [one for one in found if one != door] for name, found in bad.items()}
    assert {name: found for name, found in bad.items() if found} == {}


def test_a_check_s_name_is_a_literal_once_in_the_package() -> None:
    """It stood in five tables; whoever means a check names its constant."""
    literals = [
        node.value
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [name for name in NAMED if literals.count(name) != 1] == []
    assert len(NAMED) == len(CHECKS)


def test_every_step_s_checks_are_among_all_and_its_verdicts_are_nowhere_else() -> None:
    """A module that defines a check and is not asked for it would show it nowhere."""
    made = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "Check"
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
    }
    asked = {
        f"{name.split('.')[1]}/verdicts.py"
        for node in ast.walk(tree(PACKAGE / "operations" / "all_checks.py"))
        if isinstance(node, ast.Import)
        for name in (alias.name for alias in node.names)
    }
    assert made == asked


ONE_READING = [{"cur_billing_head", "cur_delivery"}, {"period_head", "publish_journal"}]
"""Pointers of a month with what they point at: `ledger/month.py` alone joins them."""
MAY_JOIN = {
    "ledger/month.py",
    "lake/namespace.py",  # below the ledger: `cur_billing_master` is that join as a table
}  # fmt: skip


def reads_a_month_again(function: ast.AST) -> bool:
    """A join of a month's pointer with what it points at, under whatever names the tables have there."""
    names: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            targets, values = node.targets[0], node.value
            pairs = zip(
                targets.elts if isinstance(targets, ast.Tuple) else [targets],
                values.elts if isinstance(values, ast.Tuple) else [values],
                strict=False,
            )
            names |= {name.id: ast.unparse(value) for name, value in pairs if isinstance(name, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("join", "select_from")):
            said = {ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)}
            tables = {names.get(one, one).removeprefix("t.") for one in said}
            if any(pair <= tables for pair in ONE_READING):
                return True
    return False


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("h, d = t.cur_billing_head, t.cur_delivery; sa.select(d).join(h, h.c.x == d.c.x)", True),
        ("j = t.publish_journal; sa.select(j).where(a).outerjoin(t.period_head, b)", True),
        ("h, p = t.cur_billing_head, t.cur_delivery_place; sa.select(p).join(h, h.c.x == p.c.x)", False),
        ("h, d = t.cur_billing_head, t.cur_delivery; sa.select(h); sa.select(d)", False),
    ],
)
def test_the_scan_for_another_reading_of_a_month_knows_one(body: str, verdict: bool) -> None:
    assert reads_a_month_again(ast.parse(body)) is verdict


def test_what_stands_in_a_month_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if not within(path, "stores") and found([path], _is_reader)
    }
    assert readers - MAY_JOIN == set()


def _is_reader(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and reads_a_month_again(node)


def test_what_test_modules_share_stands_in_a_helper() -> None:
    """Also in the programs that tests write as text: a test module belongs to nobody but pytest."""
    imported = re.compile(r"(from|import)\s+cops_dagster_tests\.(\w+\.)*" + r"test_\w+")
    assert [
        str(path.relative_to(ROOT))
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if imported.search(path.read_text(encoding="utf-8"))
    ] == []
