"""Classification with one label an image, or several."""

from striate.tasks.classify.task import LabelSetTask, LabelTask
from striate.tasks.task import Entry, Task


def make(kind: str, loss: str, smoothing: float) -> Task:
    """The task for one label an image (kind "labels") or several ("label_sets")."""
    return LabelSetTask(loss) if kind == "label_sets" else LabelTask(loss, smoothing)


ENTRY = Entry({"labels": ("cross_entropy", "hinge", "mse"), "label_sets": ("sigmoid",)}, make)
