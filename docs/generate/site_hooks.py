"""What MkDocs builds besides the pages that are written: commands, errors, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import error_pages
from command_pages import all_commands, command_page, page_name
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = "reference/errors.md"
COMMANDS = "commands"
"""The entry of the navigation that becomes a page for each command."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the commands into the navigation, and leave out pages that are not written."""
    config.nav = _settled(config.nav or [], Path(config.docs_dir))
    return config


def _settled(entries: list[Any], folder: Path) -> list[Any]:
    kept: list[Any] = []
    for entry in entries:
        if entry == COMMANDS:
            kept += [
                {context.command_path: f"reference/{page_name(context)}"}
                for context, _ in all_commands()
            ]
        elif isinstance(entry, dict):
            ((title, inside),) = entry.items()
            if isinstance(inside, list):
                kept.append({title: _settled(inside, folder)})
            elif (folder / inside).exists():
                kept.append(entry)
        else:
            kept.append(entry)
    return kept


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the commands and the pictures of the examples."""
    for context, command in all_commands():
        text = command_page(context, command)
        files.append(File.generated(config, f"reference/{page_name(context)}", content=text))
    for picture in sorted((ROOT / "examples").glob("*.png")):
        path = f"images/{picture.name}"
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill in the lists of the catalogue of errors."""
    return error_pages.fill(markdown) if page.file.src_uri == CATALOGUE else markdown
