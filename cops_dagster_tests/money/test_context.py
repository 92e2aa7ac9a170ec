"""Decimals are exact in every thread and process of COPS: what Python would round at 28 digits is not."""

from __future__ import annotations

import decimal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.money import amount, context
from cops_dagster.stores.admin import open_admin

LINES = [Decimal("12345678901.5"), Decimal("1E-18")]
EXACT = "12345678901.500000000000000001"
ATTOS = st.integers(-(10**38) + 1, 10**38 - 1)


def summed() -> str:
    return str(sum(LINES, Decimal(0)))


def in_a_new_thread() -> str:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(summed()))
    thread.start()
    thread.join()
    return said[0]


def in_a_pool_of_threads() -> str:
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(summed).result()


def in_a_forked_process() -> str:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(summed).result()


def in_a_fresh_interpreter() -> str:
    program = f"import cops_dagster.period\nfrom decimal import Decimal\nprint(sum({LINES!r}, Decimal(0)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "where", [summed, in_a_new_thread, in_a_pool_of_threads, in_a_forked_process, in_a_fresh_interpreter]
)
def test_a_sum_of_more_than_28_digits_is_exact_wherever_it_is_made(where: Callable[[], str]) -> None:
    """12345678901.5 and 1e-18 gave 12345678901.50000000000000000."""
    assert where() == EXACT


def test_a_thread_that_had_another_context_before_is_exact_from_its_first_look_at_the_books(
    tmp_path: Path,
) -> None:
    admin = open_admin(f"sqlite:///{tmp_path / 'admin.db'}")

    def said() -> str:
        decimal.setcontext(decimal.Context(prec=28))
        with admin.read():
            return summed()

    with ThreadPoolExecutor(max_workers=1) as pool:
        assert pool.submit(said).result() == EXACT


@pytest.mark.parametrize(
    "lossy",
    [
        lambda: Decimal(1) / 3,
        lambda: Decimal("1.005").quantize(Decimal("0.01")),
        lambda: round(Decimal("1.005"), 2),
        lambda: Decimal(10) ** 90 + 1,
    ],
    ids=["a division", "fewer decimals", "round", "more digits than there are"],
)
def test_what_cannot_be_exact_stops_instead_of_being_rounded(lossy: Callable[[], Decimal]) -> None:
    with pytest.raises(decimal.Inexact):
        lossy()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Decimal(1) / 4, "0.25"),
        (lambda: amount.percent(1, 3), "33.333333"),
        (lambda: amount.shown(Decimal("1.005")), "1.00"),
        (lambda: amount.converted(Decimal("0.1"), Decimal("0.333333333333333333")), "0.033333333333333333"),
    ],
    ids=["a division that goes out", "a percentage", "an amount for people", "an exchange rate"],
)
def test_what_is_exact_or_rounded_on_purpose_is_allowed(made: Callable[[], object], said: str) -> None:
    assert str(made()) == said


@given(st.lists(ATTOS, max_size=30))
def test_sums_differences_and_signs_of_amounts_of_38_digits_are_those_of_integers(attos: list[int]) -> None:
    amounts = [amount.to_decimal(atto) for atto in attos]
    assert sum(amounts, Decimal(0)) == amount.ROUNDING.scaleb(Decimal(sum(attos)), -18)
    assert sum(map(abs, amounts), Decimal(0)) - sum(amounts, Decimal(0)) == amount.ROUNDING.scaleb(
        Decimal(sum(map(abs, attos)) - sum(attos)), -18
    )
    assert [amount.from_decimal(-one.normalize()) for one in amounts] == [-atto for atto in attos]


def test_holding_the_context_twice_keeps_it() -> None:
    context.hold()
    mine = decimal.getcontext()
    context.hold()
    assert decimal.getcontext() is mine
