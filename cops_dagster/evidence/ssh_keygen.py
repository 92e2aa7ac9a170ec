"""OpenSSH's `ssh-keygen`, which makes and checks signatures; COPS has no arithmetic of its own for that.

Belongs here: finding the program, one call per signature, its refusals as coded errors. Does not belong here:
what is signed and who may sign (`evidence/signing.py`). Passphrases and private keys stay with the program
and the agent (`SSH_AUTH_SOCK`); nothing of them is read here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.evidence.signing import NAMESPACE, Key, public_key

SECONDS_MAX = 60
"""A key on a token waits for a finger; the books are locked meanwhile."""
_KEY_BYTES_MAX = 1 << 16


def tool() -> str:
    """The program's path.

    Raises:
        CopsError: `E-SIGNATURE-TOOL`.
    """
    found = shutil.which("ssh-keygen")
    if found is None:
        raise CopsError(
            "E-SIGNATURE-TOOL",
            "signed decisions",
            expected="ssh-keygen of OpenSSH 8.9 or newer on PATH",
            found="no such program",
            next_step="install it (Debian, Ubuntu: apt-get install openssh-client)",
        )
    return found


def key_of(place: str) -> Key:
    """The public key of a setting: a public key itself, its file, or a private key's file.

    Raises:
        CopsError: `E-SIGNATURE-KEY`, `E-SIGNATURE-TOOL`.
    """
    given = public_key(place)
    if given is not None:
        return given
    path = Path(place).expanduser()
    for candidate in (path, path.with_name(f"{path.name}.pub")):
        try:
            with candidate.open(encoding="utf-8") as file:
                found = public_key(file.read(_KEY_BYTES_MAX))
        except (OSError, UnicodeDecodeError):
            continue
        if found is not None:
            return found
    if not path.is_file():
        raise _no_key(place, "no such file")
    done = _run("-y", "-f", str(path))
    found = public_key(done.stdout) if done.returncode == 0 else None
    if found is None:
        raise _no_key(place, _said(done))
    return found


def sign(text: str, place: str) -> str:
    """The armored signature of a text by a key: a private key's file, or a public key whose agent signs.

    Raises:
        CopsError: `E-SIGNATURE-KEY`, `E-SIGNATURE-TOOL`.
    """
    with tempfile.TemporaryDirectory(prefix="cops-sign-") as folder:
        given = public_key(place)
        path = Path(place).expanduser()
        if given is not None:
            path = Path(folder) / "key.pub"
            path.write_text(f"{given.text}\n", encoding="utf-8")
        done = _run("-q", "-Y", "sign", "-f", str(path), "-n", NAMESPACE, given=text)
    if done.returncode != 0 or not done.stdout:
        raise _no_key(place, _said(done))
    return done.stdout


def is_good(text: str, armored: str, signer_line: str, principal: str) -> bool:
    """Whether OpenSSH takes a signature for that of this principal over this text.

    Raises:
        CopsError: `E-SIGNATURE-TOOL`.
    """
    with tempfile.TemporaryDirectory(prefix="cops-verify-") as folder:
        signers, signature = Path(folder) / "allowed_signers", Path(folder) / "signature"
        signers.write_text(signer_line, encoding="utf-8")
        signature.write_text(armored, encoding="utf-8")
        done = _run(
            "-Y",
            "verify",
            "-f",
            str(signers),
            "-I",
            principal,
            "-n",
            NAMESPACE,
            "-s",
            str(signature),
            given=text,
        )
    return done.returncode == 0


def _run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [tool(), *arguments],
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS_MAX,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise _no_key("the key", f"no answer within {SECONDS_MAX} seconds") from None
    except OSError as problem:
        raise CopsError(
            "E-SIGNATURE-TOOL",
            "signed decisions",
            expected="an ssh-keygen that can be run",
            found=str(problem.strerror),
            next_step="install OpenSSH's client anew",
        ) from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip("@ \r") for line in done.stderr.splitlines()]
    return next((line for line in reversed(lines) if line), f"exit {done.returncode}")


def _no_key(place: str, found: str) -> CopsError:
    shown = place if len(place) < 200 and "PRIVATE" not in place else "given"
    return CopsError(
        "E-SIGNATURE-KEY",
        f"signing key {shown}",
        expected="a private key's file that only you can read, or the public half of a key in your agent",
        found=found,
        next_step="correct COPS_SIGNING_KEY; a key with a passphrase is given to the agent first"
        " (ssh-add), and COPS_SIGNING_KEY names its .pub file",
    )
