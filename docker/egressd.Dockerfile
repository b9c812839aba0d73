# The sidecar: egressd with the few shared libraries it needs, and nothing else: no shell, no user
# database, no package manager.
#
#   docker build -f docker/egressd.Dockerfile -t prisoncode-egressd:latest .
#
# BASE_IMAGE  Debian 12 or later, Ubuntu 24.04 or later (docker/make-base-image makes one)
ARG BASE_IMAGE=ubuntu:24.04

FROM ${BASE_IMAGE} AS build
# llhttp is a library where the distribution has it as one, else three C files of node-llhttp, which
# is unpacked only: set up it would bring node.
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && llhttp=libllhttp-dev \
 && if ! apt-cache show $llhttp >/dev/null 2>&1; then \
        llhttp= && cd /tmp && apt-get download -q node-llhttp && \
        dpkg-deb --fsys-tarfile node-llhttp_*.deb | tar -xf - -C / --keep-directory-symlink; \
    fi \
 && apt-get install -qy --no-install-recommends \
        gcc libc6-dev make pkg-config libuv1-dev libc-ares-dev libcjson-dev $llhttp \
 && rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/apt/*
WORKDIR /src
COPY Makefile ./
COPY acl acl
COPY egressd egressd
# The root of the final image: each library, and the loader, where the executable asks for it.
RUN make -j"$(nproc)" build/egressd \
 && install -D -s -m 0755 build/egressd /root-fs/egressd \
 && ldd build/egressd | grep -o '/[^ ]*' | xargs -I{} cp -L --parents {} /root-fs \
 && mkdir -m 0755 -p /root-fs/etc /root-fs/run \
 && /root-fs/egressd --version

FROM scratch
COPY --from=build /root-fs /
USER 65534:65534
ENTRYPOINT ["/egressd"]
