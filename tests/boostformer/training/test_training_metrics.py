"""Scores against torchmetrics and against the definition, counted pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from data_fixtures import ListSplit, tiny_net, write_tiny_imagenet
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchmetrics import Accuracy, JaccardIndex

from boostformer.data import Pictures
from boostformer.data.normalise import normalise
from boostformer.errors import UserError
from boostformer.training import TrainingFailure, evaluate, predict_labels, top1
from boostformer.training.bands import predicted_bands
from boostformer.training.scores import confusion_matrix, scores

SIZE = (32, 48)


def random_split(classes: int, shapes: list[tuple[int, int]], seed: int = 0, fit: str = "exact") -> ListSplit:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    labels = [rng.integers(0, classes, shape, dtype=np.uint8) for shape in shapes]
    for label in labels:
        label[rng.random(label.shape) < 0.2] = 255
    split = ListSplit(images, labels, classes, SIZE)
    split.fit = fit
    return split


@given(st.integers(2, 12), st.integers(0, 1000))
def test_scores_are_torchmetrics_s(classes: int, seed: int) -> None:
    torch.manual_seed(seed)
    label = torch.randint(0, classes, (2, 20, 30), dtype=torch.uint8)
    predicted = torch.where(torch.rand(label.shape) < 0.6, label.long(), torch.randint(0, classes, label.shape))
    label[torch.rand(label.shape) < 0.1] = 255
    found = scores(confusion_matrix(predicted, label, classes), 2)
    options = {"task": "multiclass", "num_classes": classes, "ignore_index": 255}
    assert found.miou == pytest.approx(JaccardIndex(**options)(predicted, label.long()).item(), abs=1e-6)
    accuracy = Accuracy(**options, average="micro")(predicted, label.long()).item()
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)


def test_by_hand() -> None:
    label = torch.tensor([[0, 0, 1, 1], [2, 255, 255, 1]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 1], [0, 3, 0, 1]])
    found = scores(confusion_matrix(predicted, label, 5), 1)
    # Class 3 is predicted on an ignored pixel only, class 4 nowhere: both are left out.
    assert found.per_class == [1 / 3, 3 / 4, 0.0, None, None]
    assert found.miou == pytest.approx((1 / 3 + 3 / 4 + 0) / 3)
    assert found.accuracy == 4 / 6 and found.images == 1


def test_a_class_that_is_only_predicted_counts() -> None:
    found = scores(confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0, 0]], dtype=torch.uint8), 3), 1)
    assert found.per_class == [0.5, 0.0, None] and found.miou == 0.25


@pytest.mark.parametrize("fit", ["exact", "short_side"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluate_scores_at_the_label_s_resolution(fit: str, batch_size: int) -> None:
    shapes = [(60, 80), (60, 80), (90, 70), (33, 121), (60, 80)]
    split, model = random_split(4, shapes, fit=fit), tiny_net(4)
    model.train()
    found = evaluate(model, split, size=SIZE, batch_size=batch_size)
    assert model.training, "the mode is left as it was"
    model.eval()
    jaccard = JaccardIndex(task="multiclass", num_classes=4, ignore_index=255)
    for index, shape in enumerate(shapes):
        with torch.no_grad():
            logits = model(normalise(torch.from_numpy(split.resized(index)[0])[None]))
        large = F.interpolate(logits, shape, mode="bilinear", align_corners=False)
        jaccard.update(large.argmax(1)[0], torch.from_numpy(split.label(index)).long())
    assert found.miou == pytest.approx(jaccard.compute().item(), abs=1e-4)
    assert found.images == 5


def test_evaluate_at_another_size() -> None:
    split, model = random_split(3, [(60, 80)]), tiny_net(3)
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    evaluate(model, split, size=(64, 96))
    assert seen == [(1, 3, 64, 96)]


def test_predictions_are_enlarged_before_they_are_chosen() -> None:
    logits = torch.tensor([[[[0.0, 0.0]], [[-1.0, 3.0]]]])  # nearest would put the border in the middle
    assert predict_labels(logits, (1, 8)).tolist() == [[[0, 0, 0, 1, 1, 1, 1, 1]]]


@given(
    st.integers(1, 6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 20_000),
)
def test_bands_are_the_whole(classes: int, small: tuple[int, int], large: tuple[int, int], most: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, classes, *small)).astype(np.float32))
    whole = F.interpolate(logits, large, mode="bilinear", align_corners=False)
    bands = list(predicted_bands(logits, large, most))
    assert [row for rows, _ in bands for row in range(rows.start, rows.stop)] == list(range(large[0]))
    chosen = torch.cat([band for _, band in bands], 1)
    # Where two classes are equal but for rounding either may be chosen.
    lost = whole.amax(1) - whole.gather(1, chosen[:, None])[:, 0]
    assert lost.max() <= 1e-5
    assert (chosen == whole.argmax(1)).float().mean() > 0.99


def test_scores_by_bands_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    split, model = random_split(5, [(60, 80), (90, 70)]), tiny_net(5)
    whole = evaluate(model, split, size=SIZE)
    sizes = []

    def by_bands(logits, shape):
        for rows, band in predicted_bands(logits, shape, 8 * 70 * 15 * 7):
            sizes.append(band.shape[1])
            yield rows, band

    monkeypatch.setattr("boostformer.training.views.predicted_bands", by_bands)
    assert evaluate(model, split, size=SIZE) == whole
    assert max(sizes) == 7


def test_what_fits_is_enlarged_in_one_piece() -> None:
    logits = torch.randn(1, 12, 30, 40).contiguous(memory_format=torch.channels_last)
    whole = F.interpolate(logits, (480, 640), mode="bilinear", align_corners=False).argmax(1)
    [(rows, band)] = predicted_bands(logits, (480, 640))
    assert rows == slice(0, 480) and torch.equal(band, whole)


def test_nothing_to_score() -> None:
    split = ListSplit([np.zeros((*SIZE, 3), np.uint8)], [np.full(SIZE, 255, np.uint8)], 3, SIZE)
    with pytest.raises(UserError, match="every pixel of the split is ignored"):
        evaluate(tiny_net(3), split, size=SIZE)


def test_memory_running_out_while_scoring_is_a_failure() -> None:
    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return torch.empty(2**60)

    with pytest.raises(TrainingFailure) as caught:
        evaluate(Greedy(), random_split(2, [SIZE]), size=SIZE)
    assert caught.value.reason == "out_of_memory"


def test_top1(tmp_path) -> None:
    split = Pictures(write_tiny_imagenet(tmp_path), "validation")

    class ByBrightness(nn.Module):
        """Grey levels are 0, 10, 20 by class; says class 1 for the last, too."""

        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(
                normalise(torch.tensor([0, 10, 99], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 1, 3))[
                    :, 0, 0, 0
                ]
            )

        def forward(self, x):
            assert x.shape[2:] == (32, 32)
            return -(x.mean((2, 3))[:, :1] - self.centres).abs()

    assert top1(ByBrightness(), split, size=(32, 32), batch_size=4) == pytest.approx(4 / 6)
