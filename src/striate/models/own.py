"""Our own networks: small, quick, and readable."""

from __future__ import annotations

from torch import Tensor, nn


def fastnet(
    num_classes: int,
    channels: int = 3,
    image_size: int = 32,
    width: float = 1.0,
    dropout: float = 0.0,
) -> nn.Module:
    """The default: a VGG-like network for short trainings on 8 to 224 pixels.

    A 2×2 layer (3×3 for grey images) whose filters can be patches' principal directions, each with
    both signs (see `whiten_first`); for large images it is 3×3, and strided layers follow down to
    48 pixels. Then two or three stages of conv–pool–norm–SiLU and conv–norm–SiLU, which start as
    the identity as far as they can, and a last conv–norm–SiLU that is added to its input; global
    max pooling; a linear head whose outputs are divided by 9, which keeps the first loss near
    ln(classes). Norm layers shift and do not scale. The plan follows the fast CIFAR-10 trainings
    (Jordan 2024, arXiv:2404.00498).
    """
    large = image_size > 48
    kernel, stride = 3 if large or channels == 1 else 2, 2 if large else 1
    previous, side = 2 * channels * kernel**2, (image_size - kernel) // stride + 1
    layers = [nn.Conv2d(channels, previous, kernel, stride), nn.SiLU()]
    second = 256 if image_size < 24 else 128  # tiny images end after the second stage
    wide = [max(8, round(n * width / 8) * 8) for n in (64, second, 256)]
    while side > 48:
        layers += _conv_norm(previous, wide[0], stride=2)
        side, previous = (side + 1) // 2, wide[0]
    for outputs in wide if side >= 15 else wide[:2]:
        layers += [
            _conv(previous, outputs),
            nn.MaxPool2d(2),
            _norm(outputs),
            nn.SiLU(),
            *_conv_norm(outputs, outputs),
        ]
        previous = outputs
    return nn.Sequential(
        *layers,
        Residual(*_conv_norm(previous, previous)),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        ScaledLinear(previous, num_classes, 1 / 9),
    )


class Residual(nn.Sequential):
    """y = x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + change


class ScaledLinear(nn.Linear):
    """y = scale · (W x + b)."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


def lenet(
    num_classes: int, channels: int = 1, image_size: int = 28, dropout: float = 0.0
) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: 61,706 parameters on 28×28 digits.

    Smaller images than LeCun's 32×32 are padded by 2; below 12 pixels the second layer is too.
    """
    first_pad = 2 if image_size < 32 else 0
    half = (image_size + 2 * first_pad - 4) // 2
    second_pad = 0 if half >= 6 else 2
    side = (half + 2 * second_pad - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=first_pad),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=second_pad),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(84, num_classes),
    )


def decknet(
    num_classes: int, channels: int = 1, image_size: int = 28, dropout: float = 0.5
) -> nn.Module:
    """The two-convolution network of many course notes, with their usual mistakes repaired.

    Logits come out, so cross-entropy sees no second softmax; the last layer has no ReLU; dropout is
    off in evaluation; the size of the flattened map is computed from the image, not written down.
    """
    half = image_size // 2
    side = half // 2
    return nn.Sequential(
        nn.Conv2d(channels, 10, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20 * side * side, 50),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(50, num_classes),
    )


def alexnet_grouped(num_classes: int, dropout: float = 0.5) -> nn.Module:
    """AlexNet as published (Krizhevsky 2012), with two groups: 60,965,224 parameters (M1)."""
    response = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.LocalResponseNorm(**response),  # type: ignore[arg-type]
        nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.LocalResponseNorm(**response),  # type: ignore[arg-type]
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [_conv(inputs, outputs, stride), _norm(outputs), nn.SiLU()]


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.dirac_(conv.weight[: min(inputs, outputs)])
    return conv


def _norm(outputs: int) -> nn.Module:
    """Averages of the last few steps, which short trainings need; a scale before the next layer's
    normalisation would say nothing."""
    norm = nn.BatchNorm2d(outputs, momentum=0.4)
    norm.weight.requires_grad = False
    return norm
