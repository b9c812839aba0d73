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
# hash; its install scripts never run. The distribution's npm is some hundred small packages: they are
# only unpacked, never set up, for this one step, which leaves nothing but the executable. The largest
# of them are not even that: they are for building packages, which does not happen here (should a
# release differ, all are unpacked).
FROM ${BASE_IMAGE} AS opencode
ARG OPENCODE_VERSION=1.18.33
ARG NPM_REGISTRY=
RUN set -eu; \
    case $(uname -m) in \
    x86_64) grep -qw avx2 /proc/cpuinfo && cpu=x64 || cpu=x64-baseline ;; \
    aarch64) cpu=arm64 ;; \
    *) echo "opencode has no package for $(uname -m)" >&2; exit 1 ;; \
    esac; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -q; \
    apt-get install -qqy --no-install-recommends --download-only ca-certificates npm; \
    cd /var/cache/apt/archives; \
    unpack() { for deb; do dpkg-deb --fsys-tarfile "$deb" | \
        tar -xf - -C / --keep-directory-symlink --exclude=./usr/share/doc --exclude=./usr/include; done; }; \
    pack() { npm pack --silent --ignore-scripts --fetch-retries=2 --pack-destination=/tmp \
        ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"} "opencode-linux-$cpu@$OPENCODE_VERSION"; }; \
    unpack $(ls *.deb | grep -vE '^(lib)?python|^libjs-|-dev_|^(gyp|eslint|webpack|terser|handlebars)_|^node-(babel|core-js|lodash|es-abstract|caniuse|webassemblyjs|regenerate|istanbul)'); \
    pack || { unpack *.deb; pack; }; \
    tar -xzf /tmp/opencode-*.tgz -C /tmp package/bin/opencode; \
    install -m 0755 /tmp/package/bin/opencode /opencode; \
    /opencode --version; \
    rm -rf /root/.npm /tmp/* /var/lib/apt/lists/* /var/cache/apt/* /usr/share/nodejs /usr/lib/nodejs

# No sudo, and no file may give its user more rights than the user has.
FROM ${BASE_IMAGE} AS tools
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -qy --no-install-recommends \
        bash build-essential ca-certificates curl file git jq less openssh-client patch \
        pkg-config procps python3 ripgrep unzip xz-utils \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# The jail's first program, built with the compiler that the jail has anyway.
FROM tools AS init
WORKDIR /src
COPY Makefile ./
COPY docker/*.c docker/*.h docker/
RUN make build/jail-init && strip build/jail-init

FROM tools
COPY --from=opencode /opencode /usr/local/bin/opencode
COPY --from=init /src/build/jail-init /usr/local/lib/prisoncode/jail-init
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
