"""Networks with published latencies on the boards, in plain torch after their papers, and those latencies.

ResNet (He et al. 2016), MobileNetV2 (Sandler et al. 2018), FCN (Long et al. 2015) on ResNet-18, EfficientViT-Seg
(Cai et al. 2023), YOLOv8n (Jocher et al. 2023). As after folding, convolutions have a bias instead of BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(
    in_width: int,
    width: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    act: Callable[[], nn.Module] | None = None,
    bias: bool = True,
) -> nn.Module:
    layer = nn.Conv2d(in_width, width, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(layer, act()) if act else layer


class Residual(nn.Module):
    """The input, or a ``shortcut`` of it, is added to ``main``; then comes ``act``."""

    def __init__(self, main: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.main, self.shortcut, self.act = main, shortcut or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.main(x) + self.shortcut(x))


def residual_stages(depths: tuple[int, ...], expansion: int) -> nn.Sequential:
    """ResNet up to its last map: basic blocks when ``expansion`` is 1, else bottlenecks."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    in_width = 64
    for i, depth in enumerate(depths):
        for j in range(depth):
            width, stride = 64 * 2**i, 2 if i and not j else 1
            if expansion == 1:
                main = nn.Sequential(conv(in_width, width, 3, stride, act=nn.ReLU), conv(width, width, 3))
            else:
                main = nn.Sequential(
                    conv(in_width, width, act=nn.ReLU),
                    conv(width, width, 3, stride, act=nn.ReLU),
                    conv(width, width * expansion),
                )
            out_width = width * expansion
            shortcut = conv(in_width, out_width, 1, stride) if stride > 1 or in_width != out_width else None
            layers.append(Residual(main, shortcut, nn.ReLU()))
            in_width = out_width
    return nn.Sequential(*layers)


def classifier(width: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000))


def resnet(depths: tuple[int, ...], expansion: int) -> nn.Module:
    return nn.Sequential(residual_stages(depths, expansion), classifier(512 * expansion))


def fcn_resnet18() -> nn.Module:
    """As in jetson-inference: no dilation, so logits at 1/32, and no upsampling behind them; Cityscapes' 21 labels."""
    return nn.Sequential(residual_stages((2, 2, 2, 2), 1), conv(512, 128, 3, act=nn.ReLU), conv(128, 21))


def inverted(
    in_width: int, width: int, stride: int, ratio: int, act: Callable[[], nn.Module], skip: bool = True
) -> nn.Module:
    """MobileNetV2's block; ``ratio`` 1 has no expansion."""
    middle = in_width * ratio
    layers = [conv(in_width, middle, act=act)] if ratio > 1 else []
    layers += [conv(middle, middle, 3, stride, groups=middle, act=act), conv(middle, width)]
    main = nn.Sequential(*layers)
    return Residual(main) if skip and stride == 1 and in_width == width else main


def mobilenet_v2() -> nn.Module:
    layers, in_width = [conv(3, 32, 3, 2, act=nn.ReLU6)], 32
    for ratio, width, depth, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for j in range(depth):
            layers.append(inverted(in_width, width, 1 if j else stride, ratio, nn.ReLU6))
            in_width = width
    return nn.Sequential(*layers, conv(in_width, 1280, act=nn.ReLU6), classifier(1280))


