"""What is wrong with a setting, in the words of the file or variable that it stands in.

Belongs here: where a setting was written, and telling what is wrong with it so that a person finds the place
and knows what to write there. Does not belong here: what a setting may be (`settings.py`, `policy.py`).
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cops_dagster import redaction
from cops_dagster.errors import CopsError

_SHOWN_MAX = 60
_AS_LISTED = "a setting and value as `cops docs settings` has them"


@dataclass(frozen=True)
class Written:
    """What was written where: a settings file (perhaps none) and the `COPS_` variables, names in capitals."""

    file: Path
    data: Mapping[str, Any]
    environment: Mapping[str, str]

    @classmethod
    def read(cls, file: Path, environment: Mapping[str, str], *, must_exist: bool) -> Written:
        """Reads a settings file. Raises `E-SETTING` when it is missing or no TOML in UTF-8."""
        if not file.is_file():
            if must_exist:
                raise _refusal(
                    "COPS_CONFIG" if environment else f"file {file}",
                    "the path of a readable cops.toml",
                    str(file),
                    "correct COPS_CONFIG or unset it" if environment else "correct the path",
                )
            return cls(file, {}, environment)
        try:
            content = file.read_bytes()
            data = tomllib.loads(content.decode("utf-8-sig"))  # an editor of Windows writes the mark
        except OSError as problem:
            raise _refusal(
                f"file {file}",
                "a file that can be read",
                str(problem.strerror),
                f"check the rights on {file}",
            ) from None
        except UnicodeDecodeError as problem:
            line = content[: problem.start].count(b"\n") + 1
            raise _refusal(
                f"file {file}",
                "text in UTF-8",
                f"line {line} is in another encoding",
                f"save {file.name} as UTF-8",
            ) from None
        except (ValueError, RecursionError) as problem:  # also 5,000 digits, 1,000 lists in lists
            raise _refusal(
                f"file {file}",
                'TOML: name = "text", number, true, or ["list"], under its [section]',
                str(problem),
                f"correct {file}",
            ) from None
        return cls(file, data, environment)

    def origin(self, name: Sequence[str]) -> str:
        """Where a setting was written: its variable, else the file with section and name."""
        for length in range(len(name), 0, -1):
            variable = variable_of(name[:length])
            if variable in self.environment and _holds(self.environment[variable], name[length:]):
                return variable
        if _reaches(self.data, name):
            return f"{self.file}, {_in_file(name)}"
        inner = variable_of(name) + "__"
        return next((one for one in sorted(self.environment) if one.startswith(inner)), "an argument")

    def somewhere(self, name: Sequence[str]) -> str:
        """As `origin`, of a setting or the nearest section that was written."""
        for length in range(len(name), 0, -1):
            found = self.origin(name[:length])
            if found != "an argument":
                return found
        return "an argument"


def variable_of(name: Sequence[str]) -> str:
    """The environment's name of a setting."""
    return "COPS_" + "__".join(name).upper()


def refused(
    problem: ValidationError, written: Written, kind: type[BaseModel], within: Sequence[str] = ()
) -> CopsError:
    """The first fault that validation found, told in the words of the file."""
    first = problem.errors(include_url=False)[0]
    loc = [*within, *(str(part) for part in first["loc"] if not isinstance(part, int))]
    names = tuple(loc)
    if first["type"] == "extra_forbidden":
        return _unknown(names, written, kind)
    is_secret = "receivers" in names or "sources" in names
    given = "" if is_secret else _short(first.get("input"))
    context = first.get("ctx", {})
    expected, found = _words(first["type"], names, context, str(first["msg"]), first.get("input"), is_secret)
    where = written.somewhere(names) if names else f"{written.file} or the COPS_ variables"
    about, _, rest = found.partition(": ") if not names else ("", "", "")
    return _refusal(
        f"setting {'.'.join(names) or about}",
        expected,
        rest or found or given or "something else",
        f"correct {where}",
    )


