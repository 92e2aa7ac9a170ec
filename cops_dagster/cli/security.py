"""`cops security`: who may sign decisions, and by which keys."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.evidence.signers import Changed

app = typer.Typer(no_args_is_help=True, help="Signed decisions: who may sign, and by which keys.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_Reason = Annotated[str, typer.Option(help="Why; it stands beside the decision for ever.")]
_Moment = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC.")]


@app.callback()
def _group() -> None:
    """Signed decisions: who may sign, and by which keys."""


@app.command("init")
def init(
    signer: Annotated[
        list[str], typer.Option(metavar="NAME=KEY.pub", help="A person and their public key; two at least.")
    ],
    json: _Json = False,
) -> None:
    """Let every decision be signed from now on; there is no way back. Whoever begins is on the list."""
    from cops_dagster.evidence import signers

    books, keys = desk.books(), dict[str, str]()
    for given in signer:
        name, _, place = given.partition("=")
        if not name or not place or name in keys:
            raise CopsError(
                "E-PARAM",
                f"--signer {given}",
                expected="NAME=KEY.pub, each name once",
                found=given,
                next_step="write it like --signer alice=alice.pub --signer bob=bob.pub",
            )
        keys[name] = _key(place)
    _show_changes(signers.begin(books, keys), json)


@app.command("show")
def show(json: _Json = False) -> None:
    """Show whether decisions are signed, by whom, and every signature (with --json)."""
    from dataclasses import asdict

    from cops_dagster.evidence import signatures, signer_list, signing

    with desk.books().admin.read() as con:
        found, wrong = signer_list.read_list(con)
        signed = signatures.history(con)
    if json:
        output.as_json(
            {
                "signed": found.is_on,
                "books_id": found.books_id,
                "namespace": signing.NAMESPACE,
                "signers": [asdict(one) for one in found.signers],
                "signatures": signed,
                "problems": [asdict(one) for one in wrong],
            }
        )
    elif not found.is_on:
        output.say(f"decisions are claimed: nobody signs them; to begin: {signing.BEGIN}")
    else:
        output.table(
            f"books {found.books_id}: decisions are signed",
            ["who", "key", "valid from (UTC)", "valid before", "state"],
            [
                [
                    one.principal,
                    one.fingerprint,
                    f"{one.valid_from:%Y-%m-%d %H:%M:%S}",
                    f"{one.valid_before:%Y-%m-%d %H:%M:%S}" if one.valid_before else "",
                    "on the list" if one.revoked is None else f"revoked by entry {one.revoked}",
                ]
                for one in found.signers
            ],
        )
        newest = f", the newest at {signed[0]['signed_at']:%Y-%m-%d %H:%M:%S} UTC" if signed else ""
        output.say(f"{len(signed)} signed decisions{newest}")
        for one in wrong:
            output.say(f"{one.code}: expected {one.expected}; found {one.found}; next: {one.next_step}")
    if wrong:
        raise typer.Exit(1)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The name that they decide under (COPS_ACTOR).")],
    key: Annotated[str, typer.Argument(metavar="KEY.pub", help="Their public key.")],
    reason: _Reason,
    valid_from: _Moment = None,
    valid_before: _Moment = None,
    json: _Json = False,
) -> None:
    """Let a person sign by a key; signed by somebody who is on the list."""
    from cops_dagster.evidence import signers

    books = desk.books()
    done = signers.add(
        books, name, _key(key), reason=reason, valid_from=valid_from, valid_before=valid_before
    )
    _show_changes([done], json)


@app.command("revoke")
def revoke(
    fingerprint: Annotated[str, typer.Argument(help="The key's fingerprint, as `show` gives it.")],
    reason: _Reason,
    json: _Json = False,
) -> None:
    """Take a key off the list; what it signed before stays signed."""
    from cops_dagster.evidence import signers

    _show_changes([signers.revoke(desk.books(), fingerprint, reason=reason)], json)


def _key(place: str) -> str:
    """The text of a public key's file; the key itself is taken as well."""
    if place.startswith(("ssh-", "ecdsa-", "sk-")):
        return place
    try:
        return Path(place).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise CopsError(
            "E-SIGNATURE-KEY",
            f"file {place}",
            expected="a public key of OpenSSH (a .pub file)",
            found=str(getattr(problem, "strerror", None) or "no text"),
            next_step="correct the path",
        ) from None


def _show_changes(done: list[Changed], json: bool) -> None:
    if json:
        output.as_json([vars(one) for one in done])
        return
    for one in done:
        output.say(f"{one.principal}: key {one.fingerprint} {one.event} ({one.identity})")
