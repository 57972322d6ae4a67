"""The API's description as a page without scripts, which loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ich_tf.runtime.html import render


def docs_page(openapi: Mapping[str, Any]) -> str:
    """Writes the page as HTML.

    Args:
      openapi: Description of the API, as /api/openapi.json returns it.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    content = {
        "title": openapi["info"]["title"],
        "version": openapi["info"]["version"],
        "description": openapi["info"]["description"],
        "routes": list(_routes(openapi["paths"])),
        "schemas": [
            {
                "name": title,
                "description": schema.get("description", ""),
                "fields": [
                    (name, _kind(field), field.get("description", ""))
                    for name, field in schema.get("properties", {}).items()
                ],
            }
            for title, schema in schemas.items()
        ],
    }
    return render("ich_tf.serving", "api.html", content)


def _routes(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield {
                "path": path,
                "method": method.upper(),
                "description": operation.get("description", ""),
                "parameters": [
                    (
                        parameter["name"],
                        _kind(parameter["schema"]),
                        parameter.get("description", ""),
                    )
                    for parameter in operation.get("parameters", [])
                ],
                "answers": [
                    (code, response["description"], _answer(response.get("content", {})))
                    for code, response in operation["responses"].items()
                ],
            }


def _answer(content: Mapping[str, Any]) -> str:
    """The type of an answer's body, in a few words."""
    return ", ".join(
        f"{media}: {_kind(body['schema'])}" if body.get("schema") else media
        for media, body in content.items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A type of JSON Schema, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "object"))
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])} by name"
    return kind
