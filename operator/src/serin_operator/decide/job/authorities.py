"""Which certificate authorities of their own a job's servers have: what reads the data mounts theirs, what trains the trackers'."""

from serin_operator.api.v1alpha1 import Authority, FineTuneJobSpec


def data_authorities(spec: FineTuneJobSpec) -> tuple[Authority, ...]:
    """Of the stores that Prepare reads from."""
    stores = [spec.base_model.s3, *(source.s3 for source in spec.data.sources())]
    return tuple(one.ca_ref for one in stores if one is not None and one.ca_ref is not None)


def copy_authorities(spec: FineTuneJobSpec) -> tuple[Authority, ...]:
    """Of the store that the model is copied to."""
    store = spec.artifacts.copy_to.s3 if spec.artifacts.copy_to is not None else None
    return (store.ca_ref,) if store is not None and store.ca_ref is not None else ()


def trackers_authorities(spec: FineTuneJobSpec) -> tuple[Authority, ...]:
    """Of the servers that training tells."""
    if spec.tracking is None:
        return ()
    servers = (spec.tracking.mlflow, spec.tracking.wandb)
    return tuple(one.ca_ref for one in servers if one is not None and one.ca_ref is not None)
