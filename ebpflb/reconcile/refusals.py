"""What of a family's Services is not programmed as their authors want it, as it is logged and shown.

Decides which refusal is news. Must not know why anything is refused.

    Refusals of a compilation --note--> log, objects of the status
"""

import logging

from ebpflb.core.abi import Family
from ebpflb.core.refusal import Refusal
from ebpflb.reconcile.status import RefusedObject

logger = logging.getLogger(__name__)


class Refusals:
    """The latest ones of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._refused: tuple[Refusal, ...] = ()
        self.objects: tuple[RefusedObject, ...] = ()

    def note(self, refused: tuple[Refusal, ...]) -> None:
        """Take the latest; log those that are news."""
        if refused == self._refused:
            return
        for refusal in set(refused) - set(self._refused):
            logger.warning(
                "refused family=%s service=%s field=%s reason=%r remedy=%r",
                *(self._family.name, refusal.service, refusal.field, refusal.reason, refusal.remedy),
            )
        self._refused = refused
        self.objects = tuple(
            RefusedObject(f"Service {refusal.service}", refusal.field, refusal.reason, refusal.remedy)
            for refusal in refused
        )
