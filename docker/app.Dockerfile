# The jail: opencode, and what it and its user's projects need.
#
#   docker build -f docker/app.Dockerfile -t prisoncode:latest .
#
# BASE_IMAGE        Debian 12 or later, Ubuntu 24.04 or later (docker/make-base-image makes one)
# OPENCODE_VERSION  the version of opencode; another one needs its own hash
# OPENCODE_SHA512_* of the tarball of that version for a kind of processor, in hexadecimal; empty: only
#                   the registry's word is checked, and a line says so
# NPM_REGISTRY      where npm finds it; empty: npm's own default
# PACKAGES          the user's packages, names apart by blanks
ARG BASE_IMAGE=ubuntu:24.04

# npm fetches the one package that holds opencode's executable, and checks it against the registry's
# hash, and we against ours: a registry that says something else than it did gets nothing into an image.
# Its install scripts never run. The distribution's npm is some hundred small packages: they are
# only unpacked, never set up, for this one step, which leaves nothing but the executable. The largest
# of them are not even that: they are for building packages, which does not happen here (should a
# release differ, all are unpacked).
FROM ${BASE_IMAGE} AS opencode
ARG OPENCODE_VERSION=1.18.33
ARG OPENCODE_SHA512_X64=abfb7fde9d824f1393f72da4be37ac6ff2d969bdbed5eaa5861580d3605eea68d3b6662d341701b2b239c83a38170ed948f056da8c8c20630d46a88a4238805b
ARG OPENCODE_SHA512_X64_BASELINE=d4a4060628830de2ff5471db1e43afbc5a3c26bf7b593e7e0b5b5e6abfa9ec87034e75e05475ea2235383b88cce261d0cf29133f68bcf381429d6e4b0dafb308
ARG OPENCODE_SHA512_ARM64=
ARG NPM_REGISTRY=
RUN set -eu; \
    case $(uname -m) in \
    x86_64) cpu=x64 sum=$OPENCODE_SHA512_X64; \
        grep -qw avx2 /proc/cpuinfo || cpu=x64-baseline sum=$OPENCODE_SHA512_X64_BASELINE ;; \
    aarch64) cpu=arm64 sum=$OPENCODE_SHA512_ARM64 ;; \
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
    if [ -z "$sum" ]; then \
        echo "no hash of opencode-linux-$cpu is known here, only the registry's was checked" >&2; \
    elif ! echo "$sum  $(ls /tmp/opencode-*.tgz)" | sha512sum -c --status -; then \
        echo "opencode-linux-$cpu@$OPENCODE_VERSION has another SHA-512 than it should" >&2; exit 1; \
    fi; \
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
# No shell of the jail's waits for a program that has stopped itself: Ctrl-Z, which does so, is nobody's key.
COPY docker/tui.json /usr/local/lib/prisoncode/tui.json
ENV LANG=C.UTF-8 OPENCODE_TUI_CONFIG=/usr/local/lib/prisoncode/tui.json
WORKDIR /workspace
CMD ["opencode"]
ARG PACKAGES=
RUN set -e; [ -n "$PACKAGES" ] || exit 0; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -q; \
    set -f; apt-get install -qy --no-install-recommends -- $PACKAGES; set +f; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
