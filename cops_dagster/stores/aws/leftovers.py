"""What a session of an engine left below its own prefix. Belongs here: the one deletion of COPS in S3."""

from __future__ import annotations

import re

from cops_dagster.stores.aws.s3 import S3Place


def delete(place: S3Place, session: str) -> int:
    """Deletes every object below `session/`, which is an id of 32 hex digits and nothing else; how many.

    Raises:
        CopsError: what S3 answers, as the place says it.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", session):
        raise AssertionError(f"{session!r} is no session's folder")
    count = 0
    with place.answering():
        pages = place.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=place.bucket, Prefix=f"{place.prefix}{session}/"):
            names = [{"Key": one["Key"]} for one in page.get("Contents", [])]
            if names:
                place.client.delete_objects(Bucket=place.bucket, Delete={"Objects": names, "Quiet": True})
                count += len(names)
    return count


def seen(place: S3Place, uri: str) -> tuple[int, str]:
    """An object's size and ETag: what tells that it is the same as before."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with place.answering():
        head = place.client.head_object(Bucket=bucket, Key=key)
    return int(head["ContentLength"]), str(head["ETag"])
