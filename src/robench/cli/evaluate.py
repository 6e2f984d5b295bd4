"""`robench evaluate`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.cli.common import names, numbers, stderr, stdout
from robench.cli.progress import duration, observer
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.evaluation.estimate import Estimate

__all__ = ["evaluate"]

_WHAT, _WHICH, _IMAGE, _MACHINE, _RUN = "What to run", "Which samples", "The image", "The machine", "The run"


def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(
            help="A weights file (.pth .pt .th .ckpt .bin .safetensors), a TorchScript, .pt2 or .onnx file, a Hugging Face folder; "
            "or torchvision:NAME@WEIGHTS, timm:NAME; file.py:function or package.module:function; or demo; or a file of jobs (.toml).",
            metavar="MODEL…",
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option(
            help="Architecture of a weights file: torchvision:NAME, timm:NAME, zoo:NAME (`robench list models`), "
            "package.module:function or file.py:function, with ?name=value&… for its arguments. Left out: the one that fits, if one does. "
            "For an exported model: whose preprocessing it was made with.",
            metavar="ARCH",
        ),
    ] = None,
    weights_key: Annotated[
        str | None,
        typer.Option(
            help="Which of several sets of weights in a file, for example state_dict_ema. Default: the trained ones, not their average.",
            metavar="KEY",
        ),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="Let a weights file run the code that it holds, with your rights: only for files whose maker you trust.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of class folders, or another layout of `robench list datasets`; or demo (the default for the model demo).",
            metavar="DATA",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="One or more of `robench list suites`, separated by commas, or all. Default: clean (cifar-c for demo).",
            metavar="SUITE",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A ready choice of suite, corruptions, severities and images (`robench list presets`), parts of which other "
            "options replace; ci takes a few minutes on a CPU.",
            metavar="ci",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(help="Only these severities, for example 1,3,5.", rich_help_panel=_WHAT)
    ] = None,
    corruption: Annotated[
        list[str] | None, typer.Option(help="Only these corruptions, for example fog,snow.", rich_help_panel=_WHAT)
    ] = None,
    extra_corruptions: Annotated[
        bool, typer.Option("--extra-corruptions", help="Also those that no aggregate is over.", rich_help_panel=_WHAT)
    ] = False,
    difficulty: Annotated[
        list[str] | None,
        typer.Option(help="Of perturbation sequences: 1, 2, 3. Default: 1.", metavar="N", rich_help_panel=_WHAT),
    ] = None,
    resolution: Annotated[
        list[str] | None,
        typer.Option(
            help="Sizes of the resolution suite, px. Default: 64 to 320, or 16 to 48 for small models, and the model's input.",
            metavar="N",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    released: Annotated[
        Path | None,
        typer.Option(
            help="Take the published files in DIR (ImageNet-C or -P, CIFAR-10-C, …) in place of computed images.",
            metavar="DIR",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    treatment: Annotated[
        list[str] | None,
        typer.Option(
            help="Treatments of the model, such as bn-prior or localnorm:g=16 (`robench list treatments`), separated by commas or "
            "given several times, applied in this order.",
            metavar="T",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Images on which a treatment may estimate its statistics, in any layout that --data takes.",
            metavar="DIR",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only N samples, evenly spread.", metavar="N", rich_help_panel=_WHICH)
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Only the first N samples of every class.", metavar="N", rich_help_panel=_WHICH)
    ] = None,
    subset: Annotated[
        Path | None,
        typer.Option(
            help="Only the paths in FILE, one a line, relative to DATA.", metavar="FILE", rich_help_panel=_WHICH
        ),
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(
            help="Class names in the model's order, one a line; for other orders, and for sets with some of the classes.",
            metavar="FILE",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="List damaged images in the manifest instead of stopping.", rich_help_panel=_WHICH
        ),
    ] = False,
    geometry: Annotated[
        str,
        typer.Option(
            help="Whose resize and crop: the suite's, or the model's own.",
            metavar="suite|model",
            rich_help_panel=_IMAGE,
        ),
    ] = "suite",
    mean: Annotated[
        str | None,
        typer.Option(help="Mean of the model's input, R,G,B in 0..1.", metavar="R,G,B", rich_help_panel=_IMAGE),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Standard deviation of the model's input, R,G,B.", metavar="R,G,B", rich_help_panel=_IMAGE),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(help="Short side before the model's crop, px (with --geometry model).", rich_help_panel=_IMAGE),
    ] = None,
    crop: Annotated[int | None, typer.Option(help="Side of the model's input, px.", rich_help_panel=_IMAGE)] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic, …, for the model's own resizing.", rich_help_panel=_IMAGE)
    ] = None,
    no_release_jpeg: Annotated[
        bool,
        typer.Option(
            "--no-release-jpeg",
            help="Leave out the JPEG pass (quality 85) that the released files of ImageNet suites went through.",
            rich_help_panel=_IMAGE,
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where to compute.", metavar="auto|cpu|cuda|cuda:N|mps", rich_help_panel=_MACHINE)
    ] = "auto",
    batch_size: Annotated[
        int,
        typer.Option(help="Images a batch; records are equal for equal sizes.", metavar="N", rich_help_panel=_MACHINE),
    ] = 64,
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic of the model; fp32 switches TF32 off.",
            metavar="fp32|tf32|bf16|fp16",
            rich_help_panel=_MACHINE,
        ),
    ] = "fp32",
    backend: Annotated[
        str,
        typer.Option(
            help="Who corrupts: robench, or the imagecorruptions package's own functions (slow, on the CPU).",
            metavar="torch|reference",
            rich_help_panel=_MACHINE,
        ),
    ] = "torch",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Make the draws through torch.compile: same pixels, sooner; needs a compiler.",
            rich_help_panel=_MACHINE,
        ),
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            help="Who evaluates: this process, or the workers of a Ray cluster (robench\\[ray]); records are equal for equal --threads.",
            metavar="local|ray",
            rich_help_panel=_MACHINE,
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, else one is started on this machine.",
            metavar="ADDR",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Of --engine ray. Default: one a GPU, or one a core where there is no GPU.",
            metavar="N",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Of a CPU, for the model; records are equal for equal numbers. Default: all cores, 1 for a worker of --engine ray.",
            metavar="N",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Print where the time went: decoding, copies, corruption, the model, records, idle.",
            rich_help_panel=_MACHINE,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory; of several models the folder of theirs. Default: runs/<model>-<data>-<suite>.",
            metavar="RUN",
            rich_help_panel=_RUN,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.", rich_help_panel=_RUN)] = 0,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Move an existing run aside (never deleted) and start over.", rich_help_panel=_RUN
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say which conditions would run, how many forwards, and about how long.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    normalize_by: Annotated[
        str | None,
        typer.Option(
            help="What CE, mCE, FR, mFR and mT5D are divided by. Default: the suite's published baseline.",
            metavar="alexnet|RUN|none",
            rich_help_panel=_RUN,
        ),
    ] = None,
) -> None:
    """Evaluate checkpoints on images under corruption suites.

    Writes a run directory (records, results.csv, manifest) and prints its summary. The same command again goes on where an
    interrupted run stopped.

    [b]robench evaluate demo[/b]

    [b]robench evaluate demo --preset ci[/b]

    [b]robench evaluate resnet20.th --arch zoo:cifar_resnet20 --data cifar10/test --suite cifar-c[/b]

    [b]robench evaluate resnet50.pth --arch torchvision:resnet50 --data imagenet/val --suite imagenet-c[/b]

    [b]robench evaluate resnet50.pth --arch torchvision:resnet50 --data imagenet/val --suite imagenet-c --treatment bn-test[/b]

    [b]robench evaluate jobs.toml --suite imagenet-c --engine ray --out runs/overnight[/b]
    """
    if resize is not None and geometry != "model":
        raise OptionError("--resize belongs to the model's own geometry: give --geometry model with it")
    for option, given in (("--address", address), ("--workers", workers)):
        if given is not None and engine == "local":
            raise OptionError(f"{option} goes with --engine ray: give that, or leave it out")
    from robench.cli.summary import summary
    from robench.evaluation.engines import make_engine
    from robench.evaluation.estimate import estimate
    from robench.evaluation.jobs import make_jobs
    from robench.evaluation.options import Options
    from robench.evaluation.profile import profile_table
    from robench.evaluation.run import evaluate_jobs
    from robench.suites import find_preset

    ready = None if preset is None else find_preset(preset)
    options = Options(
        corruptions=names(corruption),
        severities=numbers(severity, "--severity", int),
        extra_corruptions=extra_corruptions,
        difficulties=numbers(difficulty, "--difficulty", int) or (1,),
        resolutions=numbers(resolution, "--resolution", int),
        limit=limit,
        per_class=per_class,
        subset=subset,
        skip_unreadable=skip_unreadable,
        treatments=treatment or (),
        calibration=calibration,
        geometry=geometry,
        release_jpeg=not no_release_jpeg,
        backend=backend,
        released=released,
        batch_size=batch_size,
        precision=precision,
        seed=seed,
        normalize_by=normalize_by,
        fresh=fresh,
        compile=compiled,
        profile=profile,
    )
    chosen_engine = make_engine(engine, address, workers, device, threads)
    shared = {
        "arch": arch,
        "weights-key": weights_key,
        "data": data,
        "class-map": class_map,
        "suite": names(suite),
        "mean": _rgb(mean, "--mean"),
        "std": _rgb(std, "--std"),
        "resize": resize,
        "crop": crop,
        "interpolation": interpolation,
    }
    if trust_pickle:
        stderr().print(
            "warning: --trust-pickle: from now on code in the model's file runs with your rights, if it has some; it can read, "
            "change and send your files"
        )
    on = chosen_engine.driver_device or device
    jobs = make_jobs(model, shared, options, preset=ready, out=out, device=on, trust_pickle=trust_pickle)
    if dry_run:
        for one in jobs:
            classifier = one.load()
            stdout().print(_costs(estimate(classifier, one.dataset, one.chosen(classifier), one.options)))
        return
    with observer(stderr()) as progress:
        for run in evaluate_jobs(jobs, chosen_engine, progress):
            stdout().print(summary(run.results, run.directory.notes))
            if run.profiles:
                stdout().print(profile_table(run.profiles))
            stderr().print(f"results in {run.path}")


def _costs(costs: Estimate) -> Group:
    from robench.datasets.byte_sizes import format_bytes

    title = f"{len(costs.plan.conditions)} conditions x {costs.samples:,} images"
    table = Table(title=title, title_justify="left", min_width=len(title))
    for name in ("suite", "corruption", "severity", "side, px", "about"):
        table.add_column(name, justify="left" if name in ("suite", "corruption") else "right")
    for one, seconds in zip(costs.plan.conditions, costs.seconds, strict=True):
        table.add_row(one.suite, one.corruption, str(one.severity), str(one.resolution), duration(seconds))
    total = (
        f"{costs.forwards:,} forward passes, about {duration(sum(costs.seconds) + costs.calibration_seconds)} (measured on one batch), and "
        f"{duration(costs.decode_seconds)} to decode if nothing is cached; on disk {format_bytes(costs.cache_bytes)} of decoded "
        f"images and {format_bytes(costs.run_bytes)} of records"
    )
    if costs.calibration:
        total += f"; {costs.calibration:,} of the passes are for a treatment's statistics"
    return Group(table, Text(total))


def _rgb(text: str | None, option: str) -> tuple[float, float, float] | None:
    values = numbers([text], option, float) if text is not None else None
    if values is None:
        return None
    if len(values) != 3:
        raise OptionError(f"{option} takes three numbers, R,G,B, not {text!r}")
    return values[0], values[1], values[2]
