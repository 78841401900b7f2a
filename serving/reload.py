"""A dead stage's way back: Triton unloads and loads it, at the word of whoever knows the secret."""

from __future__ import annotations

import logging
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import PUBLIC_MODELS, SERVICE
from serving.private import Private
from serving.processes import Watch

logger = logging.getLogger("vico.serving")

_UNLOAD_SECONDS, _LOAD_SECONDS, _POLL_SECONDS = 10.0, 120.0, 0.5


def reload_stage(private: Private, stage: str, server: int) -> bool:
    """Unload and load a stage, then the ensembles, which hold the old one; whether Triton says that it worked.

    `server` is Triton's process id: one that dies or stands still meanwhile is not waited for.
    """
    watch = Watch({"server": server})
    with grpc.insecure_channel(private.address) as channel:
        unload = channel.unary_unary(SERVICE + "RepositoryModelUnload")
        load = channel.unary_unary(SERVICE + "RepositoryModelLoad")
        index = channel.unary_unary(SERVICE + "RepositoryIndex")
        try:
            known = pb.RepositoryIndexResponse.FromString(index(b"", timeout=10.0, metadata=private.metadata))
            question = pb.RepositoryModelUnloadRequest(model_name=stage)
            unload(question.SerializeToString(), timeout=_UNLOAD_SECONDS, metadata=private.metadata)
            ensembles = {model.name for model in known.models} & set(PUBLIC_MODELS)
            for name in (stage, *sorted(ensembles)):
                request = pb.RepositoryModelLoadRequest(model_name=name)
                asked = load.future(request.SerializeToString(), timeout=_LOAD_SECONDS, metadata=private.metadata)
                while not _answered(asked):
                    if watch.broken():
                        asked.cancel()
                        logger.warning("stage %s was not reloaded: the server is dead or frozen", stage)
                        return False
        except grpc.RpcError as error:
            logger.warning("stage %s was not reloaded: %s %s", stage, error.code(), error.details())
            return False
    return True


def _answered(asked: Any) -> bool:
    """Whether there is an answer, within half a second.

    Raises:
        grpc.RpcError: it is a refusal.
    """
    try:
        asked.result(_POLL_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    return True
