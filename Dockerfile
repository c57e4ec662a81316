# The image of the compose files: a static binary on scratch, which runs as an unprivileged user.
#
# GO_IMAGE is what it is built with; empty, as Compose passes it on when it is not set, means
# the official Go image. All that is asked of it is the Go toolchain in /usr/local/go, not even
# a shell, so where no registry is reached
#     tar -C / -c usr/local/go | docker import - memberly-go
#     docker build --build-arg GO_IMAGE=memberly-go -t prj3 .
# builds with the machine's own.
ARG GO_IMAGE

FROM ${GO_IMAGE:-golang:1.26} AS build
# WORKDIR makes the directory: an imported toolchain comes without a /tmp.
WORKDIR /tmp
WORKDIR /src
ENV HOME=/tmp GOCACHE=/tmp/go-build GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0
COPY . .
RUN ["/usr/local/go/bin/go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", "/memberly", "."]

FROM scratch AS plain
COPY --from=build /memberly /memberly
COPY hostsfile.txt /hostsfile.txt
USER 65532:65532
EXPOSE 8080/tcp 8081/udp
ENTRYPOINT ["/memberly"]

# docker build --target watched: the same with -http, and so with a health check. There is no
# shell on scratch: the program asks itself.
FROM plain AS watched
ENTRYPOINT ["/memberly", "-http", "8082"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/memberly", "ready"]

FROM plain
