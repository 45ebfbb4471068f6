# Denoises on Ascend devices that are passed in. Never built by the project: it has no access to the
# images. docs/ascend.md has the command line that hands the devices and the driver over.
#   docker build -f docker/run.Dockerfile -t adnet-npu .
# CANN must not be older than the one that made the OM, and go with the host's driver.
ARG CANN=8.5.2-310p-ubuntu22.04-py3.11
FROM ascendai/cann:${CANN}

COPY pyproject.toml README.md LICENSE /src/
COPY adnet /src/adnet
COPY export /src/export
COPY runtime /src/runtime
COPY benchmarks /src/benchmarks
RUN pip install --no-cache-dir /src 'numpy<2'
COPY docker/entry.sh /usr/local/bin/adnet-entry

WORKDIR /work
ENTRYPOINT ["bash", "/usr/local/bin/adnet-entry"]
CMD ["adnet-run", "--list-backends"]
