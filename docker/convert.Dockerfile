# Makes OM files; needs no NPU. Never built by the project: it has no access to the images.
#   docker build -f docker/convert.Dockerfile -t adnet-convert .
#   docker run --rm -v "$PWD:/work" adnet-convert gray-blind -o gray-blind.om --soc Ascend310P3
# CANN is a tag of hub.docker.com/r/ascendai/cann: VERSION-CHIP-SYSTEM-PYTHON. From CANN 8.5 on the
# image of a chip has the operators of that chip only.
ARG CANN=8.5.2-310p-ubuntu22.04-py3.11
FROM ascendai/cann:${CANN}

# The compiler inside ATC runs in this Python and imports these.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir 'numpy<2' attrs decorator psutil scipy cloudpickle ml-dtypes \
    tornado protobuf sympy absl-py
COPY pyproject.toml README.md LICENSE /src/
COPY adnet /src/adnet
COPY export /src/export
COPY runtime /src/runtime
COPY benchmarks /src/benchmarks
RUN pip install --no-cache-dir '/src[convert]' 'numpy<2'
COPY docker/entry.sh /usr/local/bin/adnet-entry

WORKDIR /work
ENTRYPOINT ["bash", "/usr/local/bin/adnet-entry", "adnet-export", "om"]
CMD ["--help"]
