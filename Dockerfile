# The operator alone: no sandbox, no shell, no package manager; a static program and the certificates that it trusts.
FROM rust:1.95-alpine AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --no-default-features

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/oat-operator /oat-operator
USER 65532:65532
ENTRYPOINT ["/oat-operator"]
