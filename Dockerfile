# docker build --tag error-budget-gatekeeper:0.1.0 .
#
# For an image that comes out the same from the same commit, give both bases with their digest (name@sha256:...), and
#   --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output type=image,rewrite-timestamp=true

# The same Debian in both, for the C library; the Rust version is that of rust-toolchain.toml.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm
# Nothing but the C library and certificate authorities: no shell, no package manager.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY . .
ARG SOURCE_DATE_EPOCH
# No path of the builder gets into the program.
ENV RUSTFLAGS="--remap-path-prefix=/build=. --remap-path-prefix=/usr/local/cargo=cargo" \
    CARGO_INCREMENTAL=0
RUN cargo build --locked --release --package error-budget-gatekeeper --bin error-budget-gatekeeper

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="error-budget-gatekeeper" \
      org.opencontainers.image.description="A Kubernetes operator that rolls back the release that burns the error budget" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build --chown=0:0 --chmod=0755 /build/target/release/error-budget-gatekeeper /usr/local/bin/error-budget-gatekeeper
COPY --chown=0:0 --chmod=0644 LICENSE /usr/share/doc/error-budget-gatekeeper/LICENSE
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/error-budget-gatekeeper"]
