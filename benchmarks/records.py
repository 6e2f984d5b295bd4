"""Measure what the columns of uncertainty cost: the time of conditions with and without them, in turns, and their bytes.

python benchmarks/records.py MODEL --data FOLDER [--images 500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import torch
from common import hardware, threads
from torch import Tensor

from robench.datasets import decode, hash_images, open_dataset, select
from robench.evaluation import loop
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.prepare import match_model_to_dataset
from robench.evaluation.samples import Samples
from robench.models import load_classifier
from robench.runs.parquet import encode_parquet
from robench.runs.schema import RECORDS

_MORE = ("max_logit", "entropy", "sum_p2", "gen")


def _without(logits: Tensor, label: Tensor) -> Tensor:
    """Reduce logits (b, classes) to the columns of top-5 classes, confidence and probability of the label (b,)."""
    finite = logits.isfinite().all(dim=1)
    probabilities = torch.where(finite[:, None], logits, 0).softmax(dim=1)
    best = probabilities.topk(min(5, logits.shape[1]), dim=1)
    pairs = (best.values[:, 0], probabilities.gather(1, label[:, None])[:, 0])
    bits = torch.stack([torch.where(finite, values, 0) for values in pairs], dim=1).view(torch.int32)
    return torch.cat([torch.where(finite[:, None], best.indices, -1).to(torch.int32), bits], dim=1)


def main() -> None:
    """Evaluate fog 3 in turns with and without the columns, and print times, their ratio and bytes of a sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--suite", default="cifar-c")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    threads(1)
    print(hardware(1))
    classifier, dataset = match_model_to_dataset(load_classifier(given.model), open_dataset(given.data))
    positions = select(dataset, limit=given.images)
    plan = make_plan([given.suite], Options(corruption=["fog"], severity=[3]), classifier.preprocessing)
    condition = next(one for one in plan.conditions if not one.is_clean)
    decoded = decode(dataset, hash_images(dataset, positions), condition.geometry, skip=False)
    samples = Samples(decoded.images, np.arange(len(positions)), positions, dataset.labels[positions])

    def run() -> float:
        start = time.process_time()
        evaluate_condition(classifier, samples, condition, seed=0, batch_size=64)
        return time.process_time() - start

    run()
    few: dict[str, Any] = {"_VALUES": ("confidence", "prob_label"), "_columns": _without}
    pairs = []
    for _ in range(given.rounds):
        with patch.multiple(loop, **few):
            without = run()
        pairs.append((run(), without))
    ratio = statistics.median(own / without for own, without in pairs)
    own, without = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"{Path(given.model).stem}, {len(positions)} images: {without:.3f} s without, {own:.3f} s with, ratio {ratio:.3f}"
    )
    records = evaluate_condition(classifier, samples, condition, seed=0, batch_size=64)
    group = pq.ParquetFile(io.BytesIO(encode_parquet(RECORDS, records))).metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    size = sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in _MORE) / len(records)
    print(f"{size:.1f} of {sum(chunk.total_compressed_size for chunk in chunks) / len(records):.1f} bytes of a sample")


if __name__ == "__main__":
    main()
