"""A step that does not fit into memory is answered, and leaves the training as it was."""

from dataclasses import replace

import pytest
import torch

from striate.core.errors import TrainingError
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.plan.prepare import prepare
from striate.tasks.classify.task import LabelTask
from striate.training.log import drained
from striate.training.update import update


def test_out_of_memory_names_a_smaller_part_and_undoes_the_step():
    class Greedy(LabelTask):
        def losses(self, net, batch, runtime):
            super().losses(net, batch, runtime)  # running averages move before memory runs out
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 42.00 MiB. GPU 0 has a\nmore"
            )

    recipe = with_overrides(Recipe(), {"epochs": 1, "device.threads": 1, "doctor.measure": False})
    prepared, _ = drained(prepare(recipe, "digits", 0.0))
    job = replace(prepared.job(), task=Greedy("cross_entropy"), micro_batch=16)
    state = prepared.fresh()
    state.set_training()
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    batch = next(job.batches(state, 0, 0))
    with pytest.raises(TrainingError, match="too little memory for 16 images") as caught:
        update(job, state, batch, 0.1)
    assert "--device.micro-batch 8" in caught.value.hint
    assert "Tried to allocate 42.00 MiB" in caught.value.message
    assert caught.value.message.endswith("MiB")
    for name, value in state.net.state_dict().items():
        assert torch.equal(before[name], value), name
    assert all(p.grad is None for p in state.net.parameters())
