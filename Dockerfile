# Two images, for NVIDIA GPUs and for CPUs alone; the host of a GPU needs the driver and the NVIDIA Container Toolkit:
#
#   docker build -t boostformer .
#   docker build -t boostformer:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker run --rm --gpus all -v "$PWD:/home/boostformer" -v /data:/data -u "$(id -u)" boostformer search streets.yaml --out runs/streets
#
# Built for CPUs by Docker 20.10 (without BuildKit) and by buildah, upon a base of Debian's own Python 3.11 under this
# name, as where it was written no registry answers: 1.9 GB by Docker's count, 1.7 of them this program and what it
# needs. Not built for GPUs.
FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/boostformer
ENV PATH=/opt/boostformer/bin:$PATH

# torch first and alone: this layer of several GB survives changes of the other pins. PyPI's wheel for Linux carries its
# own CUDA libraries, so a plain Python image is enough.
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://pypi.org/simple
RUN pip install --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple "torch==${TORCH}"

WORKDIR /source
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY boostformer boostformer
COPY search_space search_space
COPY evaluators evaluators
COPY results results
COPY search search
# The pinned torch has no local suffix, so the build that is there satisfies it; the check makes sure.
RUN before="$(python -c 'import torch; print(torch.__version__)')" \
    && pip install --constraint constraints.txt '.[postgresql,s3]' \
    && python -c "import sys, torch; assert torch.__version__ == sys.argv[1], 'torch was replaced'" "$before"

# Without pip's caches, sources and build tools; the program runs as a user without rights and writes to its home alone.
FROM python:3.11-slim-bookworm

ENV PATH=/opt/boostformer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/home/boostformer
COPY --from=build /opt/boostformer /opt/boostformer
RUN mkdir /home/boostformer && chown 10001:10001 /home/boostformer
USER 10001:10001
WORKDIR /home/boostformer
ENTRYPOINT ["boostformer"]
