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

# What each part may see: acl sees libc, the programs see acl and never each other.
INC_acl      := -Iacl
INC_egressd  := -Iegressd -Iacl $(UV_CFLAGS) $(CARES_CFLAGS) $(LLHTTP_CFLAGS)
INC_launcher := -Ilauncher -Iacl $(UV_CFLAGS) $(CJSON_CFLAGS) -DPRISONCODE_DATADIR='"$(DATADIR)"'
LIB_egressd  := $(UV_LIBS) $(CARES_LIBS) $(LLHTTP_LIBS)
LIB_launcher := $(UV_LIBS) $(CJSON_LIBS)

# ---- what is built -----------------------------------------------------------------------------

OBJ := $(OUT)/obj
objs = $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c)))

ACL_OBJS      := $(call objs,acl)
EGRESSD_OBJS  := $(call objs,egressd)
LAUNCHER_OBJS := $(call objs,launcher)
LLHTTP_OBJS   := $(addprefix $(OBJ)/llhttp/,$(LLHTTP_SRC:.c=.o))
ACL_A      := $(OBJ)/libacl.a
EGRESSD_A  := $(OBJ)/libegressd.a
LAUNCHER_A := $(OBJ)/liblauncher.a

# A unit test is named test_<part>_<module>.c and takes from its part's archive what it needs.
UNIT_TESTS := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(wildcard tests/unit/test_*.c))

.PHONY: all
all: $(OUT)/egressd $(OUT)/prisoncode

$(OUT)/egressd: $(OBJ)/egressd/main.o $(EGRESSD_A) $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) -o $@ $^ $(LIB_egressd)

$(OUT)/prisoncode: $(OBJ)/launcher/main.o $(LAUNCHER_A) $(ACL_A)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDHARD) -o $@ $^ $(LIB_launcher)

$(ACL_A): $(ACL_OBJS)
$(EGRESSD_A): $(EGRESSD_OBJS) $(LLHTTP_OBJS)
$(LAUNCHER_A): $(LAUNCHER_OBJS)
$(ACL_A) $(EGRESSD_A) $(LAUNCHER_A):
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define compile # part
$(OBJ)/$(1)/%.o: $(1)/%.c
	$$(call say,CC,$$<)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(CFLAGS) $$(OWN) $$(INC_$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach part,acl egressd launcher,$(eval $(call compile,$(part))))

$(OBJ)/llhttp/%.o: $(LLHTTP_DIR)/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(HARD) $(LLHTTP_CFLAGS) -c -o $@ $<

# Tests may use cJSON as an oracle, whatever part they test. WRAP_<test> holds -Wl,--wrap options.
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
.SECONDARY:

-include $(wildcard $(OBJ)/*/*.d)

# ---- tests -------------------------------------------------------------------------------------

.PHONY: unit
unit: $(UNIT_TESTS)
	@for t in $(UNIT_TESTS); do echo "== $$t"; $$t || exit 1; done

.PHONY: clean
clean:
	rm -rf build
