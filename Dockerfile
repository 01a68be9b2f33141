# One image for API, worker and dashboard; `experiment` is its entry point.
# The build installs the runtime lock and the two distributions; the image holds the environment
# alone, without pip, setuptools and the tests of packages, which no process needs.
FROM python:3.11.14-slim-bookworm AS build
# For builds behind a package index or certificate authority of the organization: --build-arg.
ARG PIP_INDEX_URL
ARG PIP_CERT
WORKDIR /src
# The lock first: a changed line of ours installs no dependency again.
COPY requirements.lock ./
COPY scripts/bootstrap.py scripts/
RUN python3 scripts/bootstrap.py --venv /app --lock requirements.lock --only lock \
    && find /app/lib -type d -name tests -prune -exec rm -rf {} +
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY streams streams
COPY api api
COPY dashboard dashboard
COPY client client
# The root of a container is read-only, so what is not compiled here is compiled at every start.
RUN python3 scripts/bootstrap.py --venv /app --copy --only packages \
    && /app/bin/python -m pip uninstall --quiet --yes setuptools pip \
    && rm -rf /app/bootstrap \
    && for package in streams api dashboard schemas experiment_streams_client; do \
        /app/bin/python -m compileall -q --invalidation-mode unchecked-hash \
            /app/lib/python3*/site-packages/$package || exit 1; done

FROM python:3.11.14-slim-bookworm
# /data: the spool of an API. /archive: of `archive run`. A named volume takes over their owner.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin experiment \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data /archive
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXPERIMENT_DATA_DIR=/data
USER 10001
WORKDIR /data
ENTRYPOINT ["experiment"]
CMD ["api"]
