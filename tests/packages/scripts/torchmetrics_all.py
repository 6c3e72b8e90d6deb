"""torchmetrics: classification, regression, image, text-free aggregation, collections; as functions and as modules."""

import copy
import pickle

import torch
import torchmetrics
import torchmetrics.functional as TF
from report import show
from torchmetrics import classification, image, regression

torch.manual_seed(0)
logits = torch.randn(40, 5)
probs = logits.softmax(-1)
target = torch.randint(0, 5, (40,))
binary = torch.rand(40)
truth = torch.randint(0, 2, (40,))
many = torch.rand(40, 4)
labels = torch.randint(0, 2, (40, 4))

for name in ["Accuracy", "Precision", "Recall", "F1Score", "Specificity", "CohenKappa", "MatthewsCorrCoef", "AUROC",
             "AveragePrecision", "JaccardIndex", "HammingDistance", "ConfusionMatrix", "StatScores", "CalibrationError",
             "HingeLoss", "ExactMatch", "ROC", "PrecisionRecallCurve", "FBetaScore"]:
    for average in ("macro", "micro", "weighted", "none"):
        kwargs = {"num_classes": 5}
        if name in ("Accuracy", "Precision", "Recall", "F1Score", "Specificity", "AUROC", "AveragePrecision",
                    "JaccardIndex", "HammingDistance", "FBetaScore"):
            kwargs["average"] = average
        elif average != "macro":
            continue
        if average == "micro" and name in ("AUROC", "AveragePrecision"):
            continue
        if name == "FBetaScore":
            kwargs["beta"] = 0.5
        metric = getattr(classification, f"Multiclass{name}")(**kwargs)
        values = probs if name != "ExactMatch" else probs.argmax(-1).reshape(8, 5)
        where = target if name != "ExactMatch" else target.reshape(8, 5)
        half = values.shape[0] // 2
        metric.update(values[:half], where[:half])
        metric.update(values[half:], where[half:])
        show(f"multiclass.{name}.{average}", metric.compute())
for name in ["Accuracy", "Precision", "Recall", "F1Score", "AUROC", "AveragePrecision", "CohenKappa", "ConfusionMatrix",
             "MatthewsCorrCoef", "ROC", "PrecisionRecallCurve", "CalibrationError", "Specificity", "StatScores"]:
    show(f"binary.{name}", getattr(classification, f"Binary{name}")()(binary, truth))
    if name != "CohenKappa" and name != "CalibrationError":
        show(f"multilabel.{name}", getattr(classification, f"Multilabel{name}")(num_labels=4)(many, labels))
show("binary.binned", classification.BinaryPrecisionRecallCurve(thresholds=10)(binary, truth))
show("multilabel.ranking", classification.MultilabelRankingAveragePrecision(num_labels=4)(many, labels))

a, b = torch.randn(50), torch.randn(50)
b = a + 0.3 * b
for name in ["MeanSquaredError", "MeanAbsoluteError", "R2Score", "PearsonCorrCoef", "SpearmanCorrCoef",
             "ExplainedVariance", "MeanAbsolutePercentageError", "SymmetricMeanAbsolutePercentageError",
             "ConcordanceCorrCoef", "LogCoshError", "KendallRankCorrCoef", "WeightedMeanAbsolutePercentageError",
             "RelativeSquaredError", "MinkowskiDistance", "NormalizedRootMeanSquaredError"]:
    kwargs = {"p": 3} if name == "MinkowskiDistance" else {}
    metric = getattr(regression, name)(**kwargs)
    metric.update(a[:30], b[:30])
    metric.update(a[30:], b[30:])
    show(f"regression.{name}", metric.compute())
show("regression.MSLE", regression.MeanSquaredLogError()(a.abs(), b.abs()))
show("regression.Tweedie", regression.TweedieDevianceScore(power=1.5)(a.abs() + 0.1, b.abs() + 0.1))
show("regression.Cosine", regression.CosineSimilarity(reduction="mean")(a.view(10, 5), b.view(10, 5)))
show("regression.KL", regression.KLDivergence()(probs[:10], probs[10:20]))

x = torch.rand(2, 3, 48, 48)
y = (x + 0.1 * torch.rand(2, 3, 48, 48)).clamp(0, 1)
show("image.PSNR", image.PeakSignalNoiseRatio(data_range=1.0)(x, y))
show("image.SSIM", image.StructuralSimilarityIndexMeasure(data_range=1.0)(x, y))
show("image.TV", image.TotalVariation()(x))
show("image.UQI", image.UniversalImageQualityIndex()(x, y))
show("image.ERGAS", image.ErrorRelativeGlobalDimensionlessSynthesis()(x, y))
show("image.SAM", image.SpectralAngleMapper()(x, y))
show("image.RMSE-SW", image.RootMeanSquaredErrorUsingSlidingWindow()(x, y))
show("image.gradients", TF.image.image_gradients(x))
x.requires_grad_()
TF.image.structural_similarity_index_measure(x, y, data_range=1.0).backward()
show("image.SSIM.gradient", x.grad)

mean = torchmetrics.MeanMetric()
for i in range(5):
    mean.update(float(i))
show("mean", mean.compute())
show("minmax", torchmetrics.MinMaxMetric(classification.BinaryAccuracy())(binary, truth))
collection = torchmetrics.MetricCollection(
    {"acc": torchmetrics.Accuracy(task="multiclass", num_classes=5), "f1": torchmetrics.F1Score(task="multiclass",
     num_classes=5, average="macro"), "auroc": torchmetrics.AUROC(task="multiclass", num_classes=5)})
collection.update(probs, target)
show("collection", collection.compute())
state = collection.state_dict()
show("state", list(state))
collection.persistent(True)
show("persistent", sorted(collection.state_dict()))
show("running", torchmetrics.aggregation.RunningMean(window=3)(torch.tensor([1.0, 2.0])))
torch.manual_seed(3)
boot = torchmetrics.wrappers.BootStrapper(regression.MeanSquaredError(), num_bootstraps=4)
boot.update(a, b)
show("bootstrap", boot.compute()["mean"].shape)
show("retrieval", torchmetrics.retrieval.RetrievalMAP()(binary, truth, indexes=torch.arange(40) // 10))
show("ndcg", torchmetrics.retrieval.RetrievalNormalizedDCG()(binary, truth, indexes=torch.arange(40) // 10))
show("pairwise", TF.pairwise_cosine_similarity(torch.arange(6.0).view(3, 2), torch.ones(2, 2)))
show("perplexity", torchmetrics.text.Perplexity()(probs.view(4, 10, 5).log(), target.view(4, 10)))
show("snr", torchmetrics.audio.SignalNoiseRatio()(a, b))
show("si-sdr", torchmetrics.audio.ScaleInvariantSignalDistortionRatio()(a, b))
metric = classification.MulticlassAccuracy(num_classes=5)
metric.update(probs, target)
show("copied", copy.deepcopy(metric).compute())
show("pickled", pickle.loads(pickle.dumps(metric)).compute())
metric.reset()
show("repr", repr(metric))
