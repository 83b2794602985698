# The one image of the project: storage node, operator and command line, told apart by the command that is run.
#   docker build -t moln .
# The lab builds the same file on a base of its own. The last layer holds the project's code alone, so a change of
# code rebuilds, ships and unpacks that layer only.
ARG BASE=python:3.13-slim

FROM ${BASE} AS dependencies
ARG UV=0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock ./
# The project itself is installed as links into /app, where the next stage puts it; its texts are not needed for that.
# The system's certificate authorities are named so that a build behind a proxy can mount its own. uv goes again, and so
# does what it downloaded, unless the builder lent a folder for that.
RUN export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    && export UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/moln \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --quiet uv==${UV} \
    && touch README.md LICENSE \
    && /opt/uv/bin/uv sync --locked --no-dev --quiet \
    && rm -rf /opt/uv /opt/moln/bin/moln-lab README.md LICENSE \
    && { mountpoint -q /root/.cache || rm -rf /root/.cache; }
ENV PATH=/opt/moln/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /

FROM scratch AS code
COPY spec/moln_spec /app/spec/moln_spec
COPY operator/moln_operator /app/operator/moln_operator
COPY node/moln_node /app/node/moln_node
COPY cli/moln /app/cli/moln

FROM dependencies
COPY --from=code / /
