"""MLflow hears of a run from the journal, in a process of its own beside the loop.

The loop never waits for MLflow: the tracker reads what was committed and logs it with the journal's own
timestamps, so that a replay after a crash repeats points exactly and MLflow keeps one of each. This is
the only package that imports mlflow, and only in that process; `protocol` is what the driver knows of it.

    python -m tasks.tracking                 what to track is said on standard input, see `protocol`
    python -m tasks.tracking --make-template an empty, migrated store for fresh state folders
"""
