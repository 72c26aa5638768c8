"""The manifest of a run: a line of JSON for each scene, written when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from hyseg_cli.geo.output.work_folder import WRITE_ERRORS, unwritable
from hyseg_cli.workflows.predict.result import SceneResult


def remembered(results: Iterable[SceneResult], path: Path | None) -> Iterator[SceneResult]:
    """Hand results on, and write each into a file at once: what is killed has told so far.

    Args:
        results: What became of scenes.
        path: The file, begun anew; None to write none.

    Raises:
        HysegError: If it cannot be written.
    """
    if path is None:
        yield from results
        return
    try:
        file = path.open("w", encoding="utf-8")
    except WRITE_ERRORS as error:
        raise unwritable(path, error) from error
    with file:
        for result in results:
            try:
                file.write(json.dumps(result.to_dict()) + "\n")
                file.flush()
            except WRITE_ERRORS as error:
                raise unwritable(path, error) from error
            yield result