def no_json(written: Written, kind: type[BaseModel]) -> CopsError:
    """A variable of a list or section whose text is no JSON."""
    for variable in sorted(written.environment):
        name = tuple(variable.removeprefix("COPS_").lower().split("__"))
        field = _field(kind, name)
        if field is None or _is_json(written.environment[variable]):
            continue
        inner = field if isinstance(field, type) and issubclass(field, BaseModel) else None
        if inner is None and "tuple" not in str(field) and "dict" not in str(field):
            continue
        text = "" if name[0] in ("notify", "sources") else _short(written.environment[variable])
        example = (
            f"{variable}__{next(iter(inner.model_fields)).upper()}=…, or {variable}='{{…}}' in JSON"
            if inner
            else f"a list in JSON: {variable}='[\"{_bare(written.environment[variable], name)}\"]'"
        )
        return _refusal(
            f"setting {'.'.join(name)}", example, text or "text that is no JSON", f"correct {variable}"
        )
    return _refusal("settings", _AS_LISTED, "a variable that is no JSON", "correct the COPS_ variables")


_OTHER_VARIABLES = ("COPS_CONFIG",)
_MOVED = {"retention": "lake"}
"""Sections that have another name now."""


def refuse_misspelt(written: Written, kind: type[BaseModel]) -> None:
    """Refuses a variable that looks like a setting and is none: it would be passed over in silence.

    Other programs may have variables of their own that begin with `COPS_`.
    """
    known = [*_OTHER_VARIABLES, *(variable_of((name,)) for name in kind.model_fields)]
    for variable in sorted(written.environment):
        first, has_more, rest = variable.partition("__")
        if first in known or (first in _OTHER_VARIABLES and not has_more):
            continue
        moved = [variable_of((new,)) for old, new in _MOVED.items() if first == variable_of((old,))]
        near = moved or difflib.get_close_matches(first, known, n=1, cutoff=0.5 if has_more else 0.85)
        if near:
            raise _refusal(
                f"variable {variable}",
                "a setting that exists (`cops docs settings`)",
                f"no such setting; did you mean {near[0]}{has_more}{rest}?",
                f"correct {variable}, or unset it",
            )


def refuse_unknown(written: Written, kind: type[BaseModel]) -> None:
    """Refuses a file that has a setting at its top which does not exist."""
    for name in written.data:
        if name not in kind.model_fields:
            raise _unknown((name,), written, kind)


def refuse_written_secrets(written: Written) -> None:
    """A secret that stands in a file is copied with it: `cops.toml` holds none.

    Raises:
        CopsError: `E-SETTING` naming the setting and the variable that it belongs in, never the secret.
    """
    refuse_secrets(written.file, written.data)


def refuse_secrets(file: Path, data: Mapping[str, Any]) -> None:
    """As `refuse_written_secrets`, of settings that are about to be written into a file."""
    for name, text in _texts(data, ()):
        is_receivers = name[:2] == ("notify", "receivers") and len(name) == 4
        is_secret = (is_receivers and name[3] in ("url", "password")) or name[0] == "sources"
        secret = "a secret" if is_secret else redaction.found(text)
        if secret:
            raise _refusal(
                f"setting {'.'.join(name)}",
                "secrets in the environment alone",
                f"{secret} in {file.name}; it belongs in the environment",
                f"take it out of {file} and set {variable_of(name)}",
            )


