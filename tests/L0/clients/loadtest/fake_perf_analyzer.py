"""Stands in for perf_analyzer: `python fake_perf_analyzer.py <its arguments>` writes an export as the real one does."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """An answer every 50 ms, each after 100 ms; pictures in it as the raw bytes that the real one writes."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if json.loads(Path(options["--input-data"]).read_text())["data"] == []:
        sys.exit("no data")
    count = int(options["--request-count"])
    requests = [
        {"timestamp": 10**18 + k * 50_000_000, "response_timestamps": [10**18 + k * 50_000_000 + 100_000_000]}
        for k in range(count)
    ]
    text = json.dumps({"experiments": [{"requests": requests}], "picture": "@"})
    Path(options["--profile-export-file"]).write_bytes(text.encode().replace(b"@", b"\x89PNG\xff"))


if __name__ == "__main__":
    main()
