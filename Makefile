# prisoncode: `make help` lists the targets. One non-recursive Makefile; everything it makes is in build/.
#
#   make SAN=1 ...     the same targets under AddressSanitizer and UndefinedBehaviorSanitizer, in build/san
#   make V=1 ...       show the commands
#   make WERROR=1 ...  warnings are errors (make check sets it)

CC         ?= cc
CLANG      ?= clang
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3
CFLAGS     ?= -O2 -g
JOBS       ?= $(shell nproc)
VERSION    := 0.1.0

# Without PREFIX: ~/bin and ~/.local/share, for one user and without root.
ifdef PREFIX
BINDIR  ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share/prisoncode
MANDIR  ?= $(PREFIX)/share/man
else
BINDIR  ?= $(HOME)/bin
DATADIR ?= $(HOME)/.local/share/prisoncode
MANDIR  ?= $(HOME)/.local/share/man
endif

ifeq ($(V),)
Q := @
say = @printf '  %-6s %s\n' $(1) $(2)
else
say = @:
endif

# ---- flags -------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wswitch-enum \
        -Wconversion -Wvla -Wpointer-arith -Wwrite-strings -Wundef
ifdef WERROR
WARN += -Werror
endif

ifdef SAN
OUT  := build/san
HARD := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE
LDHARD := -fsanitize=address,undefined -pie
else ifdef TSAN
OUT  := build/tsan
HARD := -fsanitize=thread -fno-omit-frame-pointer -fPIE
LDHARD := -fsanitize=thread -pie
else ifdef FUZZER
OUT  := build/fuzz
HARD := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fPIE
LDHARD := -fsanitize=fuzzer,address,undefined -pie
else
OUT  := build
HARD := -fPIE -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
ifneq ($(filter x86_64 i686,$(shell uname -m)),)
HARD += -fcf-protection=full
endif
LDHARD := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
endif

OWN := -std=c11 -D_POSIX_C_SOURCE=200809L -DVERSION='"$(VERSION)"' $(WARN) $(HARD)

# llhttp: with pkg-config where the distribution has the library (Debian 13, and later Ubuntus), else
# its three C files from Debian 12's node-llhttp, which are loose unless built strict.
ifeq ($(shell $(PKG_CONFIG) --exists libllhttp && echo yes),yes)
LLHTTP_CFLAGS := $(shell $(PKG_CONFIG) --cflags libllhttp)
LLHTTP_LIBS   := $(shell $(PKG_CONFIG) --libs libllhttp)
LLHTTP_SRC    :=
else
LLHTTP_DIR    ?= /usr/share/llhttp
LLHTTP_INC    ?= /usr/share/include/llhttp
LLHTTP_CFLAGS := -I$(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1
LLHTTP_LIBS   :=
LLHTTP_SRC    := llhttp.c api.c http.c
endif

UV_CFLAGS    := $(shell $(PKG_CONFIG) --cflags libuv)
UV_LIBS      := $(shell $(PKG_CONFIG) --libs libuv)
CARES_CFLAGS := $(shell $(PKG_CONFIG) --cflags libcares) -DCARES_NO_DEPRECATED
CARES_LIBS   := $(shell $(PKG_CONFIG) --libs libcares)
CJSON_CFLAGS := $(shell $(PKG_CONFIG) --cflags libcjson)
CJSON_LIBS   := $(shell $(PKG_CONFIG) --libs libcjson)

# What each part may see: acl sees libc, the programs see acl and never each other; docker, which holds
# the jail's first program, sees libc.
INC_acl      := -Iacl
INC_egressd  := -Iegressd -Iacl $(UV_CFLAGS) $(CARES_CFLAGS) $(LLHTTP_CFLAGS)
INC_launcher := -Ilauncher -Iacl $(UV_CFLAGS) $(CJSON_CFLAGS) -DPRISONCODE_DATADIR='"$(DATADIR)"'
INC_docker   := -Idocker
LIB_egressd  := $(UV_LIBS) $(CARES_LIBS) $(LLHTTP_LIBS)
LIB_launcher := $(UV_LIBS) $(CJSON_LIBS)

# ---- what is built -----------------------------------------------------------------------------

OBJ := $(OUT)/obj
objs = $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c)))

