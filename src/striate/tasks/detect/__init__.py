"""Detection: boxes around objects, with their classes (E1–E4)."""

from striate.tasks.detect.task import ENTRY

__all__ = ["ENTRY"]
