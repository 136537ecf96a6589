#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check files against a JSON Schema:  check_schema.py SCHEMA FILE...

Prints "good FILE" or "bad FILE" for each. YAML is read by the rules of YAML 1.2's
core schema: yes is a word, and a date is one too.
"""
import json
import re
import sys

import jsonschema
import yaml


class Core(yaml.SafeLoader):
    """PyYAML without YAML 1.1's guesses, and without duplicate keys."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"(?i:0x[0-9a-f]+|0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
              r"|[-+]?\.(inf|nan))", "-+.0123456789"),
):
    Core.add_implicit_resolver("tag:yaml.org,2002:" + tag, re.compile("^(?:" + pattern + ")$"),
                               [c if c != "\0" else "" for c in first])
Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
Core.add_constructor("tag:yaml.org,2002:float", lambda loader, node: 0.5)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f) if path.endswith(".json") else yaml.load(f, Core)


def main():
    schema = load(sys.argv[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in sys.argv[2:]:
        print("good" if validator.is_valid(load(path)) else "bad", path)


if __name__ == "__main__":
    main()
