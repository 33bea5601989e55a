"""The task: three outputs an image, the squared errors of the number and of the place."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from striate.core.geometry import after, move_points
from striate.data.augment import centre, centring
from striate.tasks.evaluation import Evaluation
from striate.tasks.scorer import Collector
from striate.tasks.task import Entry, Losses


@dataclass(frozen=True)
class Answer:
    """How many dots, and where the first is."""

    image: str
    dots: float
    place: tuple

    def line(self):
        return f"{self.dots:.1f} dots, the first at {self.place[0]:.0f}, {self.place[1]:.0f}"

    def to_json(self):
        return {"image": self.image, "dots": self.dots, "place": list(self.place)}

    def cells(self):
        return {
            "dots": f"{self.dots:.2f}",
            "x": f"{self.place[0]:.1f}",
            "y": f"{self.place[1]:.1f}",
        }


class DotsEvaluation(Evaluation):
    """The score is the share of images whose number of dots is right to the nearest whole one."""

    compared_by = "counted"
    right_or_wrong = True

    def contributions(self):
        apart = self.predictions["dots"] - self.truth.array[:, 0]
        return (np.abs(apart) < 0.5).astype(np.float64)


@dataclass(frozen=True)
class DotsTask:
    """Outputs (N, 3): the number of dots, and the place of the first in sides of the image."""

    loss_name: str = "dots_squared"
    name: ClassVar[str] = "dots"
    main_score: ClassVar[str] = "counted"
    calibrates: ClassVar[bool] = False
    placed: ClassVar[bool] = True

    def network(self, backbone, classes):
        return backbone(3)

    def output_shape(self, images, classes):
        return (images, 3)

    def losses(self, net, batch, runtime):
        with runtime.autocast():
            outputs = net(runtime.on_device(batch.images))
        truth = runtime.on_device(batch.targets.array.astype(np.float32))
        size = batch.images.shape[1]
        dots = (outputs[:, 0] - truth[:, 0]).square()
        place = 30 * (outputs[:, 1:] - truth[:, 1:] / size).square().sum(dim=1)
        each = dots + place
        return Losses(each.sum(), each, outputs, {"dots": dots.sum(), "place": place.sum()})

    def predictions(self, net, images, matrices, how):
        view = np.ascontiguousarray(centre(images, how.size))
        with torch.inference_mode(), how.runtime.autocast():
            outputs = net(torch.from_numpy(view).to(how.runtime.device)).float().cpu().numpy()
        there = after(matrices, centring(images, how.size))
        corner = np.concatenate([there, np.tile([[[0.0, 0, 1]]], (len(there), 1, 1))], axis=1)
        back = np.linalg.inv(corner)[:, :2]
        places = move_points(outputs[:, None, 1:].astype(np.float64) * how.size, back)[:, 0]
        return {"dots": outputs[:, 0].astype(np.float64), "place": places}

    def read(self, outputs):
        found = outputs.detach().float().cpu().numpy().astype(np.float64)
        return {"dots": found[:, 0], "place": found[:, 1:]}

    def unsmoothed_losses(self, predictions, targets):
        return (predictions["dots"] - targets.array[:, 0]) ** 2

    def scores(self, predictions, targets):
        apart = predictions["dots"] - targets.array[:, 0]
        missed = np.linalg.norm(predictions["place"] - targets.array[:, 1:], axis=1)
        return {
            "counted": float((np.abs(apart) < 0.5).mean()), "error": float(np.abs(apart).mean()),
            "pixels_missed": float(missed.mean()), "loss": float((apart**2).mean()),
            "n": len(targets),
        }  # fmt: skip

    def scorer(self, targets, scored):
        def evaluate(ids, predictions):
            own, names = targets.take(ids), tuple(scored.names[i] for i in ids)
            return DotsEvaluation(
                scored.split, self.scores(predictions, own), scored.classes, names, own,
                predictions, self,
            )  # fmt: skip

        return Collector(evaluate)

    def answers(self, predictions, scored, *, temperature=1.0, top=1):
        rows = zip(scored.names, predictions["dots"], predictions["place"], strict=True)
        return [Answer(name, float(dots), tuple(map(float, place))) for name, dots, place in rows]

    def probabilities(self, outputs):
        raise NotImplementedError

    def linear_truth(self, targets):
        return None

    def chance_loss(self, classes):
        return None

    def chance_score(self, targets):
        return None

    def signs(self, predictions, targets, class_images):
        return {}


ENTRY = Entry({"dots": ("dots_squared",)}, lambda kind, loss, smoothing: DotsTask(loss))
