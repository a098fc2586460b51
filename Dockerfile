# The engine's image has the CLI of its own version, and an init.
FROM registry.dagger.io/engine:v0.21.8 AS engine

FROM python:3.13-slim-trixie AS build
COPY . /src
RUN python -m venv /opt/revalid && /opt/revalid/bin/pip install --no-cache-dir "/src[archive]"

FROM python:3.13-slim-trixie
COPY --from=engine /usr/local/bin/dagger /usr/local/bin/tini /usr/local/bin/
COPY --from=build /opt/revalid /opt/revalid
ENV PATH=/opt/revalid/bin:$PATH \
    REVALID_HOME=/var/lib/revalid \
    _EXPERIMENTAL_DAGGER_CLI_BIN=/usr/local/bin/dagger \
    DO_NOT_TRACK=1
# A new volume gets the owner of the directory that it covers.
RUN useradd --uid 10001 --home-dir "$REVALID_HOME" --create-home revalid \
 && install -d -o revalid -g revalid "$REVALID_HOME/artifacts" "$REVALID_HOME/blobs" \
    "$REVALID_HOME/flower"
USER revalid
WORKDIR /var/lib/revalid
ENTRYPOINT ["tini", "--"]
CMD ["python", "-P", "-m", "revalid.worker"]
