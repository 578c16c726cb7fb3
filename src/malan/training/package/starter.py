"""The files of a new package: a small classifier in NumPy that works as it stands, to be changed into something better.

Start reading at `starter_files`.
"""

from __future__ import annotations

import json

from malan.core.errors import UsageError
from malan.training.package.folder import check_files_limits
from malan.training.package.package import package_of
from malan.training.package.tables import MANIFEST

_MANIFEST = """\
# What this algorithm is, what it asks for, and what it puts out. Nothing but what stands here can leave a run.

[algorithm]
name = {name}
version = "0.1.0"
licence = "Apache-2.0"
publisher = {publisher}  # your party; nobody can submit in your name
title = {{en = {title}, zh = {title}}}
summary = {{en = "Learns a label set from descriptors of clips.", zh = "根据片段描述符学习一个标签集。"}}

[data]
use = "train"  # what the owners' terms must allow
modality = "video"
deliver = ["descriptor", "labels"]  # what comes with each clip: also frames, audio, captions, owner
labels = "$label_set"  # the value of the parameter below
min_clips = 20

[parameters.label_set]
type = "text"
default = ""
pattern = "[\\\\w.-]*"
title = {{en = "Label set", zh = "标签集"}}

[parameters.epochs]
type = "int"
default = 30
min = 1
max = 1000
title = {{en = "Passes over the clips", zh = "训练轮数"}}

[parameters.rate]
type = "float"
default = 0.2
min = 0.0001
max = 10.0
title = {{en = "Learning rate", zh = "学习率"}}

[entry]
train = "algorithm:train"
evaluate = "algorithm:evaluate"

[environment]
python = "3.11"
packages = ["numpy"]
lock = {{numpy = "2.x"}}

[resources]
memory_mb = 512
wall_s = 600
processes = 4
scratch_mb = 64

# The weights, by name, type and shape. $classes and $descriptor are known once the data are. What leaves is rounded to
# about eight bits of the largest number in each tensor: keep the numbers of one tensor alike in size.
[outputs.model]
type = "weights"
max_norm = 100.0  # the largest root mean square of any tensor

[outputs.model.tensors]
exponent = ["F32", ["$descriptor"]]
shift = ["F32", ["$descriptor"]]
weight = ["F32", ["$classes", "$descriptor"]]
bias = ["F32", ["$classes"]]

# The figures that may leave, each with its range; three digits of each do.
[metrics.accuracy]
low = 0
high = 1

# `malan algorithm smoke` draws data and holds the algorithm to this.
[smoke]
clips = 60
classes = 3
max_seconds = 60
metric = "accuracy"
op = ">="
value = 0.8
parameters = {{label_set = "drawn"}}
"""

_CODE = '''\
"""A straight line between classes of clips: softmax regression on descriptors.

`train` sees `job.data` alone; `evaluate` sees `job.held_out` alone, in a sandbox of its own. Clips are numbers; there
is no file of them anywhere, and no network. What you print goes to a log that only owners of the footage may read.
"""

import numpy as np

BATCH = 64


def train(job):
    """The weights, by the names in algorithm.toml."""
    start = job.restored or start_of(job)
    weights = {name: start[name].astype("f4") for name in ("exponent", "shift", "weight", "bias")}
    epochs, rate = job.parameters["epochs"], job.parameters["rate"]
    for epoch in range(int(start["epoch"]), epochs):
        for batch in job.data.batches(BATCH, shuffle=True, epoch=epoch):
            x_ND, y_NC = inputs(weights, batch), one_hot(job, batch["label_N"])
            error_NC = (softmax(x_ND @ weights["weight"].T + weights["bias"]) - y_NC) / len(x_ND)
            weights["weight"] -= rate * error_NC.T @ x_ND
            weights["bias"] -= rate * error_NC.sum(axis=0)
        job.checkpoint({**weights, "epoch": np.array(epoch + 1)})  # an interrupted run goes on from here
        job.progress((epoch + 1) / epochs)
    return weights


def evaluate(job, weights):
    """The loss of each held-out clip and what was answered; `weights` is None for the base: the same answer always."""
    losses, outputs, right = [], [], []
    for batch in job.held_out.batches(BATCH):
        labels_N = batch["label_N"]
        classes = len(job.facts["classes"])
        if weights is None:
            said_NC = np.full((len(labels_N), classes), 1 / classes)
        else:
            said_NC = softmax(inputs(weights, batch) @ weights["weight"].T + weights["bias"])
        losses.append(-np.log(said_NC[np.arange(len(labels_N)), labels_N] + 1e-9))
        outputs.append(said_NC)
        right.append(said_NC.argmax(axis=1) == labels_N)
    if weights is not None:
        job.metrics({"accuracy": np.concatenate(right).mean()})
    return {"losses": np.concatenate(losses), "outputs": np.concatenate(outputs)}


def start_of(job):
    """Weights that know nothing yet, and what brings the numbers of a descriptor to one size: powers of two."""
    seen_ND = np.concatenate([batch["descriptor_ND"] for batch in job.data.batches(BATCH, deliver=["descriptor"])])
    classes, width = len(job.facts["classes"]), seen_ND.shape[1]
    mean_D, spread_D = seen_ND.mean(axis=0), seen_ND.std(axis=0)
    exponent_D = np.round(np.log2(np.maximum(np.maximum(spread_D, abs(mean_D) / 8), 1e-6)))
    return {
        "exponent": exponent_D,
        "shift": mean_D * 2.0**-exponent_D,
        "weight": np.zeros((classes, width)),
        "bias": np.zeros(classes),
        "epoch": np.array(0),
    }


def inputs(weights, batch):
    return np.clip(batch["descriptor_ND"] * 2.0 ** -weights["exponent"] - weights["shift"], -5, 5)


def one_hot(job, labels_N):
    return np.eye(len(job.facts["classes"]), dtype="f4")[labels_N]


def softmax(scores_NC):
    raised_NC = np.exp(scores_NC - scores_NC.max(axis=1, keepdims=True))
    return raised_NC / raised_NC.sum(axis=1, keepdims=True)
'''


def starter_files(name: str, publisher: str) -> dict[str, bytes]:
    """A sound package of this name, which runs as it stands.

    Raises:
        UsageError: No algorithm can be called so, or no party.
    """
    title = name.replace("-", " ").capitalize()
    words = {key: json.dumps(text, ensure_ascii=False) for key, text in (("name", name), ("publisher", publisher))}
    text = _MANIFEST.format(title=json.dumps(title, ensure_ascii=False), **words)
    files = check_files_limits({MANIFEST: text.encode(), "algorithm.py": _CODE.encode()})
    try:
        package_of(files)
    except UsageError as error:
        raise UsageError("algorithm.bad_new", name=name[:60], publisher=publisher[:60]) from error
    return files
