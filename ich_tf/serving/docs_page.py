"""The API's description as a page: made here, without scripts, with nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ich_tf.runtime.html import render


def docs_page(openapi: Mapping[str, Any]) -> str:
    """The page.

    Args:
      openapi: The description, as of /api/openapi.json.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    content = {
        "title": openapi["info"]["title"],
        "version": openapi["info"]["version"],
        "description": openapi["info"]["description"],
        "routes": list(_routes(openapi["paths"])),
        "schemas": [
            {
                "name": name,
                "description": schema.get("description", ""),
                "fields": [
                    (field, _kind(about), about.get("description", ""))
                    for field, about in schema.get("properties", {}).items()
                ],
            }
            for name, schema in schemas.items()
        ],
    }
    return render("ich_tf.serving", "api.html", content)


def _routes(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in paths.items():
        for method, about in methods.items():
            yield {
                "path": path,
                "method": method.upper(),
                "description": about.get("description", ""),
                "parameters": [
                    (one["name"], _kind(one["schema"]), one["schema"].get("description", ""))
                    for one in about.get("parameters", [])
                ],
                "answers": [
                    (code, one["description"], _answer(one.get("content", {})))
                    for code, one in about["responses"].items()
                ],
            }


def _answer(content: Mapping[str, Any]) -> str:
    """What an answer's body is, in a few words."""
    return ", ".join(
        f"{media}: {_kind(about['schema'])}" if about.get("schema") else media
        for media, about in content.items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A type of JSON Schema, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "object"))
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])} by name"
    return kind
