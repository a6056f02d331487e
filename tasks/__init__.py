"""The loop's steps: domain code that knows no Prefect, and thin Prefect tasks over it: `tasks.loop_tasks`."""
