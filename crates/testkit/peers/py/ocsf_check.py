"""Holds events on stdin, a JSON object a line, against the OCSF's own schema (PyPI `ocsf-json-schema`).

Prints `LINE: what is wrong` for each that is none, counted from 0. Attributes that the schema does not have are wrong, too.
"""

import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.5.0"

schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
by_class = {}
for number, line in enumerate(sys.stdin):
    event = json.loads(line)
    uid = event.get("class_uid", 6003)
    if uid not in by_class:
        name = schemas.lookup_class_name_from_uid(uid)
        by_class[uid] = Draft202012Validator(schemas.get_class_schema(name))
    if event["metadata"]["version"] != VERSION:
        print(f"{number}: another version")
    for error in by_class[uid].iter_errors(event):
        print(f"{number}: {error.json_path}: {error.message}")
