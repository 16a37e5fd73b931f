# Two images from one file: the leaderboard, which is built where no target is named, and the harness.
#
#   docker build -t moecap-leaderboard .
#   docker run --rm -p 7860:7860 --read-only --tmpfs /tmp -v leaderboard:/data moecap-leaderboard
#
#   docker build --target harness -t moecap .
#   docker run --rm -v "$PWD/runs:/app/runs" -v moecap-cache:/cache moecap run

FROM python:3.12-slim AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY moecap moecap
COPY backends backends
COPY leaderboard_app leaderboard_app
COPY hardware_profiles hardware_profiles
RUN python -m venv /opt/moecap

FROM source AS harness-build
RUN /opt/moecap/bin/pip install --no-cache-dir --constraint constraints.txt torch \
 && /opt/moecap/bin/pip install --no-cache-dir --constraint constraints.txt ".[transformers]"

FROM source AS leaderboard-build
RUN /opt/moecap/bin/pip install --no-cache-dir --constraint constraints.txt ".[leaderboard,postgres]"

FROM python:3.12-slim AS harness
RUN useradd --create-home --uid 1000 moecap && mkdir -p /app/runs /cache && chown -R 1000:1000 /app /cache
COPY --from=harness-build /opt/moecap /opt/moecap
ENV PATH=/opt/moecap/bin:$PATH MOECAP_CACHE=/cache
USER 1000
WORKDIR /app
ENTRYPOINT ["moecap"]
CMD ["run"]

FROM python:3.12-slim AS leaderboard
RUN useradd --create-home --uid 1000 moecap && mkdir /data && chown 1000:1000 /data
COPY --from=leaderboard-build /opt/moecap /opt/moecap
COPY leaderboard_app/app.py /app/app.py
ENV PATH=/opt/moecap/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PORT=7860 \
    MOECAP_LEADERBOARD_DATA=/data MOECAP_CACHE=/data/cache HF_HOME=/data/hub
USER 1000
WORKDIR /app
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]
CMD ["python", "app.py"]
