"""The self-contained page: a document of plain values, and the scripts and styles that draw it.

It asks nothing of the network, which its content security policy forbids besides; only the scripts and styles that it
came with run. Whatever the document holds, such as names of others' making, is data: scripts turn it into text nodes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from typing import Any

from results.tables import known_values

_SCRIPTS = (
    *("dom.js", "format.js", "chart.js", "state.js", "front.js", "networks.js", "choices.js", "progress.js"),
    *("circumstances.js", "live.js", "main.js"),
)
"""In the order in which they use each other."""
LIVE = "connect-src 'self'; "
"""What the policy allows in addition while a search is watched: to listen to the server that the page came from."""


def page(document: dict[str, Any]) -> bytes:
    """Write a document, ``{"title", "about", "tiles", "cards", …}``, as an HTML page."""
    folder = files("results.report") / "page"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = '(() => {\n"use strict";\n' + "".join((folder / name).read_text("utf-8") for name in _SCRIPTS) + "})();\n"
    live = LIVE if document.get("live") else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; {live}"
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en" data-theme="auto">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{html.escape(str(document["title"]))}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#cards">to the results</a>
<header>
<div class="head"><h1 id="title"></h1>
<span><span id="live"></span> <button type="button" id="theme"></button></span></div>
<p id="about"></p>
<dl id="tiles"></dl>
</header>
<nav id="ways" aria-label="Cards"></nav>
<main id="cards" tabindex="-1"><noscript>This page is drawn by a script that it holds; allow it to run.</noscript>
</main>
<div id="said" class="unseen" aria-live="polite"></div>
<script type="application/json" id="document">{embedded(document)}</script>
<script>{script}</script>
</body>
</html>
""".encode()


def embedded(document: Any) -> str:
    """Write plain values as JSON that no HTML parser takes for anything else."""
    text = json.dumps(known_values(document), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
