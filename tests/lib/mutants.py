#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutants of a good document, and what a JSON Schema says:  mutants.py SCHEMA SEED COUNT

Prints "good JSON" or "bad JSON", a line each. The seed must have every key of the schema.
"""
import copy
import json
import random
import sys

import jsonschema

from check_schema import load

VALUES = [None, True, False, "", "x", "two words", "a=b", "true", "1", "1m", "0s", "99999999d",
          "100%", "101%", "0%", "a" * 64, "A" * 64, "a" * 63, "x" * 255, "x" * 256, "\x01", "\x7f",
          "2026-03-01T00:00", "2026-03-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-13", "2026-01",
          "UTC", "UPPER", "x" * 64, "=", "=x", "low", "panic", "g", "one",
          0, 1, 12, 13, 30, 31, -1, 1.5, 999999999, 1000000000, 2 ** 63 - 1,
          [], ["x"], ["low"], [1], [[]], ["x"] * 1001, ["g"] * 251, {}, {"x": "y"}, {"name": "x"},
          {"a=b": "c"}, {"": "c"}, {"x" * 255: "c"}, {"\x02": "c"}, {"x": "y" * 254},
          {"x": "y" * 255}, {"x": "\x03"}]


def places(node, found):
    """Every (container, key) below @node."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], (dict, list)):
            places(node[key], found)
    return found


def mutate(rng, doc):
    node, key = rng.choice(places(doc, []))
    kind = rng.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice([str(key) + "x", "name", "groups", "at", ""])] = node.pop(key)
    elif kind == 2 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = copy.deepcopy(rng.choice(VALUES))


def keys_of(node, found):
    if isinstance(node, dict):
        found.update(node)
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        keys_of(child, found)
    return found


def keys_of_schema(schema, found):
    found.update(schema.get("properties", {}))
    for child in list(schema.get("properties", {}).values()) + list(
            schema.get("$defs", {}).values()):
        keys_of_schema(child, found)
    return found


def main():
    schema, seed = load(sys.argv[1]), load(sys.argv[2])
    missing = keys_of_schema(schema, set()) - keys_of(seed, set())
    if missing:
        sys.exit("the seed lacks " + ", ".join(sorted(missing)))
    validator = jsonschema.Draft202012Validator(schema)
    rng = random.Random(1)
    for _ in range(int(sys.argv[3])):
        doc = copy.deepcopy(seed)
        for _ in range(rng.choice([1, 1, 1, 2])):
            mutate(rng, doc)
        print("good" if validator.is_valid(doc) else "bad", json.dumps(doc))


main()
