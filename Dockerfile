# One small image with one binary. It runs as a user without rights and with a read-only root file system: the data_dir, the
# socket's folder and the mirrored folders are mounts.
#
#   docker build -t gosync --build-arg GOSYNC_COMMIT="$(git rev-parse HEAD)" .
#   docker run --read-only -v ./config:/etc/gosync:ro -v data:/var/lib/gosync -v ./files:/files gosync
#
# Both images can be replaced, by mirrors of them or by others with the same glibc (a distroless one is smaller still):
#   --build-arg BUILDER=... (Rust as in rust-toolchain.toml, a C compiler)   --build-arg BASE=... (glibc, CA certificates)
ARG BUILDER=rust:1.95.0-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
WORKDIR /src
# rust-toolchain.toml stays outside (.dockerignore): it would fetch what the builder already has.
COPY . .
# The repository stays outside too: --build-arg GOSYNC_COMMIT="$(git rev-parse HEAD)" lets `gosync version` tell it.
ARG GOSYNC_COMMIT
RUN cargo build --release --locked -p gosync \
    # Crash points are for tests: what ships knows none.
    && ! grep -q GOSYNC_CRASH_AT target/release/gosync \
    # Mount points that belong to the user: a named volume takes over their owner.
    && mkdir -p /out/etc/gosync /out/var/lib/gosync /out/run/gosync /out/usr/local/bin \
    && cp target/release/gosync /out/usr/local/bin/

FROM ${BASE}
# TLS to real endpoints needs the roots; the builder's are the ones the base would have.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/etc/gosync /etc/gosync
COPY --from=build --chown=65532:65532 /out/var/lib/gosync /var/lib/gosync
COPY --from=build --chown=65532:65532 /out/run/gosync /run/gosync
COPY --from=build /out/usr/local/bin/gosync /usr/local/bin/gosync
# By number, so that a cluster can see that it isn't root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/gosync"]
CMD ["agent", "--config", "/etc/gosync"]
