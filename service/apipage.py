"""Renders the OpenAPI document as an HTML page without scripts or anything from other servers."""

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>metagait — API</title>
  <link rel="icon" href="/web/icon.svg">
  <link rel="stylesheet" href="/web/style.css">
</head>
<body>
  <header><h1>The API</h1>
  <nav><a href="/">page</a> <a href="/openapi.json">openapi.json</a></nav></header>
  <main class="api">{introduction}
<nav aria-label="operations"><ul>{contents}</ul></nav>
{operations}</main>
</body>
</html>
"""


def api_page(document: dict[str, Any]) -> str:
    """Return the HTML page of an OpenAPI document."""
    shared = document["components"]["responses"]
    every = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    introduction = f"<section><h2>Introduction</h2>{_paragraphs(document['info'])}</section>"
    return _PAGE.format(
        introduction=introduction,
        contents="".join(_link(*one) for one in every),
        operations="\n".join(_operation(*one, shared) for one in every),
    )


def _link(method: str, path: str, operation: dict[str, Any]) -> str:
    where = escape(operation["operationId"])
    return f'<li><a href="/docs#{where}">{method.upper()} {escape(path)}</a></li>'


def _operation(
    method: str, path: str, operation: dict[str, Any], shared: dict[str, dict[str, Any]]
) -> str:
    lines = "".join(f"<li>{line}</li>" for line in _lines(operation, shared))
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f"<h2>{escape(operation['summary'])}</h2>"
        f"<p><strong><code>{method.upper()} {escape(path)}</code></strong></p>"
        f"{_paragraphs(operation)}<ul>{lines}</ul></section>"
    )


def _lines(operation: dict[str, Any], shared: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield as HTML what an operation needs, takes and answers."""
    for need in operation.get("security", []):
        scopes = ", ".join(need["key"])
        yield escape(f"needs a key with the scope {scopes}" if scopes else "needs a key")
    for one in operation.get("parameters", []):
        yield f"<code>{escape(one['name'])}</code> ({one['in']}): {_words(one)}"
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"takes <code>{escape(kind)}</code>{_fields(body['schema'])}"
    for status, response in operation["responses"].items():
        # The document holds each problem once, and operations refer to it.
        described = shared.get(response.get("$ref", "").rpartition("/")[2], response)
        yield f"<code>{escape(str(status))}</code> {_words(described)}{_example(described)}"


def _fields(schema: dict[str, Any]) -> str:
    fields = "".join(
        f"<li><code>{escape(name)}</code>: {_words(field)}</li>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<ul>{fields}</ul>" if fields else ""


def _example(response: dict[str, Any]) -> str:
    """Return a body's example, folded; problems have a page of their own for theirs."""
    body = response.get("content", {}).get("application/json", {}).get("example")
    if body is None:
        return ""
    text = escape(json.dumps(body, indent=2, ensure_ascii=False))
    # A tabindex lets the keyboard reach a long example and scroll it.
    return f'<details><summary>example</summary><pre tabindex="0">{text}</pre></details>'


def _paragraphs(described: dict[str, Any]) -> str:
    return "".join(f"<p>{part}</p>" for part in _words(described).strip().split("\n\n"))


def _words(described: dict[str, Any]) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(described.get("description", "")))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
