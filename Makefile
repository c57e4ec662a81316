# The few things that are done from the top folder. CONTRIBUTING.md has the rest.

# dist fills the folder dist with a release: binaries, Debian packages, a bill of materials, checksums. The version is
# that of git, unless it is given: make dist VERSION=v1.2.0
VERSION =
OUT = dist

.PHONY: build test dist ci clean
build:
	CGO_ENABLED=0 go build .
test:
	go test ./...
dist:
	go run ./peer/check/dist -version '$(VERSION)' -out '$(OUT)'
ci:
	.ci/run
clean:
	rm -rf memberly dist
