# docker build --tag error-budget-gatekeeper:0.1.0 .
#
# What `make image` makes without an engine, file by file. For an image that comes out the same from the same commit, give the
# base with its digest (name@sha256:...), and
#   --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output type=image,rewrite-timestamp=true

# The Rust version is that of rust-toolchain.toml.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm
# Nothing: the program is linked statically, and brings its certificate authorities along.
ARG RUNTIME_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
RUN rustup target add "$(uname -m)-unknown-linux-musl"
COPY . .
ARG SOURCE_DATE_EPOCH
# No path of the builder gets into the program, and no order that a build script's hash map has by chance. The C compiler is the
# machine's own: ring's few C files need no library.
RUN cc -shared -fPIC -O1 -o /tmp/hash_keys.so packaging/hash_keys.c \
 && export TARGET="$(uname -m)-unknown-linux-musl" CARGO_INCREMENTAL=0 \
 && export "CC_$(echo "$TARGET" | tr - _)=cc" \
 && LD_PRELOAD=/tmp/hash_keys.so \
    RUSTFLAGS="--remap-path-prefix=/build=. --remap-path-prefix=/usr/local/cargo=cargo" \
    cargo build --locked --release --target "$TARGET" --package error-budget-gatekeeper --bin error-budget-gatekeeper \
 && cargo run --locked --quiet --package packaging -- \
    root --program "target/$TARGET/release/error-budget-gatekeeper" /root-file-system

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="error-budget-gatekeeper" \
      org.opencontainers.image.description="A Kubernetes operator that rolls back the release that burns the error budget" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build --chown=0:0 /root-file-system/ /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/error-budget-gatekeeper"]
