# The exporter, the roll-up and the Analytics page in one image; `python -m` is its entry point:
#
#   docker build --build-arg REVISION=$(git rev-parse --short=12 HEAD) --tag hivesync-analytics .
#   docker run ... hivesync-analytics exporter
#   docker run ... hivesync-analytics rollup --every 5m
#
# Base images are pinned by their version. Whoever wants more pins them by digest too, as a registry gives it:
# FROM python:3.11.15-slim-bookworm@sha256:...

# What a browser is sent that comes from npm, as package-lock.json has it.
FROM node:22.17.0-bookworm-slim AS page
WORKDIR /page
COPY admin/page/package.json admin/page/package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --cache=/tmp/npm

# A virtual environment of locked packages only, the build tool's included.
FROM python:3.11.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/ requirements/
RUN python -m venv --without-pip /opt/hivesync \
 && pip --python /opt/hivesync install --require-hashes --only-binary=:all: --requirement requirements/runtime.lock
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/dev.lock > build.lock \
 && pip install --require-hashes --only-binary=:all: --requirement build.lock
COPY pyproject.toml README.md ./
COPY adapters/ adapters/
COPY exporter/ exporter/
COPY rollup/ rollup/
COPY presentation/ presentation/
COPY grafana/ grafana/
COPY admin/ admin/
ARG REVISION=unknown
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && pip --python /opt/hivesync install --no-deps wheels/*.whl \
 && printf '%s\n' "$REVISION" > /opt/hivesync/lib/python3.11/site-packages/exporter/REVISION
COPY --from=page /page/node_modules/ /opt/hivesync/lib/python3.11/site-packages/admin/page/node_modules/

FROM python:3.11.15-slim-bookworm AS base
# The directories are there so that new named volumes belong to the user.
RUN groupadd --system --gid 10177 hivesync \
 && useradd --system --uid 10177 --gid hivesync --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hivesync \
 && install --directory --owner=hivesync --group=hivesync /data/logs /var/lib/hivesync-analytics
COPY --from=build /opt/hivesync/ /opt/hivesync/
ENV PATH=/opt/hivesync/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/hivesync-analytics
USER 10177:10177
ENTRYPOINT ["python", "-m"]

# With the made-up HiveSync, for docker-compose.yml's profile `demo`; nothing else needs it.
FROM base AS demo
COPY demo/ /opt/hivesync/lib/python3.11/site-packages/demo/
CMD ["demo.feed", "--help"]

# What is built when nothing else is asked for.
FROM base AS analytics
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HiveSync Analytics" org.opencontainers.image.revision="$REVISION"
EXPOSE 10177 10178
CMD ["exporter"]
