# One image for API and worker; `experiment` is its entry point.
# The build installs the runtime lock and the two distributions; the image holds the environment alone.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock ./
COPY scripts/bootstrap.py scripts/
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY streams streams
COPY api api
COPY client client
RUN python3 scripts/bootstrap.py --venv /app --lock requirements.lock --copy \
    && rm -rf /app/bootstrap

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin experiment \
    && install --directory --owner 10001 --mode 0700 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXPERIMENT_DATA_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["experiment"]
CMD ["api"]
