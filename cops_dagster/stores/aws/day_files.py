"""Objects that a pattern means, brought to this machine for as long as they are asked.

Belongs here: listing and reading them, by `If-Match`: bytes that change meanwhile are never mixed. Does not
belong here: the bill's own delivery (`stores/aws/reports.py`), which is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path
from typing import Any

from cops_dagster.stores.aws.call import Call, calling

_BLOCK = 1 << 20


def fetch(pattern: str, folder: Path, *, at_most: int) -> Iterator[tuple[str, Path]]:
    """Address and local file of each object, at most one more than `at_most`.

    Args:
        pattern: `s3://bucket/…` with `*`, `?` and `[…]`, which also stand for `/`.
    """
    bucket, _, key = pattern.removeprefix("s3://").partition("/")
    wanted = re.compile(translate(key))
    call = Call("s3", f"files {pattern}", "s3:ListBucket and s3:GetObject on them", bucket=bucket)
    folder.mkdir(parents=True, exist_ok=True)
    with calling(call):
        client: Any = call.client()
        number = 0
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=re.split(r"[*?\[]", key)[0]
        )
        for one in (one for page in pages for one in page.get("Contents", [])):
            if not wanted.fullmatch(one["Key"]) or one["Key"].endswith("/") or number > at_most:
                continue
            number += 1
            place = folder / f"{number:06d}-{Path(one['Key']).name}"
            body = client.get_object(Bucket=bucket, Key=one["Key"], IfMatch=one["ETag"])["Body"]
            with place.open("wb") as written:
                for block in body.iter_chunks(_BLOCK):
                    written.write(block)
            yield f"s3://{bucket}/{one['Key']}", place
