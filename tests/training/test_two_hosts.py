"""Two hosts: network namespaces that see each other through one cable, and nothing else."""

import contextlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from striate.core.records import Step
from striate.core.run import RunDirectory
from tests.conftest import COLOURS, write_tree
from tests.training.test_together import PLAIN, final, run

pytestmark = pytest.mark.slow

HOSTS = ("10.213.7.1", "10.213.7.2")


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True)


@contextlib.contextmanager
def two_hosts():
    """Names of two namespaces; skips where there is no right to make them."""
    names = [f"striate-{os.getpid()}-{i}" for i in range(2)]
    cables = [f"st{os.getpid() % 100_000}{end}" for end in "ab"]
    if not shutil.which("ip"):
        pytest.skip("needs the command ip")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "netns", names[0], "type", "veth",
           "peer", "name", cables[1], "netns", names[1])  # fmt: skip
        for name, cable, address in zip(names, cables, HOSTS, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, cables, HOSTS, strict=True))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs the right to make network namespaces: {error.stderr.decode().strip()}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def start(host, number, *arguments):
    name, cable, address = host
    command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run",
               "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", number,
               "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{HOSTS[0]}:29513",
               "--local-addr", address, "--rdzv-conf", f"is_host={int(number == 0)}",
               "-m", "--", "striate", *arguments]  # fmt: skip
    return subprocess.Popen(
        [str(part) for part in command], env={**os.environ, "GLOO_SOCKET_IFNAME": cable},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def trained(hosts, arguments):
    """(exit code, what was printed) of each host; None where torch's launchers waited for each
    other for ever, as they do once in some dozens of times."""
    processes = [start(host, number, *arguments) for number, host in enumerate(hosts)]
    try:
        told = [process.communicate(timeout=100) for process in processes]
    except subprocess.TimeoutExpired:
        return None
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, out) for process, (out, _) in zip(processes, told, strict=True)]


def test_two_hosts_train_as_one(tmp_path):
    """The rendezvous is over TCP; one host writes; the weights are those of one process."""
    counts = {f"{s}/{c}": n for s, n in (("train", 12), ("val", 4), ("test", 4)) for c in COLOURS}
    tree = write_tree(tmp_path / "colours", counts)
    run("train", tree, "--run", tmp_path / "alone", *PLAIN)
    with two_hosts() as hosts:
        together = ("train", tree, "--run", tmp_path / "run", *PLAIN)
        told = trained(hosts, together) or trained(hosts, together)
    assert told, "two launchers that never met, twice"
    assert [code for code, _ in told] == [0, 0], told
    one, both = final(tmp_path / "alone"), final(tmp_path / "run")
    for name in one:
        np.testing.assert_allclose(both[name], one[name], atol=1e-5)
    steps = [r.step for r in RunDirectory(tmp_path / "run").records() if isinstance(r, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert sum("test scores by class" in out for _, out in told) == 1
