# hyseg in a container, for the CPU or for CUDA:
#   docker build -t hyseg .
#   docker build -t hyseg:cuda --build-arg TORCH_INDEX= .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hyseg predict scene.tif --out map.tif
# With CUDA add `--gpus all`: PyTorch's wheels bring CUDA along, the host brings the driver.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
# Empty for the wheels with CUDA, which are 5 GB larger.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=s3,structure
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hyseg_cli hyseg_cli
COPY models models
RUN python -m venv /opt/hyseg \
    && /opt/hyseg/bin/python -m pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[$EXTRAS]"

FROM ${BASE}
COPY --from=build /opt/hyseg /opt/hyseg
# Whoever runs it may have no home here: what is cached goes where everybody may write.
ENV PATH=/opt/hyseg/bin:$PATH \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["hyseg"]
CMD ["--help"]