ACL_OBJS      := $(call objs,acl)
EGRESSD_OBJS  := $(call objs,egressd)
LAUNCHER_OBJS := $(call objs,launcher)
INIT_OBJS     := $(filter-out $(OBJ)/docker/jail_init.o,$(call objs,docker))
LLHTTP_OBJS   := $(addprefix $(OBJ)/llhttp/,$(LLHTTP_SRC:.c=.o))
ACL_A      := $(OBJ)/libacl.a
EGRESSD_A  := $(OBJ)/libegressd.a
LAUNCHER_A := $(OBJ)/liblauncher.a
INIT_A     := $(OBJ)/libinit.a

# A unit test is named test_<part>_<module>.c and takes from its part's archive what it needs.
UNIT_TESTS := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(wildcard tests/unit/test_*.c))

.PHONY: all
## all: build/prisoncode, build/egressd and the jail's build/jail-init (the default)
all: $(OUT)/egressd $(OUT)/prisoncode $(OUT)/jail-init

$(OUT)/egressd: $(OBJ)/egressd/main.o $(EGRESSD_A) $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) -o $@ $^ $(LIB_egressd)

$(OUT)/prisoncode: $(OBJ)/launcher/main.o $(LAUNCHER_A) $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) -o $@ $^ $(LIB_launcher)

# It runs before anything else in an image with whatever packages a user wants: nothing to load.
LDINIT := $(if $(SAN),$(LDHARD),-static-pie -Wl,-z,relro,-z,now,-z,noexecstack)
$(OUT)/jail-init: $(OBJ)/docker/jail_init.o $(INIT_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDINIT) -o $@ $^

$(ACL_A): $(ACL_OBJS)
$(EGRESSD_A): $(EGRESSD_OBJS) $(LLHTTP_OBJS)
$(LAUNCHER_A): $(LAUNCHER_OBJS)
$(INIT_A): $(INIT_OBJS)
$(ACL_A) $(EGRESSD_A) $(LAUNCHER_A) $(INIT_A):
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define compile # part
$(OBJ)/$(1)/%.o: $(1)/%.c
	$$(call say,CC,$$<)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(CFLAGS) $$(OWN) $$(INC_$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach part,acl egressd launcher docker,$(eval $(call compile,$(part))))

