"""The recipes of docs/scale.md: what can be checked without a cluster."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from striate.cli.completion import flags_of

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def manifests():
    return [part for block in blocks("yaml") for part in yaml.safe_load_all(block)]


def test_bash_reads_the_batch_script(tmp_path):
    (script,) = [block for block in blocks("bash") if "#SBATCH" in block]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_flags_are_those_of_train():
    known = {flag.name for flag in flags_of("train")}
    texts = [" ".join(words) for words in _commands()]
    texts += [block.partition("striate train")[2] for block in blocks("bash")]
    used = {flag for text in texts for flag in re.findall(r"--[a-z][\w.-]+", text)}
    assert used
    assert used <= known


def _commands():
    for manifest in manifests():
        for container in manifest["spec"].get("template", {}).get("spec", {}).get("containers", ()):
            if "train" in container.get("command", ()):
                yield container["command"][container["command"].index("train") :]


def test_kubernetes_takes_them():
    """Against the schemas of its release 1.30."""
    checker = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    found = manifests()
    assert {part["kind"] for part in found} == {"Service", "Job", "Deployment"}
    for part in found:
        checker.validate(part, "1.30", strict=True)


def test_the_pods_find_the_first():
    service, job = manifests()[:2]
    name = job["metadata"]["name"]
    pods = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pods["subdomain"] == name
    assert service["spec"]["selector"] == {"job-name": name}
    command = pods["containers"][0]["command"]
    assert f"{name}-0.{pods['subdomain']}:{service['spec']['ports'][0]['port']}" in command
    assert command[command.index("--nnodes") + 1] == str(job["spec"]["completions"])
