# moecap with the transformers backend, as an unprivileged user. Build: docker build -t moecap .
# Run: docker run --rm -v "$PWD/runs:/app/runs" -v moecap-cache:/cache moecap run
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY moecap moecap
COPY backends backends
COPY leaderboard_app leaderboard_app
COPY hardware_profiles hardware_profiles
RUN python -m venv /opt/moecap \
 && /opt/moecap/bin/pip install --no-cache-dir --constraint constraints.txt torch \
 && /opt/moecap/bin/pip install --no-cache-dir --constraint constraints.txt ".[transformers]"

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 moecap && mkdir -p /app/runs /cache && chown -R moecap:moecap /app /cache
COPY --from=build /opt/moecap /opt/moecap
ENV PATH=/opt/moecap/bin:$PATH MOECAP_CACHE=/cache
USER moecap
WORKDIR /app
ENTRYPOINT ["moecap"]
CMD ["run"]
