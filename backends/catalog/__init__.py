"""Which devices there are: descriptions as data, what a plan would use on them, and how to open them."""

from backends.catalog.adapters import ADAPTERS, Adapter, AdapterContext, calibration_of, open_provider
from backends.catalog.batches import (
    JOBS_MAX,
    Batch,
    jobs_needed,
    jobs_refusal,
    join_outcomes,
    refusal,
    split_plan,
    usage_of,
)
from backends.catalog.billing import cost_of_end
from backends.catalog.catalog_provider import CatalogProvider, DeviceStatus
from backends.catalog.description import DeviceDescription, QueueModel
from backends.catalog.fees import fees_of
from backends.catalog.loading import Catalog, load_catalog
from backends.catalog.local_provider import LocalProvider

__all__ = [
    "ADAPTERS",
    "JOBS_MAX",
    "Adapter",
    "AdapterContext",
    "Batch",
    "Catalog",
    "CatalogProvider",
    "DeviceDescription",
    "DeviceStatus",
    "LocalProvider",
    "QueueModel",
    "calibration_of",
    "cost_of_end",
    "fees_of",
    "jobs_needed",
    "jobs_refusal",
    "join_outcomes",
    "load_catalog",
    "open_provider",
    "refusal",
    "split_plan",
    "usage_of",
]
