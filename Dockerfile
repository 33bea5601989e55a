# A service of a run or of an exported file, on CPUs:
#
#     docker build -t striate .
#     docker run -p 8500:8500 -v ./runs/first/export/first.onnx:/served.onnx:ro -e STRIATE_TOKEN=… striate
#
# torch's usual wheels for Linux bring the libraries of graphics cards with them. An index of torch's
# CPU builds makes the image a quarter as large; its sums are others than those of the lock:
#
#     docker build --build-arg TORCH_INDEX=ADDRESS -t striate .

FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
WORKDIR /source
COPY requirements-serve.lock pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src src
RUN python -m venv /opt/striate
RUN if [ -n "$TORCH_INDEX" ]; then \
        sed 's/ *--hash=.*//; s/ \\$//; /^ *$/d; /^\(nvidia\|cuda\|triton\)/d' requirements-serve.lock > plain \
        && /opt/striate/bin/pip install --no-cache-dir --no-deps --extra-index-url "$TORCH_INDEX" -r plain; \
    else \
        /opt/striate/bin/pip install --no-cache-dir --require-hashes -r requirements-serve.lock; \
    fi
RUN /opt/striate/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 striate
COPY --from=build /opt/striate /opt/striate
USER 1000
WORKDIR /home/striate
ENV PATH=/opt/striate/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8500
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8500/healthz', timeout=2)"]
ENTRYPOINT ["striate", "serve"]
CMD ["/served.onnx", "--host", "0.0.0.0"]
