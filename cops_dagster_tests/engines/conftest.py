"""Tests on a real Trino are collected by `make test-trino` alone."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("COPS_TEST_TRINO") else ["test_*.py"]