class LinearAttention(nn.Module):
    """EfficientViT's multi-scale linear attention with ReLU as the kernel, at scales 1 and 5."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        heads = width // dim
        self.dim = dim
        self.qkv = conv(width, 3 * width, bias=False)
        self.aggregate = nn.Sequential(
            conv(3 * width, 3 * width, 5, groups=3 * width, bias=False),
            conv(3 * width, 3 * width, groups=3 * heads, bias=False),
        )
        self.project = conv(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        height, width = x.shape[2:]
        stacked = torch.cat([qkv, self.aggregate(qkv)], dim=1).reshape(1, -1, 3 * self.dim, height * width)
        query, key, value = stacked.chunk(3, dim=2)  # (1, heads of both scales, dim, positions)
        query, key = functional.relu(query), functional.relu(key)
        value = functional.pad(value, (0, 0, 0, 1), value=1.0)  # the last row gives the divisor
        found = (value @ key.transpose(2, 3)) @ query
        found = found[:, :, :-1] / (found[:, :, -1:] + 1e-15)
        return self.project(found.reshape(1, -1, height, width))


class EfficientViTSeg(nn.Module):
    """The variant for ADE20K: a head at 1/8 that adds the last three maps."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], dim: int, head: int) -> None:
        super().__init__()
        act = nn.Hardswish
        stem = [conv(3, widths[0], 3, 2, act=act)]
        stem += [inverted(widths[0], widths[0], 1, 1, act) for _ in range(depths[0])]
        stages: list[nn.Module] = []
        for i in range(1, 5):
            blocks = [inverted(widths[i - 1], widths[i], 2, 4, act)]
            for _ in range(depths[i] - (i < 3)):
                if i > 2:
                    blocks.append(Residual(LinearAttention(widths[i], dim)))
                blocks.append(inverted(widths[i], widths[i], 1, 4, act))
            stages.append(nn.Sequential(*blocks))
        self.stem, self.stages = nn.Sequential(*stem), nn.ModuleList(stages)
        self.project = nn.ModuleList(conv(width, head) for width in widths[2:])
        self.head = nn.Sequential(*(inverted(head, head, 1, 4, act) for _ in range(3)), conv(head, 150))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        total = self.project[0](maps[1])
        for layer, feature in zip(self.project[1:], maps[2:], strict=True):
            total = total + functional.interpolate(
                layer(feature), size=total.shape[2:], mode="bilinear", align_corners=False
            )
        return self.head(total)


class SplitBottlenecks(nn.Module):
    """YOLOv8's C2f: one half goes through bottlenecks, and all that was on the way is joined."""

    def __init__(self, in_width: int, width: int, depth: int, skip: bool = False) -> None:
        super().__init__()
        half = width // 2
        mains = [nn.Sequential(*(conv(half, half, 3, act=nn.SiLU) for _ in range(2))) for _ in range(depth)]
        self.split = conv(in_width, width, act=nn.SiLU)
        self.blocks = nn.ModuleList(Residual(main) if skip else main for main in mains)
        self.join = conv((2 + depth) * half, width, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.split(x).chunk(2, dim=1))
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return self.join(torch.cat(maps, dim=1))


class PoolPyramid(nn.Module):
    """YOLOv8's SPPF: three poolings in a row, joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.join = conv(width, width // 2, act=nn.SiLU), conv(2 * width, width, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.squeeze(x)]
        for _ in range(3):
            maps.append(functional.max_pool2d(maps[-1], 5, 1, 2))
        return self.join(torch.cat(maps, dim=1))


class YoloV8Nano(nn.Module):
    """YOLOv8n for 80 classes, with the decoding of boxes that its exported graph has, without suppression."""

    def __init__(self) -> None:
        super().__init__()
        down = partial(conv, kernel=3, stride=2, act=nn.SiLU)
        self.to_8 = nn.Sequential(
            down(3, 16),
            down(16, 32),
            SplitBottlenecks(32, 32, 1, True),
            down(32, 64),
            SplitBottlenecks(64, 64, 2, True),
        )
        self.to_16 = nn.Sequential(down(64, 128), SplitBottlenecks(128, 128, 2, True))
        self.to_32 = nn.Sequential(down(128, 256), SplitBottlenecks(256, 256, 1, True), PoolPyramid(256))
        self.up_16, self.up_8 = SplitBottlenecks(384, 128, 1), SplitBottlenecks(192, 64, 1)
        self.down_16, self.down_32 = down(64, 64), down(128, 128)
        self.out_16, self.out_32 = SplitBottlenecks(192, 128, 1), SplitBottlenecks(384, 256, 1)
        self.boxes, self.labels = (nn.ModuleList(self._head(w, out) for w in (64, 128, 256)) for out in (64, 80))
        self.expect = conv(16, 1, bias=False)

    @staticmethod
    def _head(width: int, out: int) -> nn.Module:
        return nn.Sequential(conv(width, out, 3, act=nn.SiLU), conv(out, out, 3, act=nn.SiLU), conv(out, out))

    def forward(self, x: Tensor) -> Tensor:
        at_8 = self.to_8(x)
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        up_16 = self.up_16(torch.cat([functional.interpolate(at_32, size=at_16.shape[2:]), at_16], dim=1))
        out_8 = self.up_8(torch.cat([functional.interpolate(up_16, size=at_8.shape[2:]), at_8], dim=1))
        out_16 = self.out_16(torch.cat([self.down_16(out_8), up_16], dim=1))
        out_32 = self.out_32(torch.cat([self.down_32(out_16), at_32], dim=1))
        maps = (out_8, out_16, out_32)
        boxes = torch.cat([head(y).flatten(2) for head, y in zip(self.boxes, maps, strict=True)], dim=2)
        labels = torch.cat([head(y).flatten(2) for head, y in zip(self.labels, maps, strict=True)], dim=2)
        sides = self.expect(boxes.unflatten(1, (4, 16)).transpose(1, 2).softmax(dim=1)).squeeze(1)
        return torch.cat([sides * 8, labels.sigmoid()], dim=1)


NANO, XAVIER, ORIN, ORIN_NANO = "jetson-nano", "jetson-agx-xavier", "jetson-agx-orin", "jetson-orin-nano"


@dataclass(frozen=True)
class Network:
    """One network and what was published of it.

    ``family``: networks that are left out together when the error on unseen families is asked for.
    """

    family: str
    build: Callable[[], nn.Module]
    size: tuple[int, int]
    """(H, W) of the image."""
    params: float | None
    """Published millions, BatchNorm's included."""
    published: dict[str, float]
    """Milliseconds by board, TensorRT, FP16, batch 1, the board's largest power mode of the time."""
    transfers: bool = False
    """Whether the published milliseconds include the copies of image and result."""


