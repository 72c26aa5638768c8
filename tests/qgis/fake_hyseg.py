"""A program that looks like hyseg to who calls it: it notes its arguments and does as it is bid.

FAKE_NOTES is a file to which each call adds a line of JSON; FAKE_DEED is what to do: `end`, `fail`,
`wait` for SIGTERM, or `stay` whatever signal comes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

SAID = {
    "models": {
        "models": [
            {"name": "default", "hidden": False, "has_segmentation": True},
            {"name": "köln", "hidden": False, "has_segmentation": True},
            {"name": "prior-only", "hidden": False, "has_segmentation": False},
            {"name": "broken", "hidden": False, "problem": "damaged"},
        ]
    },
    "sample": {"points": 3, "strata": [{"name": "water"}, {"name": "land"}]},
    "evaluate": {"overall_accuracy": 0.75, "miou": 0.5},
}


def log(message, level="info", **more):
    print(json.dumps({"level": level, "message": message, **more}), file=sys.stderr, flush=True)


def leave(*_):
    log("Terminated.", "warning")
    sys.exit(143)


def main():
    words, deed = sys.argv[1:], os.environ.get("FAKE_DEED", "end")
    with Path(os.environ["FAKE_NOTES"]).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps({"words": words, "environment": dict(os.environ)}) + "\n")
    command = words[0]
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deed == "stay" else leave)
    if command != "models":
        log("a note: ä")
        log("a doubt", "warning")
        print("neither JSON nor a word of ours", file=sys.stderr, flush=True)
        for done in range(4 if deed in ("end", "fail") else 10_000):
            log(f"mapping: {done} of 4", task="mapping", done=min(done, 3) + 1, total=4)
            time.sleep(0.02)
        if deed == "fail":
            log("the scene has 1 band, the model needs 3", "error", hint="Choose another model.")
            sys.exit(4)
    print(json.dumps(SAID.get(command, {"done": command})))


if __name__ == "__main__":
    main()
