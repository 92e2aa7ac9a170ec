"""Keys of people for the tests of signed decisions, made by the real `ssh-keygen`, and homes that sign."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cops_dagster import settings
from cops_dagster.evidence import signers
from cops_dagster.evidence.home import open_books
from cops_dagster.evidence.signing import NAMESPACE
from cops_dagster.ledger.books import Books


def key(folder: Path, name: str) -> Path:
    """A key without a passphrase; its public half beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def public(path: Path) -> str:
    """The public half of a key, as `ssh-keygen` wrote it."""
    return path.with_name(f"{path.name}.pub").read_text(encoding="utf-8")


def signature(path: Path, text: str, namespace: str = NAMESPACE) -> str:
    """What plain `ssh-keygen` makes of a text."""
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(path), "-n", namespace], input=text, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def as_person(folder: Path, name: str, signing_key: Path | str | None = None, **given: object) -> Books:
    """The books of `folder/home`, acting under a name and with a key, by default the person's own."""
    own = folder / "keys" / name
    place = str(signing_key or own) if signing_key != "" else None
    return open_books(
        settings.load(home=folder / "home", cur=str(folder / "cur"), actor=name, signing_key=place, **given)
    )


def begin(folder: Path, *names: str, **given: object) -> None:
    """Lets the books of `folder/home` sign, by these people; the first of them begins."""
    keys = {name: public(key(folder / "keys", name)) for name in names}
    signers.begin(as_person(folder, names[0], **given), keys)


def copied(folder: Path, there: Path) -> Path:
    """A copy of the home and its keys, for a test that changes it."""
    shutil.copytree(folder / "home", there / "home")
    shutil.copytree(folder / "keys", there / "keys")
    return there
