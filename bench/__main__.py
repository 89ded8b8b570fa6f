"""`python -m bench [NAME ...]`: run all benchmarks, or those that are named, and print their tables."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench.measure import Extent, machine, progress, show

NAMES = ("startup", "intake", "pipeline", "relay", "memory", "isolation", "delivery")


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--scale", type=float, default=1.0, help="length of the rounds: 0.2 for a look, 1 for figures")
    parser.add_argument("--backlog", type=int, help="events that pile up in `memory` and `delivery`")
    parser.add_argument(
        "--full", action="store_true", help="`delivery` with a million waiting and a log of ten million: 20 GB, an hour"
    )
    wanted = parser.parse_args()
    unknown = set(wanted.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(machine())
    for name in wanted.names or NAMES:
        progress(f"{name} ...")
        show(import_module(f"bench.{name}").run(Extent(wanted.scale, wanted.backlog, wanted.full)))


main()
