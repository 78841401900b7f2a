"""What must be there before a server is started."""

from __future__ import annotations

from serving.config import ServingConfig
from serving.errors import LaunchError
from vico.concept import read_graphset


def check_folders(config: ServingConfig) -> list[str]:
    """Refuse folders that cannot be served; returns the names of the models in the Triton repository.

    Raises:
        GraphSetError: the graph set is absent or malformed.
        LaunchError: a graph, the tokenizer, the model repository or the registry is absent.
    """
    graphset = read_graphset(config.graphs)
    for file in ("tokenizer.json", *(spec.file for spec in graphset.graphs.values())):
        if not (config.graphs / file).is_file():
            raise LaunchError("graphs", f"the file {file} is absent", "a folder made by `vico export`")
    models = sorted(path.parent.name for path in (config.graphs / "models").glob("*/config.pbtxt"))
    if "vico" not in models:
        raise LaunchError("graphs", "no model repository in the folder", "a folder made by `vico export`")
    if not config.registry.is_dir():
        raise LaunchError("registry", "no such folder", "a folder of concept packages, which may be empty")
    return models
