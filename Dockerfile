# Two images: Syncline, and Connect with the very plugins that the local stack uses (connector/local/artifacts.txt).

FROM python:3.11-slim AS syncline
WORKDIR /opt/syncline
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY connector connector
COPY topologies topologies
COPY schemas schemas
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
WORKDIR /project
ENTRYPOINT ["syncline"]
CMD ["run"]

FROM syncline AS artifacts
ENV SYNCLINE_CACHE=/cache
RUN python -m connector.local.artifacts && mv /cache/java-* /java

FROM apache/kafka:4.3.1 AS connect
COPY --from=artifacts /java/plugins /opt/plugins
CMD ["/opt/kafka/bin/connect-distributed.sh", "/etc/connect.properties"]
