"""`robench evaluate`: evaluations of models under suites."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.cli import options as opt
from robench.cli.common import names, numbers
from robench.display.console import print_notes, stderr, stdout
from robench.display.progress import duration, long_run_hint, progress_display
from robench.errors import OptionError, with_option_names
from robench.suites import display_family

if TYPE_CHECKING:
    from robench.evaluation.estimate import Estimate

__all__ = ["evaluate"]


def evaluate(
    model: opt.Models,
    arch: opt.Arch = None,
    weights_key: opt.WeightsKey = None,
    label: opt.Label = None,
    ignore_key: opt.IgnoreKeys = None,
    trust_pickle: opt.TrustPickle = False,
    head: opt.Head = None,
    reference: opt.Reference = None,
    features: opt.Features = None,
    prompts: opt.Prompts = None,
    class_names: opt.ClassNames = None,
    data: opt.Data = None,
    suite: opt.Suites = None,
    preset: opt.Preset = None,
    severity: opt.Severities = None,
    corruption: opt.Corruptions = None,
    extra_corruptions: opt.ExtraCorruptions = False,
    difficulty: opt.Difficulties = None,
    resolution: opt.Resolutions = None,
    attack: opt.Attacks = None,
    norm: opt.Norm = "linf",
    epsilon: opt.Epsilons = None,
    steps: opt.Steps = 100,
    restarts: opt.Restarts = 1,
    released: opt.Released = None,
    ood: opt.Ood = None,
    csid: opt.Csid = None,
    groups: opt.Groups = None,
    treatment: opt.Treatments = None,
    calibration: opt.Calibration = None,
    limit: opt.Limit = None,
    per_class: opt.PerClass = None,
    subset: opt.Subset = None,
    class_map: opt.ClassMap = None,
    labels: opt.Labels = None,
    skip_unreadable: opt.SkipUnreadable = False,
    geometry: opt.Geometry = "suite",
    mean: opt.Mean = None,
    std: opt.Std = None,
    input_range: opt.InputRange = None,
    channels: opt.Channels = None,
    data_range: opt.DataRange = None,
    size: opt.Size = None,
    resize: opt.Resize = None,
    crop: opt.Crop = None,
    interpolation: opt.Interpolation = None,
    no_release_jpeg: opt.NoReleaseJpeg = False,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    precision: opt.Precision = "fp32",
    backend: opt.Backend = "torch",
    kernels: opt.Kernels = "auto",
    compiled: opt.Compile = False,
    engine: opt.Engine = "local",
    address: opt.Address = None,
    workers: opt.Workers = None,
    threads: opt.Threads = None,
    profile: opt.Profile = False,
    out: opt.RunOut = None,
    seed: opt.Seed = 0,
    fresh: opt.Fresh = False,
    dry_run: opt.DryRun = False,
    normalize_by: opt.NormalizeBy = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Run models on clean and corrupted images.

    The command writes a run directory (records, results.csv, manifest) and prints its summary. After an interruption, the
    same command continues the run.

    A model is a weights file (.pth, .safetensors, …), an exported program (TorchScript, .pt2, .onnx), or a Hugging Face, timm or
    open_clip folder. It may also be torchvision:NAME@WEIGHTS, timm:NAME, hf:OWNER/NAME, file.py:function, package.module:function or
    demo. A job file (.toml) names several models.

    Examples:
        robench evaluate demo
        robench evaluate demo --preset ci
        robench evaluate resnet20.th --arch zoo:cifar_resnet20 --data cifar10/test --suite cifar-c
        robench evaluate resnet50.pth --arch torchvision:resnet50 --data imagenet/val --suite imagenet-c
        robench evaluate resnet50.pth --arch torchvision:resnet50 --data imagenet/val --suite imagenet-c --treatment bn-test
        robench evaluate jobs.toml --suite imagenet-c --engine ray --out runs/overnight
    """
    if resize is not None and geometry != "model":
        raise OptionError("--resize has no effect with --geometry suite", "add --geometry model")
    for option, value in (("--address", address), ("--workers", workers)):
        if value is not None and engine == "local":
            raise OptionError(f"{option} has no effect with --engine local", "omit it or add --engine ray")
    if quiet and verbose:
        raise OptionError("--quiet contradicts --verbose", "omit one of them")
    shared = {
        "arch": arch,
        "weights_key": weights_key,
        "ignore_key": names(ignore_key),
        "label": label,
        "head": head,
        "reference": reference,
        "features": features,
        "prompts": prompts,
        "class_names": class_names,
        "data": data,
        "class_map": None if class_map is None else str(class_map),
        "labels": None if labels is None else str(labels),
        "suite": names(suite),
        "preset": preset,
        "mean": _values(mean, "--mean"),
        "std": _values(std, "--std"),
        "data_range": _values(data_range, "--data-range"),
        "input_range": input_range,
        "channels": channels,
        "size": size,
        "resize": resize,
        "crop": crop,
        "interpolation": interpolation,
        "corruption": names(corruption),
        "severity": numbers(severity, "--severity", int),
        "extra_corruptions": extra_corruptions,
        "difficulty": numbers(difficulty, "--difficulty", int),
        "resolution": numbers(resolution, "--resolution", int),
        "attack": names(attack),
        "norm": norm,
        "epsilon": names(epsilon),
        "steps": steps,
        "restarts": restarts,
        "limit": limit,
        "per_class": per_class,
        "subset": subset,
        "skip_unreadable": skip_unreadable,
        "ood": ood or None,
        "csid": csid or None,
        "groups": groups,
        "treatment": treatment or None,
        "calibration": calibration,
        "geometry": geometry,
        "no_release_jpeg": no_release_jpeg,
        "backend": backend,
        "released": released,
        "batch_size": batch_size,
        "precision": precision,
        "seed": seed,
        "normalize_by": normalize_by,
        "fresh": fresh,
        "kernels": kernels,
        "compile": compiled,
        "profile": profile,
    }
    with progress_display(stderr(), quiet=quiet, verbose=verbose) as display:
        display.phase("loading torch", 0)
        from robench.display.summary import headline_table, next_steps, result_place, run_summary
        from robench.evaluation.engines import make_engine
        from robench.evaluation.estimate import estimate
        from robench.evaluation.jobs import make_jobs
        from robench.evaluation.profile import profile_table
        from robench.evaluation.run import evaluate_jobs

        if trust_pickle:
            display.warn(
                "--trust-pickle lets code in the model's file run with your rights; it can read, change and send your files"
            )
        runner = make_engine(engine, address, workers, device, threads)
        on = runner.driver_device or device
        display.phase("opening the data", 0)
        jobs = make_jobs(model, shared, out=out, device=on, trust_pickle=trust_pickle)
        if dry_run:
            for job in jobs:
                classifier, suites = job.loaded()
                costs = estimate(classifier, job.dataset, suites, job.options)
                for note in (*classifier.notes, *costs.plan.notes):
                    display.note(note)
                with display.paused():
                    stdout().print(_costs(classifier.label, costs))
            return
        paths = []
        for run in evaluate_jobs(jobs, runner, display):
            paths.append(run.path)
            with display.paused():
                stdout().print(
                    headline_table(run.results)
                    if quiet
                    else run_summary(run.directory, run.results, hidden=display.shown, verbose=verbose)
                )
                if run.profiles:
                    stdout().print(profile_table(run.profiles))
                if quiet:
                    print_notes([with_option_names(warning) for warning in run.directory.warnings], "warning")
                stderr().print(result_place(run.path))
        if not quiet:
            with display.paused():
                stderr().print(next_steps(paths))