def _resnet(depths: tuple[int, ...], expansion: int, params: float, published: dict[str, float]) -> Network:
    return Network("ResNet", partial(resnet, depths, expansion), (224, 224), params, published)


def _fcn(size: tuple[int, int], nano_fps: float, xavier_fps: float) -> Network:
    return Network("FCN", fcn_resnet18, size, None, {NANO: 1e3 / nano_fps, XAVIER: 1e3 / xavier_fps})


def _efficientvit(
    widths: tuple[int, ...], depths: tuple[int, ...], dim: int, head: int, params: float, nano: float, orin: float
) -> Network:
    build = partial(EfficientViTSeg, widths, depths, dim, head)
    return Network("EfficientViT", build, (512, 512), params, {NANO: nano, ORIN: orin}, transfers=True)


# ResNets, and MobileNetV2 on Xavier: torch2trt, docs/benchmarks (ResNet-50 on Nano and Orin, and MobileNetV2 on Nano:
# second hand). FCN: jetson-inference, CHANGELOG of October 2019, where 3 FPS may be 2.5 or 3.5. EfficientViT: its own
# tables. YOLOv8n: hokwangchoi/jetson-orin-nano-benchmarks, by trtexec. Few say at which clocks.
NETWORKS = {
    "ResNet-18": _resnet((2, 2, 2, 2), 1, 11.69, {NANO: 11.4, XAVIER: 1.64}),
    "ResNet-34": _resnet((3, 4, 6, 3), 1, 21.80, {NANO: 20.2, XAVIER: 2.79}),
    "ResNet-50": _resnet((3, 4, 6, 3), 4, 25.56, {NANO: 30.15, XAVIER: 3.37, ORIN: 1.03}),
    "ResNet-101": _resnet((3, 4, 23, 3), 4, 44.55, {NANO: 51.1, XAVIER: 6.04}),
    "ResNet-152": _resnet((3, 8, 36, 3), 4, 60.19, {NANO: 72.3, XAVIER: 8.57}),
    "MobileNetV2": Network("MobileNetV2", mobilenet_v2, (224, 224), 3.50, {NANO: 27.2, XAVIER: 1.67}),
    "FCN-ResNet18 512x256": _fcn((256, 512), 48, 480),
    "FCN-ResNet18 576x320": _fcn((320, 576), 26, 360),
    "FCN-ResNet18 864x480": _fcn((480, 864), 14, 190),
    "FCN-ResNet18 1024x512": _fcn((512, 1024), 12, 175),
    "FCN-ResNet18 2048x1024": _fcn((1024, 2048), 3, 47),
    "YOLOv8n": Network("YOLO", YoloV8Nano, (640, 640), 3.16, {ORIN_NANO: 4.43}),
    "EfficientViT-Seg-B1": _efficientvit((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16, 64, 4.8, 110, 4.0),
    "EfficientViT-Seg-B2": _efficientvit((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32, 96, 15, 212, 7.3),
    "EfficientViT-Seg-B3": _efficientvit((32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32, 128, 39, 411, 12.5),
}
