"""The command called within the process of the test."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from cops_dagster.cli.main import app


def ran(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def cops(*arguments: str, code: int = 0) -> str:
    return ran(*arguments, code=code).stdout


def cops_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(cops(*arguments, "--json", code=code))