# The images have a label that says what they were built from: the launcher builds others anew.
APP_SOURCES     := $(sort Makefile docker/app.Dockerfile docker/tui.json $(wildcard docker/*.[ch]))
SIDECAR_SOURCES := $(sort Makefile docker/egressd.Dockerfile $(wildcard acl/*.[ch] egressd/*.[ch]))
sources_hash = $(shell cat $(1) | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-64)
$(OBJ)/launcher/images.o: INC_launcher += -DIMAGES_APP_HASH='"$(call sources_hash,$(APP_SOURCES))"' \
        -DIMAGES_SIDECAR_HASH='"$(call sources_hash,$(SIDECAR_SOURCES))"'
$(OBJ)/launcher/images.o: $(APP_SOURCES) $(SIDECAR_SOURCES)

$(OBJ)/llhttp/%.o: $(LLHTTP_DIR)/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(HARD) $(LLHTTP_CFLAGS) -c -o $@ $<

# Tests may use cJSON as an oracle, whatever part they test. WRAP_<test> holds -Wl,--wrap options.
WRAP_test_acl_alloc := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
WRAP_ALLOC := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
WRAP_test_egressd_hosts := $(WRAP_ALLOC)
WRAP_test_egressd_decide := -Wl,--wrap=uv_interface_addresses
WRAP_test_egressd_http  := -Wl,--wrap=llhttp_execute
WRAP_test_egressd_dns   := $(WRAP_ALLOC),--wrap=uv_now,--wrap=resolv_parse
define unit # part, libs
$(OBJ)/unit/test_$(1)_%.o: tests/unit/test_$(1)_%.c
	$$(call say,CC,$$<)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(CFLAGS) $$(OWN) $$(INC_$(1)) $$(CJSON_CFLAGS) -Itests/unit -MMD -MP -c -o $$@ $$<
$(OUT)/tests/test_$(1)_%: $(OBJ)/unit/test_$(1)_%.o $(2) $(ACL_A)
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $$(LDHARD) $$(WRAP_test_$(1)_$$*) -o $$@ $$^ $$(LIB_$(1)) $$(CJSON_LIBS) -lcmocka
endef
$(eval $(call unit,acl,))
$(eval $(call unit,egressd,$(EGRESSD_A)))
$(eval $(call unit,launcher,$(LAUNCHER_A)))
$(eval $(call unit,docker,$(INIT_A)))
.SECONDARY:

-include $(wildcard $(OBJ)/*/*.d)

# ---- tests -------------------------------------------------------------------------------------

# What the tests of programs run: the binaries of this mode.
export EGRESSD    := $(CURDIR)/$(OUT)/egressd
export PRISONCODE := $(CURDIR)/$(OUT)/prisoncode
export JAIL_INIT  := $(CURDIR)/$(OUT)/jail-init
PYTEST := PYTHON=$(PYTHON) tests/run-pytest $(OUT)/pytest
# The tests of programs wait more than they work, and share nothing: several at a time.
SEVERAL := AT_ONCE=$(shell expr 3 \* $(JOBS))

FUZZERS := $(patsubst fuzz/fuzz_%.c,%,$(wildcard fuzz/fuzz_*.c))
INC_fuzz := -Iacl -Iegressd -Ilauncher -Idocker $(UV_CFLAGS) $(CARES_CFLAGS) $(LLHTTP_CFLAGS) $(CJSON_CFLAGS)

$(OBJ)/fuzz/%.o: fuzz/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(OWN) -Wno-missing-prototypes $(INC_fuzz) -MMD -MP -c -o $@ $<

# Without clang: the corpus is replayed by an ordinary main(). With FUZZER=1: libFuzzer's main().
REPLAY_MAIN := $(if $(FUZZER),,$(OBJ)/fuzz/replay_main.o)
$(OUT)/fuzz-%: $(OBJ)/fuzz/fuzz_%.o $(REPLAY_MAIN) $(EGRESSD_A) $(LAUNCHER_A) $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) $(WRAP_fuzz_$*) -o $@ $^ $(LIB_egressd) $(LIB_launcher)
# Without the cage, which would keep a fuzzer from its corpus, and which valgrind does not know.
UNCAGE := -Wl,--wrap=cage_prepare,--wrap=cage_enter
$(OBJ)/proxy/uncaged.o: tests/proxy/uncaged.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(OWN) -Iegressd -MMD -MP -c -o $@ $<
WRAP_fuzz_conn := -pthread $(UNCAGE)
$(OUT)/fuzz-conn: $(OBJ)/proxy/uncaged.o

.PHONY: help test unit mutants pytest-proxy load pytest-launcher pytest-jail slow fuzz-replay check lint check-includes sanitize \
        fuzz fuzz-all e2e test-roots bench bench-profile bench-acl demo build install uninstall clean

unit: $(UNIT_TESTS)
	@set -e; for t in $(UNIT_TESTS); do echo "== $$t"; $$t; done

fuzz-replay: $(FUZZERS:%=$(OUT)/fuzz-%)
	@set -e; for f in $(FUZZERS); do $(OUT)/fuzz-$$f fuzz/corpus/$$f; done

pytest-proxy: $(OUT)/egressd
	$(SEVERAL) $(PYTEST)/proxy -m "not load and not slow" tests/proxy

## load: others are served while egressd is under load; egressd alone, and it takes minutes
load: $(OUT)/egressd
	@tests/install-deps test
	$(PYTEST) -m load tests/proxy

## faults: every allocation and system call fails in turn, under a running egressd
FAULTY := $(OUT)/tests/egressd-faulty
FAULT_CALLS := malloc calloc realloc socket accept accept4 connect pipe2 epoll_ctl read write writev recv send \
               splice getsockopt shutdown
comma := ,
$(FAULTY): tests/proxy/fault.c $(OBJ)/egressd/main.o $(EGRESSD_A) $(ACL_A)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fno-builtin -DWRAP $(HARD) $(LDFLAGS) $(LDHARD) \
		$(FAULT_CALLS:%=-Wl$(comma)--wrap=%) -o $@ $^ $(LIB_egressd)
.PHONY: faults hardening
faults: $(OUT)/egressd $(if $(SAN),$(FAULTY))
	$(PYTEST) tests/proxy/faults.py

# What the compiler was asked for is in the binaries; SECURITY.md names tests that exist.
hardening: all
	@tests/check-hardening $(OUT)/egressd $(OUT)/prisoncode $(OUT)/jail-init
	@tests/check-security

