"""Metrics, in one explicit table. The function of a metric has its name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """Meaning of a value.

    Attributes:
        name: Unique name.
        unit: "fraction", "percent", or the counted thing.
        higher_is_better: Whether a larger value is better.
        meaning: Definition in one line.
        source: Paper.
        is_biased: Whether few images raise the value, because it is an absolute value, a root or a maximum of means. Resamples
            raise it once more, so that its interval is a basic one.
    """

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    source: str
    is_biased: bool = False

    @property
    def formula(self) -> str:
        """Formula in plain text; empty if the meaning says it all."""
        return _FORMULAS.get(self.name, "")


_IMAGENET_C = "Hendrycks & Dietterich 2019, arXiv:1903.12261"

_OPENOOD = "Zhang et al. 2023, arXiv:2306.09301"
_SEPARATIONS = {
    "auroc": "probability that an image out of distribution has a lower score than one in distribution",
    "fpr95": "images in distribution that are rejected with 95 % of those out of distribution",
    "aupr_in": "area under the precision-recall curve, images in distribution are the positives",
    "aupr_out": "area under the precision-recall curve, images out of distribution are the positives",
}

_GROUPS = "Sagawa et al. 2020, arXiv:1911.08731"
_SELECTIVE = "Geifman & El-Yaniv 2017, arXiv:1705.08500"
_SHAPE_BIAS = "Geirhos et al. 2019, arXiv:1811.12231"
_BALANCED = "Brodersen et al. 2010, ICPR"

_ZHANG = "Zhang 2019, arXiv:1904.11486"
_LOCALNORM = "Yin et al. 2019, arXiv:1902.06550"
_MSDNET = "Huang et al. 2018, arXiv:1703.09844"

_DRNET = "Zhu et al. 2021, arXiv:2106.02898"

_CHOOSERS = {"oracle": _MSDNET, "random": _DRNET, "cascade": _MSDNET}
_STATIC = "the operations of the network at its own input size; sizes up to that, and all"
_REACHES = "reaches the accuracy of the network at its own input size; no row where it never does"

_FORMULAS = {
    "error_rate": "E = (images with pred != label) / (images)",
    "accuracy": "1 - E",
    "corruption_error": "E(c) = mean over s of E(c, s), for corruption c and severity s",
    "mean_error": "mean over c and s of E(c, s)",
    "ce": "CE(c) = 100 * (sum over s of E(c, s)) / (sum over s of B(c, s)), with the errors B of the baseline",
    "mce": "mCE = mean over c of CE(c), with CE(c) = 100 * (sum over s of E(c, s)) / (sum over s of B(c, s))",
    "relative_mce": "100 * mean over c of (E(c) - E_clean) / (B(c) - B_clean), with the errors B of the baseline",
    "effective_robustness": "A - sigmoid(a * logit(A_clean) + b), A = 1 - mean_error; a, b: least squares on logit(A) over the field",
    "worst_class_error": "max over classes k of E(k)",
    "ece": "sum over bins b of n(b) / n * |accuracy(b) - mean confidence(b)|",
    "rms_calibration_error": "sqrt(sum over bins b of n(b) / n * (accuracy(b) - mean confidence(b))^2)",
    "adaptive_ece": "sum over bins b of n(b) / n * |accuracy(b) - mean confidence(b)|, with n(b) equal",
    "nll": "mean over images of -ln p(label)",
    "brier": "mean over images of sum over classes k of (p(k) - [k = label])^2",
    "aurc": "mean over k of (errors of the k most confident images) / k",
    "augrc": "mean over k of (errors of the k most confident images) / n",
    "balanced_accuracy": "1 - mean over classes k of E(k)",
    "flip_rate": "FP(p) = mean over images and frames j of [pred(j) != pred(j - d)], d = difficulty; noises: pred(0)",
    "mean_flip_rate": "mean over p of FP(p)",
    "fr": "FR(p) = 100 * FP(p) / FP_baseline(p)",
    "mfr": "mFR = mean over p of FR(p), with FR(p) = 100 * FP(p) / FP_baseline(p)",
    "t5d": "mean of sum over k = 1..5 of |(k - 1) - min(r(k) - 1, 5)|; rank k in the first frame is r(k) in the second",
    "mean_t5d": "mean over p of T5D(p)",
    "mt5d": "100 * mean over p of T5D(p) / T5D_baseline(p)",
    "consistency": "mean over images and pairs of [pred(first) = pred(second)]",
    "shape_bias": "S / (S + T); S, T decisions for the shape, the texture of images whose shape and texture differ",
    "error_consistency": "kappa = (o - e) / (1 - e); o: both right or both wrong; e = p q + (1 - p) (1 - q), accuracies p, q",
    "accuracy_auc": "(integral of accuracy(x) dx) / (x_max - x_min), by trapezoids",
    "half_accuracy_strength": "|x - x_clean| at the first x with accuracy(x) = accuracy(x_clean) / 2",
}
"""Formulas by metric. E is the error rate, c a corruption, s a severity and p a perturbation; [...] is 1 if true, else 0."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("error_rate", "fraction", False, "images whose most probable class is not the label", _IMAGENET_C),
        Metric(
            "top5_error",
            "fraction",
            False,
            "images whose label is not among the five most probable classes",
            "Russakovsky et al. 2015, arXiv:1409.0575",
        ),
        Metric("accuracy", "fraction", True, "images whose most probable class is the label", _IMAGENET_C),
        Metric(
            "nonfinite_rate",
            "fraction",
            False,
            "images with a NaN or infinite logit, which count as errors; has a row only where there are some",
            "robench",
        ),
        Metric(
            "corruption_error",
            "fraction",
            False,
            "mean of error_rate over the severities of one corruption",
            _IMAGENET_C,
        ),
        Metric("mean_error", "fraction", False, "unnormalised mean of error_rate over cells; not mCE", _IMAGENET_C),
        Metric(
            "ce",
            "percent",
            False,
            "corruption error: mean error over the severities by the baseline's, times 100",
            _IMAGENET_C,
        ),
        Metric("mce", "percent", False, "mean of ce over the suite's own corruptions", _IMAGENET_C),
        Metric(
            "relative_mce",
            "percent",
            False,
            "mean over the suite's own corruptions of (mean error - clean error) by the baseline's, times 100",
            _IMAGENET_C,
        ),
        Metric(
            "effective_robustness",
            "fraction",
            True,
            "accuracy on the corrupted images above what the clean accuracy predicts, by a fit over published models",
            "Taori et al. 2020, arXiv:2007.00644",
        ),
        Metric("class_error", "fraction", False, "error_rate over the images of one class", "error_rate by class"),
        Metric(
            "worst_class_error",
            "fraction",
            False,
            "largest class_error of the classes with samples",
            "error_rate by class",
            is_biased=True,
        ),
        Metric(
            "ece",
            "fraction",
            False,
            "expected calibration error: mean gap of confidence and accuracy, 15 equal-width bins",
            "Guo et al. 2017, arXiv:1706.04599",
            is_biased=True,
        ),
        Metric(
            "rms_calibration_error",
            "fraction",
            False,
            "root mean square gap of confidence and accuracy, adaptive bins of 100, the last one included",
            "Hendrycks et al. 2019, arXiv:1812.04606",
            is_biased=True,
        ),
        Metric(
            "adaptive_ece",
            "fraction",
            False,
            "mean gap of confidence and accuracy, 15 bins of equally many images",
            "Nixon et al. 2019, arXiv:1904.01685",
            is_biased=True,
        ),
        Metric(
            "nll",
            "nats",
            False,
            "mean negative log-likelihood of the true class; no value where an image has no prediction",
            "Guo et al. 2017, arXiv:1706.04599",
        ),
        Metric(
            "brier",
            "score",
            False,
            "mean squared distance of the probabilities to 1 for the true class, else 0; summed over classes, 0 to 2",
            "Brier 1950, Monthly Weather Review 78:1",
        ),
        Metric(
            "aurc",
            "fraction",
            False,
            "area under the risk-coverage curve: mean error rate of the k most confident images over all k",
            _SELECTIVE,
        ),
        Metric(
            "augrc",
            "fraction",
            False,
            "area under the generalized risk-coverage curve: mean share of all images that are wrong and selected",
            "Traub et al. 2024, arXiv:2407.01032",
        ),
        Metric(
            "risk_at_coverage_80",
            "fraction",
            False,
            "error rate of the 80 % most confident images",
            _SELECTIVE,
        ),
        Metric(
            "coverage_at_risk_5",
            "fraction",
            True,
            "largest share of most confident images with an error rate of at most 5 %",
            _SELECTIVE,
        ),
        Metric(
            "worst_group_error",
            "fraction",
            False,
            "largest error of the groups of an attribute",
            _GROUPS,
            is_biased=True,
        ),
        Metric("group_gap", "fraction", False, "largest minus smallest error of these groups", _GROUPS, is_biased=True),
        Metric("shape_bias", "fraction", True, "decisions for the shape among those for shape or texture", _SHAPE_BIAS),
        Metric("shape_accuracy", "fraction", True, "conflicting images decided by their shape", _SHAPE_BIAS),
        Metric("texture_accuracy", "fraction", False, "conflicting images decided by their texture", _SHAPE_BIAS),
        Metric(
            "error_consistency",
            "kappa",
            True,
            "agreement of two decision makers on which images are right, beyond chance; 1 is complete, 0 chance",
            "Geirhos et al. 2020, arXiv:2006.16736",
        ),
        Metric("balanced_accuracy", "fraction", True, "mean over classes of their accuracy", _BALANCED),
        *(Metric(name, "fraction", name != "fpr95", meaning, _OPENOOD) for name, meaning in _SEPARATIONS.items()),
        *(
            Metric(
                f"fs_{name}", "fraction", name != "fpr95", f"{name} with shifted images in distribution too", _OPENOOD
            )
            for name in _SEPARATIONS
        ),
        Metric(
            "flip_rate",
            "fraction",
            False,
            "pairs of frames with different predictions (consecutive ones; of noises each with frame 0)",
            _IMAGENET_C,
        ),
        Metric("mean_flip_rate", "fraction", False, "mean of flip_rate over perturbations; not mFR", _IMAGENET_C),
        Metric("fr", "percent", False, "flip rate by the baseline's, times 100", _IMAGENET_C),
        Metric("mfr", "percent", False, "mean of fr over the suite's 10 perturbations", _IMAGENET_C),
        Metric("t5d", "places", False, "top-5 distance of pairs of frames, 0 to 15", _IMAGENET_C),
        Metric("mean_t5d", "places", False, "mean of t5d over perturbations; not mT5D", _IMAGENET_C),
        Metric("mt5d", "percent", False, "mean over the 10 perturbations of t5d by the baseline's", _IMAGENET_C),
        Metric("consistency", "fraction", True, "pairs of crops or scales with the same prediction", _ZHANG),
        Metric("mean_prob_label", "fraction", True, "mean probability of the true class", _ZHANG),
        Metric(
            "accuracy_auc",
            "fraction",
            True,
            "area under accuracy by strength or covered area, the clean images included, by the span of that axis",
            _LOCALNORM,
        ),
        Metric(
            "half_accuracy_strength",
            "strength",
            True,
            "how far from the clean images' strength (gain 1, else 0) accuracy falls to half of theirs, in either direction",
            _LOCALNORM,
        ),
        Metric("gflops", "GFLOPs", False, "operations of one image, an addition and a multiplication are two", _MSDNET),
        Metric(
            "oracle_accuracy",
            "fraction",
            True,
            "images that the network gets right at this size or a smaller one: a bound of every choice of sizes, not a result",
            _MSDNET,
        ),
        Metric(
            "oracle_gflops",
            "GFLOPs",
            False,
            "mean operations of an image at the smallest size that is right, or the smallest of all: of that bound",
            _MSDNET,
        ),
        Metric(
            "random_accuracy",
            "fraction",
            True,
            "accuracy of sizes given out by chance in the oracle's shares, and so at its oracle_gflops",
            _DRNET,
        ),
        Metric(
            "best_of_k_accuracy",
            "fraction",
            True,
            "images right in one of k copies at one size, each moved by a pixel: an oracle's gain without other sizes",
            "robench",
        ),
        Metric(
            "cascade_accuracy",
            "fraction",
            True,
            "accuracy of going from size to size until the confidence reaches the size's threshold, set without labels",
            _MSDNET,
        ),
        Metric(
            "cascade_gflops",
            "GFLOPs",
            False,
            "mean operations of an image in that cascade: of all sizes that it was tried at",
            _MSDNET,
        ),
        Metric(
            "best_accuracy",
            "fraction",
            True,
            "highest accuracy of an exit or setting within a number of operations; `method` names it",
            "Yang et al. 2020, arXiv:1909.12978",
        ),
        Metric(
            "budgeted_accuracy",
            "fraction",
            True,
            "accuracy if shares in proportion to p^k of the images leave at exit k, the most confident ones first",
            _MSDNET,
        ),
        Metric("budgeted_gflops", "GFLOPs", False, "mean operations of an image in such a budgeted batch", _MSDNET),
        *(
            Metric(f"{who}_accuracy_at_static", "fraction", True, f"{who}_accuracy for at most {_STATIC}", source)
            for who, source in _CHOOSERS.items()
        ),
        *(
            Metric(
                f"{who}_gflops_at_static",
                "GFLOPs",
                False,
                f"lowest mean operations for which {who}_accuracy {_REACHES}",
                source,
            )
            for who, source in _CHOOSERS.items()
        ),
    )
}
