"""Run directories made by hand: only their files count."""

import json

from striate.core.records import Epoch, Finding, Finished, Planned, Started, Step, to_json


def write_run(folder, *, steps=50, per_epoch=10, epochs=10, finished=False, findings=()):
    """A run as a training would have left it after so many steps."""
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"format": 1}))
    (folder / "recipe.yaml").write_text("data:\n  source: digits\n")
    (folder / "resolved.json").write_text(json.dumps({"optim.lr": {"value": 0.1, "why": "usual"}}))
    (folder / "dataset.json").write_text(json.dumps({
        "classes": ["cat", "dog"], "splits": {"train": {"images": 100}, "val": {"images": 50}},
    }))  # fmt: skip
    (folder / "checkpoints").mkdir()
    records = [
        Started(str(folder), "digits"),
        Planned(epochs, epochs * per_epoch, 100, "lenet", 1234, "accuracy", batch_size=10,
                loss="cross_entropy"),
    ]  # fmt: skip
    with (folder / "records.jsonl").open("w") as log:
        for record in records:
            log.write(to_json(record) + "\n")
        for n in range(1, steps + 1):
            loss = 2.0 / (1 + n / steps * 20)
            log.write(to_json(Step(n, (n - 1) // per_epoch, loss, 0.1, 1.0, 500.0)) + "\n")
            if n % per_epoch == 0:
                epoch = Epoch(n // per_epoch, n, loss, loss + 0.1, 0.5 + 0.4 * n / steps, 1.0, True)
                log.write(to_json(epoch) + "\n")
        for rule in findings:
            found = Finding(rule, "sick", f"{rule} it is", confidence=0.9, remedies=("--lr 0.01",))
            log.write(to_json(found) + "\n")
        if finished:
            scores = {"accuracy": 0.9, "loss": 0.2}
            done = Finished(str(folder), epochs, 12.0, "planned", scores, scores, scores)
            log.write(to_json(done) + "\n")
    return folder