UNCAGED := $(OUT)/tests/egressd-uncaged
$(UNCAGED): $(OBJ)/proxy/uncaged.o $(OBJ)/egressd/main.o $(EGRESSD_A) $(ACL_A)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) $(UNCAGE) -o $@ $^ $(LIB_egressd)
.PHONY: valgrind kills
## valgrind: unit tests, a life of egressd and a session: no memory lost, no descriptor left open
valgrind: all $(UNCAGED) $(UNIT_TESTS)
	@tests/install-deps check
	@printf '%s\n' $(UNIT_TESTS) | xargs -P $(JOBS) -I{} sh -c 'tests/valgrind {} >{}.valgrind 2>&1 || \
		{ cat {}.valgrind; exit 255; }; sed -n "s|^skipped|{}: &|p" {}.valgrind'
	EGRESSD=$(CURDIR)/$(UNCAGED) $(PYTEST) tests/proxy/undervalgrind.py
	$(PYTEST) tests/launcher/undervalgrind.py

## kills: KILLS=n: egressd and the launcher are killed n times at points nobody chose
KILLS ?= 200
kills: all
	@tests/install-deps test
	KILLS=$(KILLS) $(PYTEST) tests/proxy/kills.py
	KILLS=$(KILLS) $(PYTEST) tests/launcher/kills.py

## kills-engine: the launcher KILLS / 10 times, egressd and a private engine KILLS / 20 times each
.PHONY: kills-engine
kills-engine: all
	@tests/install-deps check
	KILLS=$(KILLS) tests/with-engine env $(PYTEST) tests/e2e/kills.py

# It fails when a client, a line of the log or the memory is not as it should be; see its head.
.PHONY: soak
MINUTES ?= 10
## soak: MINUTES=n RATE=n: a mixed load with faults; every request and every byte of memory accounted for
soak: $(OUT)/egressd
	@tests/install-deps test
	nice $(PYTHON) -B -u tests/soak/soak.py --minutes $(MINUTES) $(if $(RATE),--rate $(RATE))

pytest-launcher: $(OUT)/prisoncode
	$(SEVERAL) $(PYTEST)/launcher -m "not slow" tests/launcher

pytest-jail: $(OUT)/jail-init $(OUT)/egressd
	$(SEVERAL) $(PYTEST)/jail tests/jail

## slow: the proxy and launcher tests that make test leaves out: many sessions, long waits, large clients
slow: all
	@tests/install-deps test
	$(SEVERAL) $(PYTEST)/proxy -m "slow and not load" tests/proxy
	$(SEVERAL) $(PYTEST)/launcher -m slow tests/launcher

## test: unit, fuzz replay, proxy, launcher and jail tests; no Docker, under a minute
test: all
	@tests/install-deps test
	@$(MAKE) --no-print-directory -j$(JOBS) $(UNIT_TESTS) $(FUZZERS:%=$(OUT)/fuzz-%)
	@$(MAKE) --no-print-directory -j2 -Otarget unit pytest-proxy
	@$(MAKE) --no-print-directory -j2 -Otarget fuzz-replay pytest-launcher pytest-jail

## check: everything: test, sanitizers, linters, a short fuzz run, end-to-end on the real engine
check:
	@tests/install-deps check
	@$(MAKE) --no-print-directory -j$(JOBS) WERROR=1 all
	@$(MAKE) --no-print-directory check-includes lint analyze
	@$(MAKE) --no-print-directory WERROR=1 test slow
	@$(MAKE) --no-print-directory hardening faults valgrind
	@$(MAKE) --no-print-directory kills KILLS=15
	@$(MAKE) --no-print-directory sanitize
	@$(MAKE) --no-print-directory SAN=1 WERROR=1 CFLAGS="-O1 -g" faults
	@$(MAKE) --no-print-directory load
	@$(MAKE) --no-print-directory tsan
	@$(MAKE) --no-print-directory fuzz-all SECONDS=5
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory kills-engine KILLS=40
	@echo "check: everything passed"

## sanitize: unit, fuzz replay, proxy and launcher tests under ASan and UBSan
sanitize:
	@$(MAKE) --no-print-directory SAN=1 WERROR=1 CFLAGS="-O1 -g" test slow

