"""`python killed_merge.py N WORD...`: `hyseg WORD...`, killed before its Nth change of names.

Prints how many changes there were if it lives on.
"""

from __future__ import annotations

import os
import signal
import sys

from hyseg_cli.cli import cli

CHANGES = ("replace", "rename", "unlink", "rmdir", "fsync")


def main() -> None:
    limit, count = int(sys.argv[1]), 0

    def counted(change):
        def act(*arguments, **options):
            nonlocal count
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return act

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    code = cli.main(sys.argv[2:], standalone_mode=False)
    print(count, file=sys.stderr)  # noqa: T201 - read by the test
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
