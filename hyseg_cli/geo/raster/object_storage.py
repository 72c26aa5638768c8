"""Object storage: objects are called /vsis3/BUCKET/KEY, and reached by the options of GDAL.

GDAL reads from there by itself. This module adds what GDAL lacks: an object exists in full or not
at all, whatever happens to the process that uploads it.

Source: GDAL's documentation of /vsis3/ for the names of options.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError, UsageProblemError

PREFIX = "/vsis3/"
NO = ("NO", "FALSE", "OFF", "0")
GONE = ("404", "NoSuchKey")
TAKEN = ("412", "PreconditionFailed", "ConditionalRequestConflict")
PER_REQUEST = 1000
"""Objects that one request removes at most."""


def is_remote(path: str | Path) -> bool:
    """Whether a path names an object, or all objects whose names begin so."""
    return str(path).startswith(PREFIX)


def exists(name: str) -> bool:
    """Whether an object is there.

    Raises:
        HysegError: If storage cannot be asked.
    """
    bucket, key = _split(name)
    with _told(name) as codes:
        _client().head_object(Bucket=bucket, Key=key)
    return not codes


def read_text(name: str) -> str | None:
    """Content of an object, None if there is none.

    Raises:
        HysegError: If it cannot be read.
    """
    bucket, key = _split(name)
    with _told(name):
        body: bytes = _client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body.decode("utf-8")
    return None


def create_text(name: str, text: str) -> bool:
    """Create an object if its name is free.

    Returns:
        Whether it was created.

    Raises:
        HysegError: If it cannot be written.
    """
    bucket, key = _split(name)
    with _told(name, TAKEN) as codes:
        _client().put_object(Bucket=bucket, Key=key, Body=text.encode("utf-8"), IfNoneMatch="*")
    return not codes


def upload(file: Path, name: str) -> None:
    """Upload a file as an object; an existing object is replaced.

    Raises:
        HysegError: If it cannot be written; then no part of it exists.
    """
    bucket, key = _split(name)
    with _told(name, ()):
        _client().upload_file(str(file), bucket, key)


def download(name: str, file: Path) -> None:
    """Copy an object to a file, which is there in full or not at all.

    Raises:
        HysegError: If it cannot be read.
    """
    bucket, key = _split(name)
    with _told(name, ()):
        _client().download_file(bucket, key, str(file))


def names_under(folder: str) -> frozenset[str]:
    """The names that follow `folder`, which ends in a slash, without those of deeper folders.

    Raises:
        HysegError: If storage cannot be asked.
    """
    bucket, key = _split(folder)
    found: set[str] = set()
    with _told(folder, ()):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/"):
            found.update(entry["Key"].removeprefix(key) for entry in page.get("Contents", ()))
    return frozenset(found)


def remove(names: Iterable[str]) -> None:
    """Remove objects; missing ones are ignored.

    Raises:
        HysegError: If storage refuses.
    """
    by_bucket: dict[str, list[str]] = {}
    for name in names:
        bucket, key = _split(name)
        by_bucket.setdefault(bucket, []).append(key)
    for bucket, keys in by_bucket.items():
        for start in range(0, len(keys), PER_REQUEST):
            entries = [{"Key": key} for key in keys[start : start + PER_REQUEST]]
            with _told(f"{PREFIX}{bucket}", ()):
                answer = _client().delete_objects(
                    Bucket=bucket, Delete={"Objects": entries, "Quiet": True}
                )
                _require_removed(bucket, answer.get("Errors", []))


def _require_removed(bucket: str, errors: list[dict[str, str]]) -> None:
    if errors:
        raise HysegError(
            f"{PREFIX}{bucket}/{errors[0].get('Key')} cannot be removed "
            f"({errors[0].get('Message')})",
            hint="Allow s3:DeleteObject, or remove it by hand.",
        )


def _split(name: str) -> tuple[str, str]:
    bucket, _, key = name.removeprefix(PREFIX).partition("/")
    return bucket, key


@contextmanager
def _told(name: str, expected: tuple[str, ...] = GONE) -> Iterator[list[str]]:
    """Convert errors of storage into ours.

    Args:
        name: The requested name.
        expected: Codes of answers that do not count as errors.

    Yields:
        A list that holds the code if storage answered so.
    """
    _client()  # raises first if boto3 is missing
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    codes: list[str] = []
    try:
        yield codes
    except (Boto3Error, BotoCoreError, ClientError) as error:
        answer = getattr(error, "response", None) or {}
        code = str(answer.get("Error", {}).get("Code", ""))
        if code not in expected:
            raise HysegError(
                f"{name}: object storage refuses or does not answer "
                f"({' '.join(str(error).split())})",
                hint="Check the name of the bucket, your rights, and AWS_S3_ENDPOINT and the other "
                "variables of GDAL's /vsis3/.",
            ) from error
        codes.append(code)


@cache
def _client() -> Any:
    """A client with the options that GDAL has from the environment."""
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError as error:
        raise UsageProblemError(
            "outputs in object storage need boto3, which is not installed",
            hint='Install it: pip install "hyseg[s3]".',
        ) from error
    endpoint = os.environ.get("AWS_S3_ENDPOINT")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{'http' if _is('AWS_HTTPS', NO) else 'https'}://{endpoint}"
    by_path = _is("AWS_VIRTUAL_HOSTING", NO)
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        config=Config(
            s3={"addressing_style": "path" if by_path else "auto"},
            signature_version=UNSIGNED if os.environ.get("AWS_NO_SIGN_REQUEST") == "YES" else None,
            retries={"max_attempts": 4, "mode": "standard"},
            connect_timeout=20,
            read_timeout=60,
        ),
    )


def _is(variable: str, values: tuple[str, ...]) -> bool:
    return os.environ.get(variable, "").upper() in values
