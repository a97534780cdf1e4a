# suno-worker as an image. Built in two stages, so that no build tool stays in it; no secret goes in at any time.
#
# Alone it is `suno-worker up` with everything in /data: docker run --volume suno-worker:/data suno-worker
# With PostgreSQL, Redis and Flower, and with health checks: docker-compose.yml

FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/suno-worker
ENV PATH=/opt/suno-worker/bin:$PATH
WORKDIR /src

# The dependencies alone first: this layer lasts until they change.
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['flower'], sep='\n')" > requirements.txt \
    && pip install --requirement requirements.txt

COPY README.md LICENSE ./
COPY migrations migrations
COPY worker worker
RUN pip install --no-deps .


FROM python:3.11-slim

RUN useradd --system --uid 10001 --create-home --home-dir /data suno-worker
COPY --from=build /opt/suno-worker /opt/suno-worker
ENV PATH=/opt/suno-worker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

USER suno-worker
WORKDIR /data
CMD ["suno-worker", "up"]
