"""Command-line options as annotated types, shared by the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from robench.cli import completion

# Panels of `robench evaluate --help`; `-h` has the options without a panel.
MODEL, CONDITIONS, SAMPLES, INPUT, EXECUTION, RUN = "Model", "Conditions", "Samples", "Model input", "Execution", "Run"

# Model and dataset.
Model = Annotated[
    str | None,
    Argument(
        help="Model as for `robench evaluate`; its errors are compared too.",
        metavar="MODEL",
        autocompletion=completion.models,
    ),
]
Models = Annotated[
    list[str],
    Argument(
        help="Weights file, exported model, folder, library name, factory, demo or job file.",
        metavar="MODEL",
        autocompletion=completion.models,
    ),
]
Arch = Annotated[
    str | None,
    Option(
        "--arch",
        "-a",
        help="Architecture of a weights file.",
        show_default="detected from the weights",
        metavar="FAMILY:NAME",
        autocompletion=completion.architectures,
    ),
]
WeightsKey = Annotated[
    str | None,
    Option(
        help="Set of weights in the file, such as state_dict_ema.",
        show_default="the trained one",
        metavar="KEY",
        rich_help_panel=MODEL,
    ),
]
TrustPickle = Annotated[
    bool,
    Option("--trust-pickle", help="Let the model's file run code with your rights.", rich_help_panel=MODEL),
]
Label = Annotated[
    str | None,
    Option(
        help="Name of the model in tables.",
        show_default="that of its file",
        metavar="NAME",
        rich_help_panel=MODEL,
    ),
]
IgnoreKeys = Annotated[
    list[str] | None,
    Option(
        help="Tensors of the file to leave out, such as aux.*; the network must lack them.",
        metavar="GLOB",
        rich_help_panel=MODEL,
    ),
]
Head = Annotated[
    str | None,
    Option(
        help="Head on the model's features: knn:k=20,T=0.07, linear:C=1 or a weights file.",
        show_default="the model's own",
        metavar="HEAD",
        rich_help_panel=MODEL,
    ),
]
Reference = Annotated[
    str | None,
    Option(
        help="Labelled images for --head knn or linear; any layout of --data.",
        metavar="DATA",
        rich_help_panel=MODEL,
    ),
]
Features = Annotated[
    str | None,
    Option(
        help="Module whose output --head takes, or cls+patches, cls4, cls4+patches.",
        show_default="the input of the last linear layer",
        metavar="MODULE",
        rich_help_panel=MODEL,
    ),
]
Prompts = Annotated[
    str | None,
    Option(
        help="Templates of a zero-shot classifier; a file has one with {} a line.",
        show_default="imagenet",
        metavar="imagenet|simple|plain|FILE",
        rich_help_panel=MODEL,
    ),
]
ClassNames = Annotated[
    str | None,
    Option(
        help="Class names of a zero-shot classifier, one a line, or imagenet.",
        show_default="those of the images",
        metavar="FILE",
        rich_help_panel=MODEL,
    ),
]
Data = Annotated[
    str | None,
    Option(
        "--data",
        "-d",
        help="Dataset: a folder or file (`robench list datasets`), or demo.",
        metavar="DATA",
    ),
]

# Conditions.
Suite = Annotated[
    str,
    Option(
        "--suite",
        "-s",
        help="Suite of the geometry and constants (`robench list suites`).",
        metavar="NAME",
        autocompletion=completion.suites,
    ),
]
Suites = Annotated[
    list[str] | None,
    Option(
        "--suite",
        "-s",
        help="Suites (`robench list suites`), clean, or all.",
        show_default="fits the model's input size",
        metavar="NAME,...",
        autocompletion=completion.suites,
    ),
]
Preset = Annotated[
    str | None,
    Option(
        help="Selection of suite, corruptions, severities and images; ci takes minutes.",
        metavar="NAME",
        autocompletion=completion.presets,
    ),
]
Severities = Annotated[
    list[str] | None,
    Option(help="Severities, such as 1,3,5 or 1-3.", show_default="all", metavar="N,...", rich_help_panel=CONDITIONS),
]
Corruptions = Annotated[
    list[str] | None,
    Option(
        help="Corruptions or perturbations, such as fog,snow.",
        show_default="all of the suite",
        metavar="NAME,...",
        autocompletion=completion.corruptions,
        rich_help_panel=CONDITIONS,
    ),
]
ExtraCorruptions = Annotated[
    bool,
    Option(
        "--extra-corruptions",
        help="Include the extra corruptions; aggregates exclude them.",
        rich_help_panel=CONDITIONS,
    ),
]
Difficulties = Annotated[
    list[str] | None,
    Option(
        help="Difficulties of perturbation sequences, 1 to 3.",
        show_default="1",
        metavar="N",
        rich_help_panel=CONDITIONS,
    ),
]
Resolutions = Annotated[
    list[str] | None,
    Option(
        help="Input sizes of the suite resolution in pixels.",
        show_default="around the model's",
        metavar="N",
        rich_help_panel=CONDITIONS,
    ),
]
Attacks = Annotated[
    list[str] | None,
    Option(
        "--attack",
        help="Attacks of the suite adversarial, in their order.",
        show_default="apgd-ce,apgd-t",
        metavar="NAME,...",
        autocompletion=completion.attacks,
        rich_help_panel=CONDITIONS,
    ),
]
Norm = Annotated[
    Literal["linf", "l2"],
    Option(help="Norm of the changes of an attack.", metavar="linf|l2", rich_help_panel=CONDITIONS),
]
Epsilons = Annotated[
    list[str] | None,
    Option(
        "--epsilon",
        help="Radii of the attacks, for images in 0 to 1.",
        show_default="0.5/255,1/255,4/255,8/255",
        metavar="R,...",
        rich_help_panel=CONDITIONS,
    ),
]
Steps = Annotated[int, Option(help="Updates of an attack.", metavar="N", rich_help_panel=CONDITIONS)]
Restarts = Annotated[int, Option(help="Starts of each attack.", metavar="N", rich_help_panel=CONDITIONS)]
Released = Annotated[
    Path | None,
    Option(
        help="Folder of published files (ImageNet-C, CIFAR-10-C, …) instead of computed images.",
        metavar="DIR",
        rich_help_panel=CONDITIONS,
    ),
]
Ood = Annotated[
    list[str] | None,
    Option(
        "--ood",
        help="Images out of distribution under a name, such as near=DIR; repeatable.",
        metavar="NAME=DATA",
        rich_help_panel=CONDITIONS,
    ),
]
Csid = Annotated[
    list[str] | None,
    Option(
        "--csid",
        help="Images in distribution under a natural shift; repeatable.",
        metavar="DATA",
        rich_help_panel=CONDITIONS,
    ),
]
Groups = Annotated[
    str | None,
    Option(
        "--groups",
        help="Table of groups, or columns of DATA's table; none removes them.",
        metavar="FILE[:COLUMN,...]",
        rich_help_panel=CONDITIONS,
    ),
]
Treatments = Annotated[
    list[str] | None,
    Option(
        help="Treatments of the model, in order (`robench list treatments`).",
        metavar="NAME,...",
        autocompletion=completion.treatments,
        rich_help_panel=CONDITIONS,
    ),
]
Calibration = Annotated[
    str | None,
    Option(
        help="Images for the statistics of a treatment; any layout of --data.",
        metavar="DATA",
        rich_help_panel=CONDITIONS,
    ),
]

# Samples.
Limit = Annotated[
    int | None,
    Option("--limit", "-n", help="Number of images, evenly spread over the dataset.", show_default="all", metavar="N"),
]
PerClass = Annotated[
    int | None, Option(help="Use only the first N samples of each class.", metavar="N", rich_help_panel=SAMPLES)
]
Subset = Annotated[
    Path | None, Option(help="File of paths relative to DATA, one per line.", metavar="FILE", rich_help_panel=SAMPLES)
]
ClassMap = Annotated[
    Path | None,
    Option(help="File of class names in the model's order, one per line.", metavar="FILE", rich_help_panel=SAMPLES),
]
Labels = Annotated[
    Path | None,
    Option(
        help="File of the images' labels, several an image allowed.",
        show_default="those of DATA",
        metavar="FILE",
        rich_help_panel=SAMPLES,
    ),
]
SkipUnreadable = Annotated[
    bool,
    Option("--skip-unreadable", help="Skip damaged images and list them in the manifest.", rich_help_panel=SAMPLES),
]

# Model input.
Geometry = Annotated[
    str,
    Option(help="Resize and crop of the suite or of the model.", metavar="suite|model", rich_help_panel=INPUT),
]
Mean = Annotated[
    str | None,
    Option(
        help="Mean of the model's input, R,G,B or each band, in 0 to --input-range.",
        metavar="R,G,B",
        rich_help_panel=INPUT,
    ),
]
Std = Annotated[
    str | None,
    Option(
        help="Standard deviation of the input, R,G,B or each band, likewise.", metavar="R,G,B", rich_help_panel=INPUT
    ),
]
DataRange = Annotated[
    str | None,
    Option(
        help="Stored values that become black and white, such as 0,10000 for 16 bits.",
        metavar="LOW,HIGH",
        rich_help_panel=INPUT,
    ),
]
InputRange = Annotated[
    int | None,
    Option(
        help="White in the model's input; 255 means pixels without normalisation.",
        show_default="1",
        metavar="1|255",
        rich_help_panel=INPUT,
    ),
]
Channels = Annotated[
    str | None,
    Option(
        help="Order of the model's channels; --mean and --std stay R,G,B.",
        show_default="rgb",
        metavar="rgb|bgr",
        rich_help_panel=INPUT,
    ),
]
Size = Annotated[
    str | None,
    Option(
        help="Size of the model's input in pixels; sets --resize and --crop.",
        metavar="PX|HxW",
        rich_help_panel=INPUT,
    ),
]
Resize = Annotated[
    str | None,
    Option(
        help="Short side, or size, in pixels before the model's crop (--geometry model).",
        metavar="PX|HxW",
        rich_help_panel=INPUT,
    ),
]
Crop = Annotated[
    str | None,
    Option(
        help="Size of the model's input in pixels, a side or height x width.", metavar="PX|HxW", rich_help_panel=INPUT
    ),
]
Side = Annotated[
    int | None, Option("--crop", help="Side of the model's input in pixels.", metavar="PX", rich_help_panel=INPUT)
]
Interpolation = Annotated[
    str | None,
    Option(
        help="Filter of the model's own resize, such as bilinear or bicubic.", metavar="NAME", rich_help_panel=INPUT
    ),
]
NoReleaseJpeg = Annotated[
    bool,
    Option(
        "--no-release-jpeg",
        help="Skip the JPEG compression (quality 85) of the released ImageNet suites.",
        rich_help_panel=INPUT,
    ),
]
ReleaseJpeg = Annotated[
    bool,
    Option("--release-jpeg", help="JPEG compression as in the suite's released files.", rich_help_panel=INPUT),
]

# Execution.
Device = Annotated[str, Option(help="Device: auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
BatchSize = Annotated[
    int | None,
    Option(
        help="Images per batch; affects records.",
        show_default="256 on CUDA, else 64",
        metavar="N",
        rich_help_panel=EXECUTION,
    ),
]
Precision = Annotated[
    str,
    Option(
        help="Arithmetic of the model; TF32 is off with fp32.",
        metavar="fp32|tf32|bf16|fp16",
        rich_help_panel=EXECUTION,
    ),
]
Backend = Annotated[
    str,
    Option(
        help="Corruption backend: robench, or the imagecorruptions package (slow, CPU).",
        metavar="torch|reference",
        rich_help_panel=EXECUTION,
    ),
]
Kernels = Annotated[
    str,
    Option(
        help="Fused kernels of corruptions on a GPU (same pixels).",
        metavar="auto|eager|fused",
        rich_help_panel=EXECUTION,
    ),
]
Compile = Annotated[
    bool,
    Option(
        "--compile",
        help="Compile the random draws on a CPU (same pixels, faster).",
        rich_help_panel=EXECUTION,
    ),
]
Engine = Annotated[
    str,
    Option(
        help="Execution engine: this process, or Ray workers (robench[ray]).",
        metavar="local|ray",
        rich_help_panel=EXECUTION,
    ),
]
Address = Annotated[
    str | None,
    Option(
        help="Address of the Ray cluster.",
        show_default="RAY_ADDRESS, else a local cluster",
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        rich_help_panel=EXECUTION,
    ),
]
Workers = Annotated[
    int | None,
    Option(
        help="Number of Ray workers.",
        show_default="one per GPU, else one per core",
        metavar="N",
        rich_help_panel=EXECUTION,
    ),
]
Threads = Annotated[
    int | None,
    Option(
        help="CPU threads of a model.",
        show_default="all cores; 1 in Ray workers",
        metavar="N",
        rich_help_panel=EXECUTION,
    ),
]
Profile = Annotated[bool, Option("--profile", help="Table of the time spent in each phase.", rich_help_panel=EXECUTION)]

# Runs and files.
Runs = Annotated[list[Path], Argument(help="Run directories, folders of them, or CSV files of results.", metavar="RUN")]
RunOut = Annotated[
    Path | None,
    Option(
        "--out",
        "-o",
        help="Run directory; for several models, its parent.",
        show_default="runs/MODEL-DATA-SUITE",
        metavar="DIR",
    ),
]
Seed = Annotated[int, Option(help="Seed of all draws.", metavar="N", rich_help_panel=RUN)]
Fresh = Annotated[
    bool,
    Option("--fresh", help="Start a new run; move an existing one aside.", rich_help_panel=RUN),
]
DryRun = Annotated[
    bool,
    Option("--dry-run", help="Print conditions, forward passes and estimated time; do not evaluate."),
]
NormalizeBy = Annotated[
    str | None,
    Option(
        help="Baseline of CE, mCE, FR, mFR and mT5D.",
        show_default="the published one",
        metavar="alexnet|RUN|none",
        rich_help_panel=RUN,
    ),
]
RenormalizeBy = Annotated[
    str | None,
    Option(
        help="Baseline of CE, mCE, FR, mFR and mT5D.",
        show_default="the run's own",
        metavar="alexnet|RUN|none",
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print the headline and the run's path alone.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Print each condition and all metrics.")]
Decisions = Annotated[
    list[Path] | None,
    Option(help="CSV file of decisions of people or networks; repeatable.", show_default="none", metavar="FILE"),
]
Force = Annotated[bool, Option("--force", help="Overwrite a file of another kind.")]
Format = Annotated[Literal["table", "json", "csv"], Option(help="Output format.", metavar="table|json|csv")]
