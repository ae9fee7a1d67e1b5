# For users with an NVIDIA GPU. The wheel of torch on PyPI for Linux carries its own CUDA libraries, so a
# plain Python image is enough; the host needs the driver and the NVIDIA Container Toolkit:
#
#   docker build -t boostformer .
#   docker run --rm --gpus all -v "$PWD:/work" -v /data:/data boostformer search streets.yaml --out runs/streets
#
# Not built or run yet: where this was written there was no Docker daemon.
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# torch first and alone: this layer of several GB survives changes of the other pins.
ARG TORCH=2.13.0
RUN pip install "torch==${TORCH}"

WORKDIR /opt/boostformer
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY boostformer boostformer
COPY search_space search_space
COPY evaluators evaluators
COPY results results
COPY search search
# The pinned torch has no local suffix, so the CUDA build already there satisfies it; the check makes sure.
RUN pip install --constraint constraints.txt . \
    && python -c "import torch; assert torch.version.cuda, 'the CUDA build of torch was replaced'"

WORKDIR /work
ENTRYPOINT ["boostformer"]
