# One image for API and worker; `experiment` is its entry point.
# The build runs what a bare machine runs: scripts/bootstrap.py with the runtime lock.
FROM python:3.11-slim AS build
WORKDIR /app
COPY pyproject.toml requirements.lock ./
COPY scripts/bootstrap.py scripts/
COPY schemas schemas
COPY streams streams
COPY api api
RUN python3 scripts/bootstrap.py --venv /app/.venv --lock requirements.lock

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin experiment \
    && install --directory --owner 10001 --mode 0700 /data
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXPERIMENT_DATA_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["experiment"]
CMD ["api"]
