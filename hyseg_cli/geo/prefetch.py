"""Prepare the next items while the current one is in use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar, cast

_Item = TypeVar("_Item")


def prefetch(items: Generator[_Item], depth: int) -> Generator[_Item]:
    """The same items, prepared in a thread, at most `depth` of them ahead of the consumer.

    An exception in the thread is raised here. When the caller stops iterating, the thread finishes
    its current item and closes `items`.
    """
    line: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(depth)
    abandoned = threading.Event()

    def put(entry: tuple[_Item | None, BaseException | None]) -> None:
        while not abandoned.is_set():
            try:
                line.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    put((item, None))
                    if abandoned.is_set():
                        break
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            put((None, error))
        else:
            put((None, StopIteration()))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = line.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield cast("_Item", item)  # an entry without error holds an item
    finally:
        abandoned.set()
        thread.join()