# The memory model's side of several workers: ThreadSanitizer sees the tests that have them, and two
# modules of the others with four. libuv, c-ares and libc are not instrumented, but what they do to
# memory of ours goes through calls that the sanitizer knows, so nothing has to be suppressed.
TSAN_TESTS := tests/proxy/test_workers.py tests/proxy/test_metrics.py tests/proxy/test_audit.py \
              tests/proxy/test_connect_policy.py
.PHONY: tsan
## tsan: what concerns several workers, under ThreadSanitizer
tsan:
	@$(MAKE) --no-print-directory -j$(JOBS) TSAN=1 WERROR=1 CFLAGS="-O1 -g" build/tsan/egressd \
		build/tsan/tests/test_egressd_audit
	@build/tsan/tests/test_egressd_audit
	@EGRESSD=$(CURDIR)/build/tsan/egressd EGRESSD_WORKERS=4 $(PYTEST) $(TSAN_TESTS)

## fuzz: FUZZ=name SECONDS=n: one target under libFuzzer; a crash is kept in build/fuzz
SECONDS ?= 60
fuzz:
	@test -n "$(FUZZ)" || { echo "usage: make fuzz FUZZ=name SECONDS=n; names: $(FUZZERS)" >&2; exit 2; }
	@$(MAKE) --no-print-directory FUZZER=1 CC=$(CLANG) CFLAGS="-O1 -g" -j$(JOBS) build/fuzz/fuzz-$(FUZZ)
	@mkdir -p build/fuzz/corpus-$(FUZZ)
	build/fuzz/fuzz-$(FUZZ) -max_total_time=$(SECONDS) -artifact_prefix=build/fuzz/crash-$(FUZZ)- \
		-verbosity=0 -print_final_stats=1 -close_fd_mask=1 -timeout=10 -rss_limit_mb=1024 \
		build/fuzz/corpus-$(FUZZ) fuzz/corpus/$(FUZZ)

fuzz-all:
	@set -e; for f in $(FUZZERS); do $(MAKE) --no-print-directory fuzz FUZZ=$$f SECONDS=$(SECONDS) 2>&1 | \
		grep -E 'ERROR|SUMMARY|number_of_executed|Error' | sed "s/^/fuzz $$f: /"; \
		! ls build/fuzz/crash-$$f-* >/dev/null 2>&1; done

## coverage: what of its files each fuzz target's corpus reaches; CORPORA=build/fuzz: with what fuzzing found
.PHONY: coverage
coverage:
	@$(MAKE) --no-print-directory -j$(JOBS) OUT=build/coverage CFLAGS="-O0 -g --coverage" \
		$(FUZZERS:%=build/coverage/fuzz-%) >/dev/null
	@tests/fuzz-coverage build/coverage $(CORPORA)

## mutants: removes the rules of egressd one at a time; a test must notice each (takes an hour)
mutants:
	tests/mutate

# Which part may include whose headers. acl knows nobody; the programs know acl and never each other;
# within egressd lower files never call up.
check-includes: # and check-limits: every maximum in limits.h, with its reason and its test
	@tests/check-includes
	@tests/check-limits

