#!/usr/bin/env python3
"""charkh attacked: faults, floods, slow and silent clients, signals, bad networks; and others beside it.

    cargo build --release --bins --examples
    benches/hostile/run.py                    all attacks, at their full length: hours
    benches/hostile/run.py --quick            the same, small: what `cargo test --test hostile` runs
    benches/hostile/run.py descriptors --servers echo nginx
    benches/hostile/run.py --json results.json

On Linux, with Python's own library, as root where an attack needs it (each says so). The program is
$CHARKH, or the release build; the examples lie beside it. Each attack is a file here, which says what
it does, what is asked and of whom. Exit status 1: something that is asked of charkh is missed.
What others do is information. docs/reliability.md has the figures.
"""
import argparse
import importlib
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import servers  # noqa: E402
from servers import common  # noqa: E402

ATTACKS = ["sweep", "descriptors", "churn", "slow", "hoarders", "refusals", "stops", "lossy", "syns",
           "cage", "soak"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog=f"attacks: {', '.join(ATTACKS)}")
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="which (default: all)")
    parser.add_argument("--quick", action="store_true", help="small, for a test: a few seconds each")
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write what came out")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: 1)")
    args = parser.parse_args()
    if unknown := set(args.attacks) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    servers.more_descriptors()
    results = {}
    for name in args.attacks or ATTACKS:
        attack = importlib.import_module(name)
        results[name] = attack.run(args)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
    if common.misses:
        sys.exit(f"missed: {', '.join(common.misses)}")


if __name__ == "__main__":
    # What reads us through a pipe wants to see how far we are.
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.pop("RUST_LOG", None)
    main()
