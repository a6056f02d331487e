"""The loop's stages: domain code that knows no Prefect, and thin Prefect tasks over it (`tasks.stages`)."""
