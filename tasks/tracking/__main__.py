"""The command line of the tracking process, see `tasks.tracking`."""

from __future__ import annotations

import argparse

from shotwise.home import Home
from shotwise.importing import without_collector
from shotwise.leaving import leaving_at_once


def main() -> None:
    parser = argparse.ArgumentParser(prog="tasks.tracking", description="Log the journal of runs to MLflow.")
    parser.add_argument("--make-template", action="store_true")
    arguments = parser.parse_args()
    with without_collector():
        from tasks.tracking.serving import serve
        from tasks.tracking.store import make_template
    if arguments.make_template:
        make_template()
    else:
        serve(Home.from_environment())


if __name__ == "__main__":
    with leaving_at_once():
        main()
