"""Shards in an object store: the same training as from a disk, tried on a stand-in for S3.

    pip install s3fs 'moto[server]'
    python -m tools.s3

Writes shards of the built-in digits, puts them into a bucket of moto's server on this machine,
trains from both places with the same seed and compares the weights, bit by bit.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

import striate
from striate.data.shards import write_shards
from striate.data.sources import open_source

KNOBS = {"epochs": 2, "model": "lenet", "report.write": False, "device.precision": "float32"}


def main() -> int:
    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        list(write_shards(open_source("digits"), folder / "shards", size=100_000))
        store = fsspec.filesystem("s3")
        store.mkdir("pictures")
        store.put(str(folder / "shards"), "pictures/digits", recursive=True)
        print(f"{len(store.ls('pictures/digits'))} files in s3://pictures/digits")
        sums = {
            name: _weights(striate.train(source, run=folder / name, **KNOBS))
            for name, source in (
                ("disk", str(folder / "shards")),
                ("store", "s3://pictures/digits"),
            )
        }
    server.stop()
    same = sums["disk"] == sums["store"]
    print(f"weights after training: {'equal' if same else 'NOT equal'}")
    return int(not same)


def _weights(run: striate.Run) -> str:
    print(f"{run.path.name}: accuracy {run.finished.test['accuracy']:.4f}")
    last = max(run.path.glob("checkpoints/step-*/model.safetensors"))
    return hashlib.sha256(last.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
