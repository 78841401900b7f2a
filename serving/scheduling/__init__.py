"""Who goes next, how long it takes, and who is let in: pure data structures over a clock that the caller reads."""

from serving.scheduling.claim import DEFAULT_POLICY, DEFAULT_PRIORITY, NO_CLAIM, PRIORITIES, Batching, Claim, Policy
from serving.scheduling.cost import CostModel, SizeClass, StepShape
from serving.scheduling.forecast import Course, Room, forecast
from serving.scheduling.queue import WaitingQueue
from serving.scheduling.turns import Turn, next_turn

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_PRIORITY",
    "NO_CLAIM",
    "PRIORITIES",
    "Batching",
    "Claim",
    "CostModel",
    "Course",
    "Policy",
    "Room",
    "SizeClass",
    "StepShape",
    "Turn",
    "WaitingQueue",
    "forecast",
    "next_turn",
]
