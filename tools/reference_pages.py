"""Fill the site's reference pages from the code: a hook of mkdocs.

A page has ``<!-- generated: NAME -->`` where the function ``NAME`` of :data:`GENERATORS` writes. Links that lead out of
``docs/`` get a copy of their file in the site.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tools")]

from reference.code import python_page  # noqa: E402
from reference.commands import commands_page  # noqa: E402
from reference.files import recipes_page, run_file_page  # noqa: E402
from reference.networks import architecture_page, blocks_page, space_file_page  # noqa: E402

GENERATORS = {
    "commands": commands_page,
    "run file": run_file_page,
    "space file": space_file_page,
    "architecture": architecture_page,
    "blocks": blocks_page,
    "recipes": recipes_page,
    "python": python_page,
}
_MARK = re.compile(r"<!-- generated: (.+?) -->")
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#]+)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Write what is generated, and bring files from outside of ``docs/`` along."""
    docs = Path(config["docs_dir"])

    def generated(mark: re.Match[str]) -> str:
        if mark[1] not in GENERATORS:
            raise PluginError(f"{page.file.src_uri}: no generator is called '{mark[1]}': {', '.join(GENERATORS)}")
        return GENERATORS[mark[1]]()

    def brought(link: re.Match[str]) -> str:
        target = (docs / page.file.src_uri).parent.joinpath(link[2]).resolve()
        if target.is_relative_to(docs) or not target.is_file():
            return link[0]  # mkdocs checks it
        uri = f"files/{target.relative_to(REPOSITORY)}.txt"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=target.read_bytes()))
        return link[1] + os.path.relpath(uri, Path(page.file.src_uri).parent)

    return _LINK.sub(brought, _MARK.sub(generated, markdown))
