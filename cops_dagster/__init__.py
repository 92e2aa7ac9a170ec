"""COPS, the AWS cost ledger of Commercial-Ops: delivered → tagged → allocated → reconciled.

The import does one thing: decimals are exact from here on, in every thread and process that sees COPS
(`money/context.py`, docs/adr/0042). The Dagster entry point is `cops_dagster.definitions`, the command
line is `cops_dagster.cli.start`.
"""

from cops_dagster.money.context import put_in_force as _put_in_force

_put_in_force()
