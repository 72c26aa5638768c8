"""STAC Items, validated and read by pystac without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pystac
from pystac.validation import JsonSchemaSTACValidator

SCHEMAS = Path(__file__).with_name("stac_schemas")


def read_item(path):
    """The Item in a file, valid by the core of STAC and by all extensions that it names.

    The core's schemas come with pystac. Those of the extensions are not to be had offline: the
    folder holds our own, written from their documentation.
    """
    item = pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8")))
    require_valid(item.to_dict(include_self_link=False))
    item.set_self_href(str(path))
    return item


def require_valid(values):
    validator = JsonSchemaSTACValidator()
    for file in SCHEMAS.glob("*.json"):
        schema = json.loads(file.read_text())
        validator.schema_cache[schema["$id"]] = schema
    checked = validator.validate(
        values, pystac.STACObjectType.ITEM, values["stac_version"], values["stac_extensions"]
    )
    assert len(checked) == 1 + len(values["stac_extensions"])
