# The gateway as a container image. Build it with scripts/build-image.sh, which fills in the labels, or with
# `docker build .` (BuildKit), `podman build --format docker .`, `buildah build --format docker .`
# (HEALTHCHECK is lost in the OCI format).
#
# The tag follows Python's and Debian's security releases. For a build that can be repeated, name a digest:
# --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The environment goes to the path that it has in the image; pip stays outside of it.
RUN python3 -m venv --without-pip /opt/gatelodge \
    && python3 -m venv --without-pip /opt/build
# Two optional secrets, mounted for these steps only: the machine's pip.conf and its certificates, for those
# who install through a mirror. Dependencies first, so that a change of our code does not fetch them again.
COPY requirements/image.txt requirements/build.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m pip --python /opt/gatelodge/bin/python install --no-cache-dir --no-compile \
        --only-binary :all: --require-hashes -r requirements/image.txt \
    && python3 -m pip --python /opt/build/bin/python install --no-cache-dir --no-compile \
        --only-binary :all: --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY proxy/ proxy/
# Nothing is fetched here. Bytecode is made once, and trusted without a look at the source's date, since
# neither can change in an image.
RUN python3 -m pip --python /opt/build/bin/python wheel --no-cache-dir --no-index --no-deps \
        --no-build-isolation --wheel-dir /dist . \
    && python3 -m pip --python /opt/gatelodge/bin/python install --no-cache-dir --no-compile \
        --no-index --no-deps /dist/*.whl \
    && /opt/gatelodge/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        /opt/gatelodge/lib

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/gatelodge /opt/gatelodge
ENV PATH=/opt/gatelodge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The configuration is ./gatelodge.yaml, that is /etc/gatelodge/gatelodge.yaml, unless -c or GATELODGE_CONFIG
# names another. GATELODGE_CONFIG is not set here, or `run --upstream ...` without a file would be refused.
WORKDIR /etc/gatelodge
# A number, so that Kubernetes can verify runAsNonRoot. Nobody owns a file of the image, and none is written.
USER 65532:65532
# The admin listener (9090) is for this container and its monitoring; `docker run -P` must not publish it.
EXPOSE 8080
# Drains; see docs/operations.md. The gateway is process 1 itself and starts no other process.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["gatelodge", "healthcheck"]
ENTRYPOINT ["gatelodge"]
CMD ["run"]

# Last, since they differ with every commit.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Gatelodge" \
      org.opencontainers.image.description="An authenticating reverse-proxy sidecar for backends behind NextAuth / Auth.js" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
