# The environment alone: Python and the locked packages. The project's folder is mounted at /work, so one image serves
# every commit with the same requirements/, and `make` refuses an image whose lock is another (BUSBENCH_ENV).
#   docker build --target cpu|gpu|test .    cpu is the default; `make docker-demo` builds and runs it
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# Packages, with the compiler that pydensecrf2 needs; nothing but /opt/venv leaves this stage.
FROM ${BASE} AS packages
# Debian's archive drops a version when the next one comes, so a pinned one would soon fail.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /lock
COPY requirements/uv.txt ./
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r uv.txt
COPY requirements/build.txt requirements/run.txt ./
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --require-hashes \
    --build-constraints build.txt -r run.txt \
 && cp run.txt /opt/venv/

FROM ${BASE} AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make tini \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system safe.directory /work
COPY --from=packages /opt/venv /opt/venv
# HOME and DVC's site cache lie in the mounted folder: whatever user id runs the container owns all that it writes.
# USER is for programs that ask for a name where the user id has none.
ENV BUSBENCH_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    HOME=/work/.bench/home \
    USER=busbench \
    DVC_SITE_CACHE_DIR=/work/.bench/dvc-site-cache \
    DVC_NO_ANALYTICS=1
ARG SOURCE=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="busbench" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["tini", "--"]
CMD ["make", "demo"]

FROM runtime AS test
USER 0:0
WORKDIR /lock
COPY requirements/build.txt requirements/dev.txt ./
RUN --mount=type=bind,from=packages,source=/opt/uv,target=/opt/uv \
    /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --require-hashes \
    --build-constraints build.txt -r dev.txt \
 && cp dev.txt /opt/venv/
WORKDIR /work
USER 1000:1000
CMD ["make", "test"]

# The same packages as cpu, because PyPI's one torch for Linux on x86-64 is built for CUDA and runs without a GPU too.
# NVIDIA's container runtime reads these: which devices, and to refuse a driver that cannot run CUDA 13.
FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA=cuda>=13.0
CMD ["make", "reproduce"]

# Last, so that it is what `docker build .` gives.
FROM runtime AS cpu