def _costs(name: str, costs: Estimate) -> Group:
    from robench.datasets.byte_sizes import format_bytes

    total = sum(costs.seconds) + costs.calibration_seconds
    title = f"{name}: {len(costs.plan.conditions)} conditions x {costs.samples:,} images, about {duration(total)}"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("suite", "corruption", "severities", "size, px", "time"):
        table.add_column(column, justify="left" if column in ("suite", "corruption") else "right")
    timed = zip(costs.plan.conditions, costs.seconds, strict=True)
    for (suite, corruption, size), group in groupby(
        timed, lambda one: (one[0].suite, one[0].corruption, one[0].resolution)
    ):
        conditions, seconds = zip(*group, strict=True)
        levels = [] if display_family(suite).has_frames else [one.severity for one in conditions if one.severity]
        severities = ",".join(f"{level:g}" for level in levels)
        table.add_row(suite, corruption, severities, str(size), duration(sum(seconds)))
    text = (
        f"{costs.forwards:,} forward passes, timed on one batch. Decoding takes {duration(costs.decode_seconds)} if nothing is "
        f"cached. On disk: {format_bytes(costs.cache_bytes)} of decoded images and {format_bytes(costs.run_bytes)} of records."
    )
    if costs.calibration:
        text += f" The statistics of treatments take {costs.calibration:,} of the passes."
    hint = long_run_hint(total, costs.samples)
    return Group(
        Text(title, "bold"), table, Text(text), *([Text.assemble(("hint: ", "bold cyan"), hint)] if hint else [])
    )


def _values(text: str | None, option: str) -> list[float] | None:
    return numbers(None if text is None else [text], option, float)
