# The jail: opencode, and what it and its user's projects need.
#
#   docker build -f docker/app.Dockerfile -t prisoncode:latest .
#
# BASE_IMAGE        Debian 12 or later, Ubuntu 24.04 or later (docker/make-base-image makes one)
# OPENCODE_VERSION  the version of opencode
# NPM_REGISTRY      where npm finds it; empty: npm's own default
# PACKAGES          the user's packages, names apart by blanks
ARG BASE_IMAGE=ubuntu:24.04

# npm fetches the one package that holds opencode's executable, and checks it against the registry's
# hash; its install scripts never run. npm and node stay in this stage.
FROM ${BASE_IMAGE} AS opencode
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -qy --no-install-recommends ca-certificates npm \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ARG OPENCODE_VERSION=1.18.33
ARG NPM_REGISTRY=
RUN set -eu; \
    case $(uname -m) in \
    x86_64) grep -qw avx2 /proc/cpuinfo && cpu=x64 || cpu=x64-baseline ;; \
    aarch64) cpu=arm64 ;; \
    *) echo "opencode has no package for $(uname -m)" >&2; exit 1 ;; \
    esac; \
    npm pack --silent --ignore-scripts --fetch-retries=2 --pack-destination=/tmp \
        ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"} "opencode-linux-$cpu@$OPENCODE_VERSION"; \
    tar -xzf /tmp/opencode-linux-*.tgz -C /tmp package/bin/opencode; \
    install -m 0755 /tmp/package/bin/opencode /usr/local/bin/opencode; \
    rm -rf /tmp/package /tmp/*.tgz; \
    opencode --version

FROM ${BASE_IMAGE}
# No sudo, and no file may give its user more rights than the user has.
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -qy --no-install-recommends \
        bash build-essential ca-certificates curl file git jq less openssh-client patch \
        pkg-config procps python3 ripgrep unzip xz-utils \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=opencode /usr/local/bin/opencode /usr/local/bin/opencode
ENV LANG=C.UTF-8
WORKDIR /workspace
CMD ["opencode"]
ARG PACKAGES=
RUN set -e; [ -n "$PACKAGES" ] || exit 0; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -q; \
    set -f; apt-get install -qy --no-install-recommends -- $PACKAGES; set +f; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
