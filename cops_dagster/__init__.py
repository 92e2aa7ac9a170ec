"""COPS, the AWS cost ledger of Commercial-Ops: delivered → tagged → allocated → reconciled.

The import does nothing. The Dagster entry point is `cops_dagster.definitions`, the command
line is `cops_dagster.cli.main`.
"""