CSRC := $(wildcard acl/*.[ch] egressd/*.[ch] launcher/*.[ch] docker/*.[ch])
lint:
	@echo "  LINT   clang-format"; clang-format --dry-run -Werror $(CSRC) $(wildcard tests/*/*.[ch] fuzz/*.[ch])
	@echo "  LINT   cppcheck"; cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,portability,performance --suppress=missingIncludeSystem \
		--suppress=normalCheckLevelMaxBranches --suppress=unknownMacro -Iacl -Iegressd -Ilauncher -Idocker $(filter %.c,$(CSRC))
	@$(MAKE) --no-print-directory -j$(JOBS) $(patsubst %.c,build/tidy/%.ok,$(filter %.c,$(CSRC)))
	@echo "  LINT   clang build"; $(MAKE) --no-print-directory -j$(JOBS) CC=$(CLANG) WERROR=1 OUT=build/clang all

# One file a run: given many, the analyzer of clang 14 mixes them up.
build/tidy/%.ok: %.c $(filter %.h,$(CSRC)) .clang-tidy
	@echo "  TIDY   $<"
	@mkdir -p $(@D)
	@clang-tidy --quiet --warnings-as-errors='*' $< -- $(OWN) $(INC_fuzz) -DPRISONCODE_DATADIR='"x"' \
		2>$@.log || { cat $@.log; exit 1; }
	@touch $@

# Only gcc has it, and one file at a time takes it seconds.
.PHONY: analyze
ANALYZER ?= gcc
analyze:
	@$(MAKE) --no-print-directory -j$(JOBS) $(patsubst %.c,build/analyze/%.ok,$(filter %.c,$(CSRC)))
build/analyze/%.ok: %.c tests/analyze $(filter %.h,$(CSRC))
	@echo "  ANALYZ $<"
	@mkdir -p $(@D)
	@tests/analyze $< $(ANALYZER) -std=c11 -D_POSIX_C_SOURCE=200809L -DVERSION='"x"' -O1 $(INC_fuzz) \
		-DPRISONCODE_DATADIR='"x"' -DIMAGES_APP_HASH='"x"' -DIMAGES_SIDECAR_HASH='"x"'
	@touch $@

## e2e: the real opencode in the real engine (a private dockerd when none answers and you are root)
e2e: all
	@tests/install-deps check
	tests/with-engine env $(PYTEST) tests/e2e

## test-roots: install step and make test in fresh Debian 12 and 13 roots
test-roots:
	@tests/install-deps roots
	tests/test-roots

$(OUT)/bench-acl: tests/bench/bench_acl.c $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(OWN) $(LDFLAGS) $(LDHARD) $(INC_acl) -o $@ $^

## bench-acl: loading and matching of lists of 10 to 1,000,000 entries
bench-acl: $(OUT)/bench-acl
	$<

BENCH_TOOLS := $(addprefix $(OUT)/bench/,load origin relay)
$(BENCH_TOOLS): $(OUT)/bench/%: tests/bench/%.c tests/bench/common.c tests/bench/common.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(OWN) $(LDFLAGS) $(LDHARD) -Itests/bench -o $@ $(filter %.c,$^)

## bench: egressd beside other proxies, under 15 minutes; QUICK=1: two. Results in build/bench
bench: $(OUT)/egressd $(BENCH_TOOLS)
	@tests/install-deps bench
	$(PYTHON) -B tests/bench/bench.py $(if $(QUICK),--quick) $(BENCH_ARGS)

## bench-profile: what a tunnel costs, by system call and by part; uses what is there of strace, perf, valgrind
bench-profile: $(OUT)/egressd $(BENCH_TOOLS) $(UNCAGED)
	$(PYTHON) -B tests/bench/profile.py $(BENCH_ARGS)

## demo: installs what is missing, builds, and shows the main job
demo:
	@tests/install-deps demo
	@$(MAKE) --no-print-directory all
	tests/with-engine tests/demo

# ---- images and installation -------------------------------------------------------------------

## build: the two images, with the packages of ~/.prisoncode/packages.txt
build: all
	$(OUT)/prisoncode --reinstall

IMAGE_SOURCES := $(sort $(APP_SOURCES) $(SIDECAR_SOURCES) $(wildcard docker/*))

## install: to ~/bin, or PREFIX/bin; runs the tests first unless SKIP_TESTS=1
install: all $(if $(SKIP_TESTS),,test)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8
	install -m 755 build/prisoncode build/egressd $(DESTDIR)$(BINDIR)
	install -m 644 launcher/prisoncode.1 $(DESTDIR)$(MANDIR)/man1
	install -m 644 acl/prisoncode-domains.5 $(DESTDIR)$(MANDIR)/man5
	install -m 644 egressd/egressd.8 $(DESTDIR)$(MANDIR)/man8
	@for f in $(IMAGE_SOURCES); do \
		m=644; [ -x $$f ] && m=755; install -D -m $$m $$f $(DESTDIR)$(DATADIR)/$$f || exit 1; done
	install -m 644 .dockerignore $(DESTDIR)$(DATADIR)/.dockerignore

## uninstall: what install put there
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/prisoncode $(DESTDIR)$(BINDIR)/egressd $(DESTDIR)$(MANDIR)/man1/prisoncode.1 \
		$(DESTDIR)$(MANDIR)/man5/prisoncode-domains.5 $(DESTDIR)$(MANDIR)/man8/egressd.8
	rm -rf $(DESTDIR)$(DATADIR)

## clean: removes build/
clean:
	rm -rf build

help:
	@echo "make: builds build/prisoncode and build/egressd. Other targets:"
	@sed -n 's/^## /  /p' Makefile
