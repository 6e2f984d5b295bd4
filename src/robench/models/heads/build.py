"""A loaded backbone with the head that the user chose."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DatasetError, OptionError
from robench.models.checkpoints.read import file_sha256
from robench.models.checkpoints.state_dict import Weights, read_weights
from robench.models.formats.base import LoadedModel
from robench.models.heads.cached import cached, key_of
from robench.models.heads.choice import HeadChoice
from robench.models.heads.features import LAYOUTS, FeatureNetwork, find_features, token_width
from robench.models.heads.layers import LinearHead, NearestNeighbours, WithHead
from robench.models.heads.reference import Reference, open_reference, reference_features
from robench.models.in_memory import FunctionModule, module_sha256
from robench.models.preprocessing import Preprocessing
from robench.types import Images

__all__ = ["check_has_layers", "with_head"]

_ITERATIONS = 1000


def check_has_layers(loaded: LoadedModel, choice: HeadChoice) -> None:
    """Raise CheckpointError if a model has no layers whose values robench can take."""
    kind = "a function" if isinstance(loaded.module, FunctionModule) else ""
    if not loaded.torch_runs or isinstance(loaded.module, torch.jit.ScriptModule | torch.fx.GraphModule):
        kind = "an exported program"
    if kind:
        raise CheckpointError(
            f"--head {choice} needs the features of a layer, and {loaded.label} is {kind}, whose layers cannot be read",
            "give the weights of the network with --arch",
        )


def with_head(
    loaded: LoadedModel,
    choice: HeadChoice,
    preprocessing: Preprocessing,
    device: torch.device,
    run: Callable[[nn.Module, Images], Tensor],
) -> LoadedModel:
    """Return a model with a head in place of its own.

    Args:
        loaded: The model, with its module on `device` in eval mode.
        choice: The head.
        preprocessing: The preprocessing of the run.
        device: Device of the module.
        run: Function from a module and uint8 images (b, 3, size, size) to the module's output.

    Raises:
        OptionError: A parameter does not fit the model or the reference images.
        CheckpointError: The model has no such features, or the file of the head does not fit them.
        DatasetError: The reference images cannot be read, or lack a class.
    """
    check_has_layers(loaded, choice)
    dtype = next((value.dtype for value in loaded.module.parameters() if value.is_floating_point()), torch.float32)
    height, width = preprocessing.shape
    blank = torch.zeros((2, preprocessing.bands, height, width), dtype=dtype, device=device)
    try:
        if choice.file is not None:
            built = _from_file(loaded, choice, choice.file, blank)
        else:
            features = find_features(loaded.module, loaded.label, blank, choice.features)
            built = _from_reference(loaded, choice, features, preprocessing, device, run)
    except (CheckpointError, DatasetError, OptionError):
        raise
    except Exception as error:  # The network may fail at this size with any error; the probe then says so.
        raise CheckpointError(
            f"{loaded.label} does not run on {height}x{width} images ({type(error).__name__}: {error})".splitlines()[0],
            "set --crop if its input size is another",
        ) from error
    note = f"{loaded.label}: the head {choice} takes {built.features.source} as features"
    note += f" ({built.features.remark})" if built.features.remark else ""
    return replace(
        loaded,
        label=f"{loaded.label}+{choice}",
        module=WithHead(built.features, built.head.to(device)).eval(),
        softmax=False,
        class_names=built.class_names,
        head_facts={"head": str(choice), "features": built.features.source, **built.facts},
        reference_sha=built.reference_sha,
        notes=(*loaded.notes, note, *built.notes),
    )


@dataclass(frozen=True)
class _Built:
    features: FeatureNetwork
    head: nn.Module
    facts: dict[str, Any]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reference_sha: frozenset[str] = frozenset()


def _from_file(loaded: LoadedModel, choice: HeadChoice, file: Path, blank: Tensor) -> _Built:
    weights = read_weights(file)
    weight, bias = _linear_weights(file, weights)
    features, chosen = None, choice.features
    if chosen is None and (width := token_width(loaded.module)) is not None:
        # The widths are different, so that the width of the head alone tells its layout.
        widths = {width * (blocks + has_patches): layout for layout, (blocks, has_patches) in LAYOUTS.items()}
        chosen = widths.get(weight.shape[1])
    features = find_features(loaded.module, loaded.label, blank, chosen)
    with torch.no_grad():
        found = features(blank).shape[1]
    if found != weight.shape[1]:
        raise CheckpointError(
            f"the head {file} takes {weight.shape[1]:,} features, but {features.source} of {loaded.label} has {found:,}",
            f"name other features by --features: a module, or {', '.join(LAYOUTS)}",
        )
    return _Built(features, LinearHead(weight, bias), {"sha256": file_sha256(file)}, weights.class_names)


def _linear_weights(file: Path, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """Return the weight (classes, d) and the bias (classes,) of a file, which holds no other tensors."""
    matrices = [name for name, value in weights.state.items() if value.ndim == 2]
    others = [name for name in weights.state if name not in matrices]
    if len(matrices) == 1 and len(others) <= 1:
        weight = weights.state[matrices[0]]
        bias = weights.state[others[0]] if others else None
        is_real = all(value.is_floating_point() for value in weights.state.values())
        if is_real and len(weight) > 1 and weight.shape[1] and (bias is None or bias.shape == weight.shape[:1]):
            return weight, bias
    shapes = [f"{name} {'x'.join(map(str, value.shape))}" for name, value in list(weights.state.items())[:3]]
    raise CheckpointError(
        f"the head {file} is no linear layer: it holds {', '.join(shapes)}{', …' if len(weights.state) > 3 else ''}",
        "give a file with a weight (classes, features) and a bias (classes)",
    )


def _from_reference(
    loaded: LoadedModel,
    choice: HeadChoice,
    features: FeatureNetwork,
    preprocessing: Preprocessing,
    device: torch.device,
    run: Callable[[nn.Module, Images], Tensor],
) -> _Built:
    assert choice.reference is not None
    reference = open_reference(choice.reference)
    count, classes = len(reference.images), len(reference.images.classes)
    if classes < 2:
        raise DatasetError(f"--reference {choice.reference} has one class", "give images of at least two classes")
    if choice.kind == "knn" and choice.values["k"] > count:
        raise OptionError(
            f"--head {choice} needs more neighbours than the {count} images of --reference", "give a smaller k"
        )
    key = key_of(
        {
            "network": module_sha256(features),
            "preprocessing": preprocessing.facts(),
            "images": reference.hashes.sha,
            "torch": [torch.__version__, device.type],
        }
    )
    found = cached(
        key,
        ("features",),
        lambda: {"features": reference_features(reference, preprocessing, lambda images: run(features, images))},
    )["features"]
    if not found.isfinite().all():
        raise CheckpointError(f"{loaded.label} gives features that are not finite", "its weights may be damaged")
    missing = reference.classes_without_images()
    notes = []
    if choice.kind == "knn":
        head: nn.Module = NearestNeighbours(
            found, reference.labels, classes, int(choice.values["k"]), choice.values["T"]
        )
        if missing:
            notes.append(f"--reference has no image of {len(missing)} classes, such as {missing[0]}")
    else:
        if missing:
            raise DatasetError(
                f"--reference has no image of {len(missing)} classes, such as {missing[0]}",
                "add images, or use --head knn",
            )
        fit = cached(
            key_of({"features": key, "labels": reference.sha256, "C": choice.values["C"]}),
            ("weight", "bias", "converged"),
            lambda: _fit(found, reference, choice.values["C"]),
        )
        head = LinearHead(fit["weight"], fit["bias"])
        if not fit["converged"]:
            notes.append(f"the head {choice}: L-BFGS did not converge within {_ITERATIONS} iterations")
    facts = {"reference": {"images": count, "sha256": reference.sha256}}
    return _Built(features, head, facts, reference.class_names, tuple(notes), frozenset(reference.hashes.sha))


def _fit(features: Tensor, reference: Reference, inverse_strength: float) -> dict[str, Tensor]:
    """Return the weight, the bias and whether L-BFGS converged, of scikit-learn's logistic regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=inverse_strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regression.fit(features.numpy(), reference.labels.numpy())
    weight, bias = (torch.from_numpy(values).float() for values in (regression.coef_, regression.intercept_))
    if len(weight) == 1:  # Two classes have one logit, that of the second class.
        weight, bias = (torch.cat([torch.zeros_like(value), value]) for value in (weight, bias))
    failed = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return {"weight": weight, "bias": bias, "converged": torch.tensor(not failed)}
