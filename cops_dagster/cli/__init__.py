"""The `cops` command: one module per command group, everything slow imported where it is used."""