def _texts(value: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text below a value, with the name of the setting that it belongs to."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _texts(one, (*name, str(inner)))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, name)


def _unknown(names: Sequence[str], written: Written, kind: type[BaseModel]) -> CopsError:
    *within, wrong = names
    home: Any = _field(kind, within) if within else kind
    known = list(home.model_fields) if isinstance(home, type) and issubclass(home, BaseModel) else []
    is_section = not within and isinstance(written.data.get(wrong), dict)
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if not within and wrong in _MOVED:
        meant = f"it is [{_MOVED[wrong]}] now"
    elif near:
        is_known_section = not within and _is_section(kind, near[0])
        meant = f"did you mean {f'[{near[0]}]' if is_known_section else near[0]}?"
    else:
        owners = [
            section
            for section in kind.model_fields
            if _is_section(kind, section) and wrong in _field(kind, (section,)).model_fields
        ]
        at_top = within and wrong in kind.model_fields
        meant = (
            f"it stands in [{owners[0]}]"
            if owners and not is_section
            else "it stands at the top of the file, above every [section]"
            if at_top
            else f"{'there are' if known else 'there is none like it'} {', '.join(known)}".strip()
        )
    what = f"[{wrong}]" if is_section else f"{wrong} in [{'.'.join(within)}]" if within else wrong
    return _refusal(
        f"setting {'.'.join(names)}",
        "a setting that exists (`cops docs settings`)",
        f"no such {'section' if is_section else 'setting'} {what}; {meant}",
        f"correct {written.somewhere(names)}",
    )


_PATTERNS = {
    "memory_limit": "memory such as 2500MiB or 4GiB",
    "place": "s3://bucket/prefix",
    "aws_account_id": "an account number of 12 digits, in quotes",
    "catalog_table": "database.table",
    "topic_arn": "the ARN of an SNS topic",
}


_KINDS = (
    (("model_", "dict_"), "a section: [{path}] on a line of its own, its settings below"),
    (("bool",), "true or false"),
    (("int",), "a whole number"),
    (("decimal_size",), "at most 20 digits before the point and 18 after it"),
    (("decimal", "finite", "float", "number"), "a number such as 2.50"),
    (("string_type", "path", "secret"), 'text in quotes: {name} = "…"'),
    (("greater",), "{limit} or more"),
    (("less",), "{limit} at most"),
    (("literal", "enum"), "one of {choices}"),
)
"""What to write where validation found a fault of a kind, by the beginning of its name."""


def _words(
    kind: str, names: Sequence[str], context: Mapping[str, Any], text: str, given: Any, is_secret: bool
) -> tuple[str, str]:
    """What is expected, and what was found where the value itself does not say it."""
    name = names[-1] if names else ""
    if kind in ("tuple_type", "list_type", "set_type"):
        example = given if isinstance(given, str) and given and not is_secret else "…"
        return f'a list: {name} = ["{example}"]', f'{name} = "{example}"' if isinstance(given, str) else ""
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(name, _AS_LISTED), ""
    if kind == "missing":
        return f"{name} beside the others of [{'.'.join(names[:-1])}]", f"none: {name} is missing"
    limit = next((context[name] for name in ("ge", "gt", "le", "lt") if name in context), "")
    choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
    for begins, expected in _KINDS:
        if kind.startswith(begins):
            path = ".".join(names)
            return expected.format(name=name, path=path, limit=limit, choices=choices), ""
    return _AS_LISTED, text.removeprefix("Value error, ")


def _field(kind: Any, name: Sequence[str]) -> Any:
    """The type of a setting by its name; `None` for none."""
    for part in name:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or part not in kind.model_fields:
            return None
        kind = kind.model_fields[part].annotation
    return kind


def _is_section(kind: type[BaseModel], name: str) -> bool:
    found = _field(kind, (name,))
    return isinstance(found, type) and issubclass(found, BaseModel)


def _in_file(name: Sequence[str]) -> str:
    *section, setting = name
    return f"[{'.'.join(section)}] {setting}" if section else setting


def _reaches(data: Any, name: Sequence[str]) -> bool:
    for part in name:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True


def _holds(text: str, rest: Sequence[str]) -> bool:
    """Whether a variable's JSON has the inner setting; itself it has."""
    if not rest:
        return True
    try:
        return _reaches(json.loads(text), rest)
    except ValueError:
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _bare(text: str, name: Sequence[str]) -> str:
    return "…" if "notify" in name or not text.isprintable() else text.strip("[]\"' ")[:_SHOWN_MAX]


def _short(value: object) -> str:
    if value is None or isinstance(value, (dict, BaseModel)):
        return "" if value is None else "a section"
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _refusal(subject: str, expected: str, found: str, next_step: str) -> CopsError:
    return CopsError("E-SETTING", subject, expected=expected, found=found, next_step=next_step)
