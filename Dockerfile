# skyextract with all its extras; kernels are compiled when the image is built.
#
#   docker build -t skyextract .
#   docker run --rm -v "$PWD":/data skyextract image.fits -ASTREF_CATALOG GAIA-DR3
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:3.12-slim
COPY --from=build /wheels /wheels
ENV NUMBA_CACHE_DIR=/var/cache/skyextract
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[report,progress,online,watch,parquet]" \
    && rm -r /wheels \
    && mkdir -m 1777 "$NUMBA_CACHE_DIR" \
    && skyextract --warm --quiet
WORKDIR /data
ENTRYPOINT ["skyextract"]
