"""What must be there before a server is started."""

from __future__ import annotations

import logging

from serving.concepts.opening import open_source
from serving.concepts.signature import open_policy
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.targets import graph_file, packed_file
from vico.concept import read_graphset
from vico.concept.processor import processor_key

logger = logging.getLogger("vico.serving")


def check_folders(config: ServingConfig) -> list[str]:
    """Refuse folders that cannot be served; returns the names of the models in the Triton repository.

    Raises:
        GraphSetError: the graph set is absent or malformed.
        GraphError: a graph is absent in the form that the device runs.
        LaunchError: the tokenizer, the model repository or the registry is absent, or a key for signatures is none.
    """
    graphset = read_graphset(config.graphs)
    if not (config.graphs / "tokenizer.json").is_file():
        raise LaunchError("graphs", "the file tokenizer.json is absent", "a folder made by `vico export`")
    for name in graphset.graphs:
        graph_file(config, graphset, name)
    if config.provider == "cpu" and any(packed_file(config, graphset, name) is None for name in graphset.graphs):
        logger.info(
            "not packed for this processor: stages start slower and hold weights twice; `vico export` here mends it",
            extra={"processor": processor_key()},
        )
    models = sorted(path.parent.name for path in (config.graphs / "models").glob("*/config.pbtxt"))
    if "vico" not in models:
        raise LaunchError("graphs", "no model repository in the folder", "a folder made by `vico export`")
    open_source(config.registry)
    open_policy(config.signature_key)
    return models
