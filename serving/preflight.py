"""What must be there before a server is started."""

from __future__ import annotations

from serving.concepts.opening import open_source
from serving.concepts.signature import open_policy
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.targets import graph_file
from vico.concept import read_graphset


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
    models = sorted(path.parent.name for path in (config.graphs / "models").glob("*/config.pbtxt"))
    if "vico" not in models:
        raise LaunchError("graphs", "no model repository in the folder", "a folder made by `vico export`")
    open_source(config.registry)
    open_policy(config.signature_key)
    return models
