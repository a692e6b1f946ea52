# One image for every role: `relay api`, `relay scheduler`, `relay worker`, and all other commands.
#
#   docker build --tag clopos-relay .
#   docker run --rm --read-only --tmpfs /tmp --volume relay-data:/data --publish 8080:8080 --env RELAY_HOST=0.0.0.0 clopos-relay up
#
# Give the base by digest where a build has to be the same again: --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
# With OpenTelemetry, for traces: --build-arg LOCK=requirements-otel.lock
ARG LOCK=requirements.lock
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/relay
# Wheels of the lock and nothing else: nothing is compiled, no build script of a dependency is run.
COPY ${LOCK} requirements-build.lock ./
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement requirements-build.lock \
    && /opt/build/bin/pip --python /opt/relay/bin/python3 install --require-hashes --only-binary :all: --requirement "${LOCK}"
COPY pyproject.toml README.md ./
COPY relay relay
COPY workers workers
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/relay/bin/python3 install --no-deps --no-index /dist/*.whl \
    && /opt/relay/bin/relay --version

# hadolint ignore=DL3006  the base is named above, with its tag
FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="clopos-relay" \
      org.opencontainers.image.description="Webhooks for Clopos: polls the point of sale inside its quota and pushes order events to partners." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No installer, and nothing that gives its caller more rights than the caller has.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && install -d -m 1777 /data
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RELAY_DATA_DIR=/data
# A number, so that Kubernetes sees that it is not root. Any other will do.
USER 10001:10001
WORKDIR /data
EXPOSE 8080
# Every role ends by SIGTERM: an attempt's timeout for a worker, less for the others.
STOPSIGNAL SIGTERM
ENTRYPOINT ["relay"]
CMD ["--help"]
