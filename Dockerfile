# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# The versions are those of the image's Debian release.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
 && install -D target/release/hedgerow /out/usr/bin/hedgerow \
 && install -D -m 644 packaging/docker/hedgerow.yaml /out/etc/hedgerow/hedgerow.yaml \
 && install -d -m 700 -o 65532 -g 65532 /out/var/lib/hedgerow

# The C library, certificate authorities, a user without privileges (65532), and no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out /
USER 65532:65532
WORKDIR /var/lib/hedgerow
# The spool and ordered certificates: the only place where the process writes.
VOLUME /var/lib/hedgerow
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/bin/hedgerow", "health"]
ENTRYPOINT ["/usr/bin/hedgerow"]
CMD ["run"]
